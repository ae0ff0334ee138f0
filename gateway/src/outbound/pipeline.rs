//! One stream of batches to send: many batches under way, one order.
//!
//! Three stages run side by side, each in the order of the items. Memory is bounded by the batches under way, and a batch leaves
//! only when the caller has taken its answer; a caller that does not read stops nothing but itself. Once a batch is read it is
//! carried to its end, whether or not its caller still waits.

use std::sync::Arc;

use futures::{Stream, StreamExt, stream::unfold};
use sealpost_failpoints::failpoint;
use sealpost_proto::gateway::v1::{SendStreamRequest, SendStreamResponse};
use sealpost_runtime::status;
use tokio::{
    join, pin,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    Admission,
    admission::{Admitting, Appending},
};
use crate::{authentication::Session, status::Error};

/// Batches of one stream under way at one time.
const AHEAD: usize = 8;

/// Messages in one batch.
const MAX_ITEMS: usize = 256;

/// A batch between two stages.
struct Batch<T> {
    id: u64,
    items: Vec<T>,
    permit: OwnedSemaphorePermit,
}

/// What the stages tell the answering stream.
enum Answer {
    /// Of one batch, which makes room for another when the transport has it.
    Outcomes(OwnedSemaphorePermit, SendStreamResponse),
    /// The last word: `Ok` when every batch that was read is answered.
    End(Result<(), Status>),
}

/// Serves one stream: the answers to `requests`. It ends with OK when the caller ends it or between two batches once `stop` is
/// cancelled, and has then answered every batch that was read.
///
/// Returns the answers and the work, which the caller of this function spawns.
pub fn send_stream<S>(
    admission: Arc<Admission>,
    session: Session,
    requests: S,
    stop: CancellationToken,
) -> (
    impl Stream<Item = Result<SendStreamResponse, Status>> + Send + 'static,
    impl Future<Output = ()> + Send + 'static,
)
where
    S: Stream<Item = Result<SendStreamRequest, Status>> + Send + Unpin + 'static,
{
    // One more than can be under way, for the last word: no stage ever waits for a slow reader.
    let (answers, answered) = mpsc::channel::<Answer>(AHEAD + 1);
    let stages = run(admission, session, requests, stop, answers);
    (unfold(Some(answered), next_answer), stages)
}

/// The next answer; what the transport took makes room for the next batch.
async fn next_answer(
    answers: Option<mpsc::Receiver<Answer>>,
) -> Option<(
    Result<SendStreamResponse, Status>,
    Option<mpsc::Receiver<Answer>>,
)> {
    let mut answers = answers?;
    match answers.recv().await {
        Some(Answer::Outcomes(_permit, outcomes)) => Some((Ok(outcomes), Some(answers))),
        Some(Answer::End(Ok(()))) => None,
        Some(Answer::End(Err(status))) => Some((Err(status), None)),
        // The stages are gone without a word: one of them panicked. An OK would promise that nothing was begun.
        None => Some((Err(status::internal()), None)),
    }
}

async fn run<S>(
    admission: Arc<Admission>,
    session: Session,
    requests: S,
    stop: CancellationToken,
    answers: mpsc::Sender<Answer>,
) where
    S: Stream<Item = Result<SendStreamRequest, Status>> + Send + Unpin,
{
    let (to_append, admitted) = mpsc::channel(AHEAD);
    let (to_settle, appended) = mpsc::channel(AHEAD);
    let (end, (), ()) = join!(
        admit_all(&admission, &session, requests, &stop, to_append, &answers),
        append_all(&admission, admitted, to_settle),
        settle_all(&admission, appended, &answers),
    );
    // The caller may be gone.
    let _ = answers.send(Answer::End(end)).await;
}

async fn admit_all<S>(
    admission: &Admission,
    session: &Session,
    mut requests: S,
    stop: &CancellationToken,
    next: mpsc::Sender<Batch<Admitting>>,
    answers: &mpsc::Sender<Answer>,
) -> Result<(), Status>
where
    S: Stream<Item = Result<SendStreamRequest, Status>> + Send + Unpin,
{
    let window = Arc::new(Semaphore::new(AHEAD));
    let ended = session.ended();
    pin!(ended);
    loop {
        let read = async {
            let permit = window.clone().acquire_owned().await.ok()?;
            Some((permit, requests.next().await?))
        };
        let read = tokio::select! {
            biased;
            error = &mut ended => return Err(error.into()),
            () = stop.cancelled() => return Ok(()),
            () = answers.closed() => return Ok(()),
            read = read => read,
        };
        let Some((permit, request)) = read else {
            return Ok(());
        };
        let request = request?;
        if request.items.len() > MAX_ITEMS {
            return Err(Error::Malformed("items", "must be at most 256").into());
        }
        let caller = session.caller();
        let mut items = Vec::with_capacity(request.items.len());
        for message in request.items {
            items.push(admission.admit(&caller, message).await);
        }
        let batch = Batch {
            id: request.batch_id,
            items,
            permit,
        };
        if next.send(batch).await.is_err() {
            return Ok(());
        }
    }
}

async fn append_all(
    admission: &Admission,
    mut batches: mpsc::Receiver<Batch<Admitting>>,
    next: mpsc::Sender<Batch<Appending>>,
) {
    while let Some(batch) = batches.recv().await {
        let mut items = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            items.push(admission.append(item).await);
        }
        let batch = Batch {
            id: batch.id,
            items,
            permit: batch.permit,
        };
        if next.send(batch).await.is_err() {
            return;
        }
    }
}

async fn settle_all(
    admission: &Admission,
    mut batches: mpsc::Receiver<Batch<Appending>>,
    answers: &mpsc::Sender<Answer>,
) {
    while let Some(batch) = batches.recv().await {
        let mut outcomes = Vec::with_capacity(batch.items.len());
        for item in batch.items {
            outcomes.push(admission.settle(item).await);
        }
        let answer = SendStreamResponse {
            batch_id: batch.id,
            outcomes,
        };
        // A caller that went away asks again with the same message ids.
        let _ = answers.send(Answer::Outcomes(batch.permit, answer)).await;
        failpoint!("send.answered");
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn answered(answers: mpsc::Receiver<Answer>) -> impl Stream<Item = Code> {
        unfold(Some(answers), next_answer)
            .map(|answer| answer.map_or_else(|e| e.code(), |_| Code::Ok))
    }

    #[tokio::test]
    async fn stages_that_are_gone_without_a_word_never_look_like_a_clean_end() {
        let (stages, answers) = mpsc::channel(1);
        drop(stages);
        let said: Vec<_> = answered(answers).collect().await;
        assert_eq!(said, [Code::Internal]);

        let (stages, answers) = mpsc::channel(1);
        assert!(stages.send(Answer::End(Ok(()))).await.is_ok());
        drop(stages);
        let said: Vec<_> = answered(answers).collect().await;
        assert!(said.is_empty());
    }
}
