//! A queue on a stream: in order, again after a reconnect, and until acknowledged.
//!
//! Owns the window. What is delivered, in which order, and how an acknowledgement is kept is the queue's. Invariant: per stream
//! at most [`WINDOW`] items are unacknowledged, and at most two pages and a tray are in memory, whether or not the client reads.

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

/// What a client says at once at most; acknowledged in one transaction.
const HEARD_AT_ONCE: usize = 16;

/// Where the items of a stream come from.
pub(crate) trait Queue: Send + 'static {
    /// One answer on the stream.
    type Page: Send + 'static;
    /// What is handed on without a look at the tables.
    type Handed: Send + 'static;
    /// What a client says.
    type Said: Send + 'static;

    /// How often the queue is kept and looked at again though nothing came.
    const EVERY: Duration;

    /// Takes what was handed, as far as it is next and there is room.
    fn accept(&mut self, handed: Vec<Self::Handed>, room: usize) -> Accepted<Self::Page>;

    /// What is to be sent next, at most `room` items and within a bound of bytes.
    fn page(
        &mut self,
        room: usize,
    ) -> impl Future<Output = Result<Looked<Self::Page>, RelayError>> + Send;

    /// The queue ids that are safely kept, out of what was said.
    fn kept(said: &mut Self::Said) -> Vec<u64>;

    /// Forgets items, passing over ids that are not this queue's, and does what else was said. May answer what is to be sent next,
    /// at most `room` items.
    fn hear(
        &mut self,
        kept: Vec<i64>,
        said: Vec<Self::Said>,
        room: usize,
    ) -> impl Future<Output = Result<Option<Looked<Self::Page>>, RelayError>> + Send;

    /// Says that the stream lives.
    ///
    /// # Errors
    /// When it must end.
    fn keep(&mut self) -> impl Future<Output = Result<(), RelayError>> + Send;

    /// The stream is over.
    fn leave(self) -> impl Future<Output = ()> + Send;
}

/// What became of what was handed.
pub(crate) struct Accepted<P> {
    pub(crate) ids: Vec<i64>,
    /// None: there is nothing to send.
    pub(crate) page: Option<P>,
    /// What is left of the room.
    pub(crate) room: usize,
    /// Not all was taken: the tables have it.
    pub(crate) look: bool,
}

/// What a look at the tables found.
pub(crate) struct Looked<P> {
    pub(crate) ids: Vec<i64>,
    /// Of these; not sent when there are none.
    pub(crate) page: P,
    /// There may be more.
    pub(crate) more: bool,
}

/// Serves `queue` to the client behind `said` until it ends, another one takes the seat, or `stop`.
pub(crate) fn deliver<Q: Queue>(
    queue: Q,
    seat: Seat<Q::Handed>,
    said: impl Stream<Item = Result<Q::Said, Status>> + Send + Unpin + 'static,
    stop: CancellationToken,
) -> ReceiverStream<Result<Q::Page, Status>> {
    let (pages, answers) = mpsc::channel(1);
    let mut delivery = Delivery {
        queue,
        seat,
        said: said.ready_chunks(HEARD_AT_ONCE),
        unacknowledged: HashSet::new(),
        pending: None,
        unseen: true,
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

struct Delivery<Q: Queue, S> {
    queue: Q,
    seat: Seat<Q::Handed>,
    said: S,
    unacknowledged: HashSet<i64>,
    /// What is sent as soon as the client reads.
    pending: Option<Q::Page>,
    /// Whether the tables may hold something that was not looked at.
    unseen: bool,
}

impl<Q, S> Delivery<Q, S>
where
    Q: Queue,
    S: Stream<Item = Vec<Result<Q::Said, Status>>> + Send + Unpin,
{
    async fn run(
        &mut self,
        pages: &mpsc::Sender<Result<Q::Page, Status>>,
        stop: CancellationToken,
    ) -> Result<(), Status> {
        let mut every = interval(Q::EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if self.pending.is_none() {
                self.fill().await?;
            }
            let (wake, ended) = self.seat.parts();
            tokio::select! {
                biased;
                reason = ended => return Err(reason.unwrap_or(RelayError::StreamReplaced).into()),
                () = stop.cancelled() => return Ok(()),
                () = pages.closed() => return Ok(()),
                _ = every.tick() => {
                    self.queue.keep().await?;
                    self.unseen = true;
                }
                said = self.said.next() => match said {
                    Some(said) => {
                        let (said, broken) = until_broken(said);
                        self.hear(said).await?;
                        broken?;
                    }
                    None => return Ok(()),
                },
                place = pages.reserve(), if self.pending.is_some() => {
                    match (place, self.pending.take()) {
                        (Ok(place), Some(page)) => place.send(Ok(page)),
                        _ => return Ok(()),
                    }
                }
                () = wake.notified() => {}
            }
        }
    }

    /// Makes the next page, if there is anything to send.
    async fn fill(&mut self) -> Result<(), RelayError> {
        let tray = self.seat.take();
        self.unseen |= tray.look;
        let accepted = self.queue.accept(tray.handed, tray.room);
        self.unseen |= accepted.look;
        self.unacknowledged.extend(accepted.ids);
        self.pending = accepted.page;
        let mut room = accepted.room;
        if self.pending.is_none() && self.unseen && room > 0 {
            let looked = self.queue.page(room).await?;
            room -= self.send(looked).min(room);
        }
        self.seat.free_room(room);
        Ok(())
    }

    async fn hear(&mut self, mut said: Vec<Q::Said>) -> Result<(), RelayError> {
        let mut kept = Vec::new();
        for said in &mut said {
            kept.extend(validate::acknowledged(Q::kept(said))?);
        }
        let under_way = self.unacknowledged.len();
        for id in &kept {
            self.unacknowledged.remove(id);
        }
        self.seat.free_room(under_way - self.unacknowledged.len());
        // What comes next has a place only when nothing waits for the client already.
        let mut room = if self.pending.is_none() {
            self.seat.take_room()
        } else {
            0
        };
        if let Some(looked) = self.queue.hear(kept, said, room).await? {
            room -= self.send(looked).min(room);
        }
        self.seat.free_room(room);
        Ok(())
    }

    /// Makes what was found the next page; how many items it has.
    fn send(&mut self, looked: Looked<Q::Page>) -> usize {
        self.unseen = looked.more;
        let items = looked.ids.len();
        if items > 0 {
            self.unacknowledged.extend(looked.ids);
            self.pending = Some(looked.page);
        }
        items
    }
}

/// What was said before the stream broke, if it did.
fn until_broken<S>(said: Vec<Result<S, Status>>) -> (Vec<S>, Result<(), Status>) {
    let mut whole = Vec::with_capacity(said.len());
    for said in said {
        match said {
            Ok(said) => whole.push(said),
            Err(status) => return (whole, Err(status)),
        }
    }
    (whole, Ok(()))
}
