//! One stream of batches to send: many batches under way, one order.
//!
//! Three stages run side by side, each in the order of the items. Memory is bounded by the batches under way, and a batch leaves
//! only when the caller has taken its answer; a caller that does not read stops nothing but itself. Once a batch is read it is
//! carried to its end, whether or not its caller still waits.

use std::sync::Arc;

use futures::{Stream, StreamExt};
use sealpost_failpoints::failpoint;
use sealpost_proto::gateway::v1::{SendStreamRequest, SendStreamResponse};
use tokio::{
    join, pin,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};
use tokio_stream::wrappers::ReceiverStream;
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

type Answer = (
    Option<OwnedSemaphorePermit>,
    Result<SendStreamResponse, Status>,
);

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
    // One more than can be under way, for the status at the end: no stage ever waits for a slow reader.
    let (answers, answered) = mpsc::channel::<Answer>(AHEAD + 1);
    let stages = run(admission, session, requests, stop, answers);
    // Only what the transport took makes room for the next batch.
    let answered = ReceiverStream::new(answered).map(|(_permit, answer)| answer);
    (answered, stages)
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
    if let Err(status) = end {
        // The caller may be gone.
        let _ = answers.send((None, Err(status))).await;
    }
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
        let _ = answers.send((Some(batch.permit), Ok(answer))).await;
        failpoint!("send.answered");
    }
}
