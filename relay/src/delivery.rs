//! A queue on a stream: in order, again after a reconnect, and until acknowledged.
//!
//! Owns the window. What is delivered, in which order, and how an acknowledgement is kept is the queue's. Invariant: per stream
//! at most [`WINDOW`] items are unacknowledged, and at most two pages are in memory, whether or not the client reads.

use std::{collections::HashSet, future::Future, time::Duration};

use futures::{Stream, StreamExt};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{RelayError, hub::Seat, validate};

/// Items under way to a client and not acknowledged.
pub(crate) const WINDOW: usize = 256;

/// Where the items of a stream come from.
pub(crate) trait Queue: Send + 'static {
    /// One answer on the stream.
    type Page: Send + 'static;

    /// How often the queue is kept and looked at again though nothing came.
    const EVERY: Duration;

    /// What is to be sent next, at most `room` items and within a bound of bytes; and their ids.
    fn page(
        &mut self,
        room: usize,
    ) -> impl Future<Output = Result<(Vec<i64>, Self::Page), RelayError>> + Send;

    /// Forgets items; ids that are not this queue's are passed over.
    fn acknowledge(&mut self, ids: Vec<i64>)
    -> impl Future<Output = Result<(), RelayError>> + Send;

    /// Says that the stream lives.
    ///
    /// # Errors
    /// When it must end.
    fn keep(&mut self) -> impl Future<Output = Result<(), RelayError>> + Send;

    /// The stream is over.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

/// Serves `queue` to the client behind `acknowledgements` until it ends, another one takes the seat, or `stop`.
pub(crate) fn deliver<Q: Queue>(
    queue: Q,
    seat: Seat,
    acknowledgements: impl Stream<Item = Result<Vec<u64>, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> ReceiverStream<Result<Q::Page, Status>> {
    let (pages, answers) = mpsc::channel(1);
    let mut delivery = Delivery {
        queue,
        seat,
        acknowledgements,
        unacknowledged: HashSet::new(),
    };
    tokio::spawn(async move {
        let ended = delivery.run(&pages, stop).await;
        // Before the client hears of the end, so that its next stream finds nothing of this one.
        delivery.queue.leave().await;
        if let Err(status) = ended {
            // Nobody may be left to read it.
            let _ = pages.send(Err(status)).await;
        }
    });
    ReceiverStream::new(answers)
}

struct Delivery<Q, A> {
    queue: Q,
    seat: Seat,
    acknowledgements: A,
    unacknowledged: HashSet<i64>,
}

impl<Q, A> Delivery<Q, A>
where
    Q: Queue,
    A: Stream<Item = Result<Vec<u64>, Status>> + Send + Unpin,
{
    async fn run(
        &mut self,
        pages: &mpsc::Sender<Result<Q::Page, Status>>,
        stop: CancellationToken,
    ) -> Result<(), Status> {
        let mut pending = None;
        // Whether the queue may hold something that was not looked at.
        let mut unseen = true;
        let mut every = interval(Q::EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let room = WINDOW - self.unacknowledged.len();
            if pending.is_none() && unseen && room > 0 {
                let (ids, page) = self.queue.page(room).await?;
                unseen = !ids.is_empty();
                if !ids.is_empty() {
                    self.unacknowledged.extend(ids);
                    pending = Some(page);
                }
            }
            let (wake, ended) = self.seat.parts();
            tokio::select! {
                biased;
                reason = ended => return Err(reason.unwrap_or(RelayError::StreamReplaced).into()),
                () = stop.cancelled() => return Ok(()),
                () = pages.closed() => return Ok(()),
                _ = every.tick() => {
                    self.queue.keep().await?;
                    unseen = true;
                }
                said = self.acknowledgements.next() => match said {
                    Some(ids) => self.acknowledge(ids?).await?,
                    None => return Ok(()),
                },
                place = pages.reserve(), if pending.is_some() => match (place, pending.take()) {
                    (Ok(place), Some(page)) => place.send(Ok(page)),
                    _ => return Ok(()),
                },
                () = wake.notified(), if !unseen => unseen = true,
            }
        }
    }

    async fn acknowledge(&mut self, ids: Vec<u64>) -> Result<(), RelayError> {
        let ids = validate::acknowledged(ids)?;
        if ids.is_empty() {
            return Ok(());
        }
        for id in &ids {
            self.unacknowledged.remove(id);
        }
        self.queue.acknowledge(ids).await
    }
}
