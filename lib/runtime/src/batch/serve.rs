//! The server's half of a hop.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::status;

/// Answers the batches of `requests` one after another with `handle`, and reads ahead by one at most (what the transport
/// has buffered aside).
///
/// The stream ends with OK when the client ends it, or between two batches once `stop` is cancelled (see
/// [`crate::server::draining`]). An error of `handle` ends the stream with that status: it means that the whole batch could not
/// be understood or that its outcome is unknown; an outcome of one item belongs into the answer. A batch that was begun is always
/// finished, whether or not its client still waits.
pub fn serve_batches<B, A, H, F>(
    mut requests: Streaming<B>,
    stop: CancellationToken,
    mut handle: H,
) -> BatchAnswers<A>
where
    B: Send + 'static,
    A: Send + 'static,
    H: FnMut(B) -> F + Send + 'static,
    F: Future<Output = Result<A, Status>> + Send,
{
    let (answers, stream) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            let batch = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = answers.closed() => return,
                next = requests.message() => match next {
                    Ok(Some(batch)) => batch,
                    Ok(None) => break,
                    Err(status) => {
                        // Nobody may be left to read it.
                        let _ = answers.send(Said::Failed(status)).await;
                        return;
                    }
                },
            };
            let said = match handle(batch).await {
                Ok(answer) => Said::Answer(answer),
                Err(status) => Said::Failed(status),
            };
            let failed = matches!(said, Said::Failed(_));
            if answers.send(said).await.is_err() || failed {
                return;
            }
        }
        let _ = answers.send(Said::Done).await;
    });
    BatchAnswers { said: Some(stream) }
}

/// What the serving task tells the response stream.
enum Said<A> {
    Answer(A),
    Failed(Status),
    /// All that was begun is answered.
    Done,
}

/// The response stream of [`serve_batches`].
pub struct BatchAnswers<A> {
    /// None after the end.
    said: Option<mpsc::Receiver<Said<A>>>,
}

impl<A> Stream for BatchAnswers<A> {
    type Item = Result<A, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(said) = &mut self.said else {
            return Poll::Ready(None);
        };
        let next = match said.poll_recv(context) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Some(Said::Answer(answer))) => return Poll::Ready(Some(Ok(answer))),
            Poll::Ready(Some(Said::Failed(status))) => Some(Err(status)),
            Poll::Ready(Some(Said::Done)) => None,
            // The task is gone without a word: it panicked, or the runtime ends. An OK would promise too much.
            Poll::Ready(None) => Some(Err(status::internal())),
        };
        self.said = None;
        Poll::Ready(next)
    }
}
