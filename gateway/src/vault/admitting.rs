//! Admit: each shard's items in one row, to whoever holds the shard.
//!
//! Items of a shard go out without waiting for one another's answers. When one of them must be asked again (another vault holds the
//! shard, the holder changed, the stream broke), it and all behind it are, in their order, whatever became of those before: so a
//! conversation's messages get their sequence in the order in which they came. What a vault did meanwhile for an answer that nobody
//! took is a gap in the sequence and a message key that nobody uses.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use futures::{StreamExt, stream::FuturesOrdered};
use sealpost_proto::vault::v1::{AdmitItem, AdmitOutcome, Refusal, admit_outcome::Outcome};
use sealpost_runtime::batch::LaneError;
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{
    holders::Hold,
    routed::{PATIENCE, Routed, WAITS},
    shard::{Clear, Shard, content_key_of},
};
use crate::{
    backoff::Patience,
    events::Wraps,
    ids::ContentKeyId,
    lanes::{AdmitHop, Lane, Ticket},
};

/// Items of one shard that may queue before senders wait.
const QUEUE: usize = 256;

/// The outcome of an item, or that it has none.
type Answer = Result<AdmitOutcome, LaneError>;

/// The way in: a row for each shard.
pub struct Admitting(Vec<mpsc::Sender<Entry>>);

/// An item, and where its outcome goes.
struct Entry {
    item: AdmitItem,
    content_key: Option<ContentKeyId>,
    reply: oneshot::Sender<Answer>,
    until: Instant,
}

/// The outcome to come of a queued item.
#[must_use = "an item whose ticket is dropped may never be sent"]
pub struct AdmittingTicket(oneshot::Receiver<Answer>);

impl AdmittingTicket {
    /// Waits for the outcome.
    ///
    /// # Errors
    /// When there is none.
    pub async fn outcome(self) -> Answer {
        self.0.await.unwrap_or(Err(LaneError::Closed))
    }
}

impl Admitting {
    pub(super) fn start(lanes: &Routed<AdmitHop>, stop: &CancellationToken) -> Self {
        let wraps = Arc::new(Wraps::default());
        let row = |shard| {
            let (queue, entries) = mpsc::channel(QUEUE);
            let row = Row {
                shard,
                lanes: lanes.clone(),
                wraps: wraps.clone(),
                entries,
                shown: HashSet::new(),
                last: LaneError::Closed,
            };
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = row.run() => {}
                }
            });
            queue
        };
        Self(Shard::all().map(row).collect())
    }

    /// Queues an item behind those of its shard, waiting only for a place.
    ///
    /// # Errors
    /// [`LaneError::Closed`].
    pub async fn send(&self, item: AdmitItem) -> Result<AdmittingTicket, LaneError> {
        let clear = item
            .message
            .as_ref()
            .and_then(|message| Clear::read(&message.header));
        // What cannot be read any vault refuses.
        let shard = clear
            .as_ref()
            .map_or_else(|| Shard::of("", ""), |clear| clear.shard);
        let (reply, outcome) = oneshot::channel();
        let entry = Entry {
            item,
            content_key: clear.map(|clear| clear.content_key),
            reply,
            until: Instant::now() + PATIENCE,
        };
        self.0[shard.index()]
            .send(entry)
            .await
            .map_err(|_| LaneError::Closed)?;
        Ok(AdmittingTicket(outcome))
    }
}

/// One shard's items.
struct Row {
    shard: Shard,
    lanes: Routed<AdmitHop>,
    wraps: Arc<Wraps>,
    entries: mpsc::Receiver<Entry>,
    /// Content keys that the present holder was shown.
    shown: HashSet<ContentKeyId>,
    /// Why an item that waited for too long has no outcome.
    last: LaneError,
}

impl Row {
    async fn run(mut self) {
        let mut patience = Patience::new(WAITS);
        // To be sent, in this order, before all that still queues.
        let mut due = VecDeque::new();
        let mut shown_to = Hold::default();
        loop {
            if due.is_empty() {
                patience.reset();
                match self.entries.recv().await {
                    Some(entry) => due.push_back(entry),
                    None => return,
                }
            }
            let hold = self.lanes.holders.of(self.shard);
            if hold != shown_to {
                self.shown.clear();
                shown_to = hold.clone();
            }
            match self.lanes.lane(&hold).cloned() {
                Some(lane) => due = self.stretch(&hold, &lane, due, &mut patience).await,
                None => self.last = nobody(),
            }
            self.give_up(&mut due);
            if !due.is_empty() {
                // Another vault comes, or this one comes anew.
                self.shown.clear();
                self.lanes.wait(self.shard, &hold, &mut patience).await;
            }
        }
    }

    /// Sends what is due and what comes, under one hold, until nothing is left or something must be asked again: answers that, and
    /// all behind it.
    async fn stretch(
        &mut self,
        hold: &Hold,
        lane: &Lane<AdmitHop>,
        mut due: VecDeque<Entry>,
        patience: &mut Patience,
    ) -> VecDeque<Entry> {
        let holders = self.lanes.holders.clone();
        let changed = holders.changed(self.shard, hold);
        tokio::pin!(changed);
        let mut sent = VecDeque::new();
        let mut answers = FuturesOrdered::new();
        loop {
            while let Some(entry) = due.pop_front() {
                let item = self.with_wrap(&entry);
                // A lane whose vault hangs may be full for long.
                let queued = tokio::select! {
                    biased;
                    () = &mut changed => None,
                    queued = lane.send(item) => Some(queued),
                };
                sent.push_back(entry);
                match queued {
                    Some(Ok(ticket)) => answers.push_back(Ticket::outcome(ticket)),
                    failed => {
                        if let Some(Err(error)) = failed {
                            self.last = error;
                        }
                        sent.append(&mut due);
                        return sent;
                    }
                }
            }
            if sent.is_empty() {
                return due;
            }
            tokio::select! {
                biased;
                () = &mut changed => return sent,
                Some(answer) = answers.next() => {
                    match answer {
                        Ok(outcome) if is_elsewhere(&outcome) => {
                            self.last = LaneError::Unavailable(Status::unavailable("another vault holds the shard"));
                            return sent;
                        }
                        Err(error) if !matches!(error, LaneError::Closed) => {
                            self.last = error;
                            return sent;
                        }
                        answer => {
                            patience.reset();
                            if let Some(entry) = sent.pop_front() {
                                // Its caller may be gone.
                                let _ = entry.reply.send(answer);
                            }
                        }
                    }
                }
                Some(entry) = self.entries.recv() => due.push_back(entry),
            }
        }
    }

    /// The item, with the wrap of its content key the first time that this vault sees it: another vault was shown it, perhaps.
    fn with_wrap(&mut self, entry: &Entry) -> AdmitItem {
        let mut item = entry.item.clone();
        if let Some(brought) = content_key_of(&item.wrap) {
            self.wraps.keep(brought, item.wrap.clone());
            self.shown.insert(brought);
        } else if let Some(key) = entry.content_key
            && self.shown.insert(key)
        {
            item.wrap = self.wraps.find(&key).unwrap_or_default();
        }
        item
    }

    /// Answers those whose time is over, and forgets those whose callers are gone.
    fn give_up(&self, due: &mut VecDeque<Entry>) {
        let now = Instant::now();
        while due
            .front()
            .is_some_and(|entry| entry.until <= now || entry.reply.is_closed())
        {
            if let Some(entry) = due.pop_front() {
                let _ = entry.reply.send(Err(self.last.clone()));
            }
        }
    }
}

fn nobody() -> LaneError {
    LaneError::Unavailable(Status::unavailable("nobody holds the shard"))
}

fn is_elsewhere(answer: &AdmitOutcome) -> bool {
    answer.outcome == Some(Outcome::Refused(Refusal::ShardElsewhere.into()))
}
