//! The client's half of a hop: a queue whose items travel in batches.
//!
//! One task owns the stream. While as many batches are in flight as may be, further items queue, and all that queued (up to a size)
//! is the next batch: no timers, no waiting for more. A full queue makes senders wait.

mod run;

use std::{future::Future, time::Duration};

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use run::Runner;

/// One kind of hot hop: how its stream is opened and what its messages look like.
///
/// ```text
/// impl Hop for AdmitHop {
///     type Item = AdmitItem;
///     type Outcome = AdmitOutcome;
///     type Request = AdmitRequest;
///     type Response = AdmitResponse;
///     async fn open(&self, requests: ReceiverStream<AdmitRequest>) -> Result<Streaming<AdmitResponse>, Status> {
///         Ok(self.client.clone().admit(requests).await?.into_inner())
///     }
///     fn request(&self, batch_id: u64, items: Vec<AdmitItem>) -> AdmitRequest {
///         AdmitRequest { batch_id, items }
///     }
///     fn answer(&self, response: AdmitResponse) -> (u64, Vec<AdmitOutcome>) {
///         (response.batch_id, response.outcomes)
///     }
///     fn size(&self, item: &AdmitItem) -> usize {
///         prost::Message::encoded_len(item)
///     }
/// }
/// ```
pub trait Hop: Send + Sync + 'static {
    /// What a caller hands in. A batch that was not begun is sent again, hence the `Clone`.
    type Item: Clone + Send + 'static;
    /// What becomes of one item.
    type Outcome: Send + 'static;
    /// The message that carries a batch.
    type Request: Send + 'static;
    /// The message that answers it.
    type Response: Send + 'static;

    /// Opens the stream.
    fn open(
        &self,
        requests: ReceiverStream<Self::Request>,
    ) -> impl Future<Output = Result<Streaming<Self::Response>, Status>> + Send;

    /// Makes a batch.
    fn request(&self, batch_id: u64, items: Vec<Self::Item>) -> Self::Request;

    /// Takes an answer apart: the id of its batch, and an outcome for each item in their order.
    fn answer(&self, response: Self::Response) -> (u64, Vec<Self::Outcome>);

    /// The encoded size of an item, in bytes.
    fn size(&self, item: &Self::Item) -> usize;
}

/// Bounds of a lane.
#[derive(Clone, Copy, Debug)]
pub struct LaneSettings {
    /// Its name in metrics.
    pub name: &'static str,
    /// Items that may queue before senders wait.
    pub capacity: usize,
    /// Items in one batch, at most.
    pub max_items: usize,
    /// Bytes in one batch, at most; a larger item travels alone.
    pub max_bytes: usize,
    /// Batches in flight at one time, at most: more than one where the peer has stages that work side by side.
    pub in_flight: usize,
    /// How long a batch may wait for its answer.
    pub deadline: Duration,
    /// How long a batch may wait for the stream to open.
    pub open_deadline: Duration,
}

impl LaneSettings {
    /// The usual bounds: 1024 queued, 256 items or 1 MiB in a batch, one batch in flight, 30 s for an answer and
    /// 5 s to open.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            capacity: 1024,
            max_items: 256,
            max_bytes: 1024 * 1024,
            in_flight: 1,
            deadline: Duration::from_secs(30),
            open_deadline: Duration::from_secs(5),
        }
    }
}

/// Why an item has no outcome.
#[derive(Clone, Debug, Error)]
pub enum LaneError {
    /// It was never sent: the stream could not be opened.
    #[error("the peer is not available")]
    Unavailable(Status),
    /// It was sent and the stream broke or the whole batch failed: the outcome is unknown.
    #[error("the stream broke")]
    Broken(Status),
    /// It was sent and no answer came in time: the outcome is unknown.
    #[error("no answer in time")]
    Deadline,
    /// It was never sent: the lane is closed.
    #[error("the lane is closed")]
    Closed,
}

impl LaneError {
    /// Whether the peer may have acted on the item.
    #[must_use]
    pub fn is_outcome_unknown(&self) -> bool {
        matches!(self, Self::Broken(_) | Self::Deadline)
    }

    /// The code of what the peer or the transport said.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Unavailable(status) | Self::Broken(status) => status.code(),
            Self::Deadline => Code::DeadlineExceeded,
            Self::Closed => Code::Unavailable,
        }
    }
}

/// The end of a hop that callers hold; clones share the queue.
pub struct BatchLane<H: Hop> {
    queue: mpsc::Sender<Entry<H>>,
}

impl<H: Hop> Clone for BatchLane<H> {
    fn clone(&self) -> Self {
        Self {
            queue: self.queue.clone(),
        }
    }
}

/// An item in the queue and where its outcome goes.
struct Entry<H: Hop> {
    item: H::Item,
    reply: oneshot::Sender<Result<H::Outcome, LaneError>>,
}

impl<H: Hop> BatchLane<H> {
    /// Starts the lane's task, which ends when every clone is dropped, or after the batches in flight once `stop` is
    /// cancelled: what is still queued then gets [`LaneError::Closed`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(hop: H, settings: LaneSettings, stop: CancellationToken) -> Self {
        let (queue, entries) = mpsc::channel(settings.capacity.max(1));
        tokio::spawn(Runner::new(hop, settings, entries).run(stop));
        Self { queue }
    }

    /// Queues `item`, waits for its turn, and answers its outcome.
    ///
    /// # Errors
    /// When it has none.
    pub async fn call(&self, item: H::Item) -> Result<H::Outcome, LaneError> {
        self.send(item).await?.outcome().await
    }

    /// Queues `item`, waiting only for a place. Items sent one after another keep that order on the wire.
    ///
    /// An item whose [`Reply`] is dropped before its batch leaves is not sent.
    ///
    /// # Errors
    /// [`LaneError::Closed`].
    pub async fn send(&self, item: H::Item) -> Result<Reply<H>, LaneError> {
        let (reply, outcome) = oneshot::channel();
        let entry = Entry { item, reply };
        self.queue
            .send(entry)
            .await
            .map_err(|_| LaneError::Closed)?;
        Ok(Reply { outcome })
    }
}

/// The outcome to come of a queued item.
#[must_use = "an item whose reply is dropped may never be sent"]
pub struct Reply<H: Hop> {
    outcome: oneshot::Receiver<Result<H::Outcome, LaneError>>,
}

impl<H: Hop> Reply<H> {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// When there is none.
    pub async fn outcome(self) -> Result<H::Outcome, LaneError> {
        // A lane's task that dies drops its entries; whether they were sent is then unknown.
        self.outcome
            .await
            .unwrap_or_else(|_| Err(LaneError::Broken(Status::unknown("the lane ended"))))
    }
}
