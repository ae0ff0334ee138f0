//! The task that owns a lane's stream.

use std::{collections::VecDeque, future::pending, time::Duration};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use sealpost_failpoints::fails;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::{Entry, Hop, LaneError, LaneSettings};

/// How often one batch is sent again after streams that ended with OK before they began it.
const RESENDS: usize = 3;

const FIRST_DELAY: Duration = Duration::from_millis(50);
const LAST_DELAY: Duration = Duration::from_secs(2);

pub(super) struct Runner<H: Hop> {
    hop: H,
    settings: LaneSettings,
    entries: mpsc::Receiver<Entry<H>>,
    /// An entry taken from the queue that did not fit into the last batch.
    held: Option<Entry<H>>,
    stream: Option<Open<H>>,
    /// Sent on the stream and not answered, in their order.
    in_flight: VecDeque<Batch<H>>,
    last_batch: u64,
    delays: ExponentialBackoff,
}

struct Open<H: Hop> {
    requests: mpsc::Sender<H::Request>,
    answers: Streaming<H::Response>,
}

struct Batch<H: Hop> {
    id: u64,
    items: Vec<H::Item>,
    replies: Vec<oneshot::Sender<Result<H::Outcome, LaneError>>>,
    times_sent: usize,
    /// When its answer is late.
    until: Instant,
}

/// What a lane hears of next.
enum Next<H: Hop> {
    Entry(Entry<H>),
    Answer(Result<Option<H::Response>, Status>),
    /// The oldest batch has no answer in time.
    Late,
    /// Nobody will send any more.
    Closed,
}

impl<H: Hop> Runner<H> {
    pub(super) fn new(hop: H, settings: LaneSettings, entries: mpsc::Receiver<Entry<H>>) -> Self {
        Self {
            hop,
            settings,
            entries,
            held: None,
            stream: None,
            in_flight: VecDeque::new(),
            last_batch: 0,
            delays: delays(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (mut is_stopped, mut is_closed) = (false, false);
        while !(is_stopped || is_closed) || !self.in_flight.is_empty() {
            let takes_more = !is_stopped && !is_closed;
            let next = tokio::select! {
                () = stop.cancelled(), if !is_stopped => {
                    is_stopped = true;
                    continue;
                }
                next = self.next(takes_more) => next,
            };
            match next {
                Next::Entry(first) => self.send_all(first).await,
                Next::Answer(answer) => self.hear(answer).await,
                Next::Late => self.fail(&LaneError::Deadline),
                Next::Closed => is_closed = true,
            }
        }
        self.close();
    }

    /// Waits; dropping the wait loses nothing.
    async fn next(&mut self, takes_more: bool) -> Next<H> {
        let has_room = takes_more && self.in_flight.len() < self.settings.in_flight.max(1);
        if has_room && let Some(held) = self.held.take() {
            return Next::Entry(held);
        }
        let late = self.in_flight.front().map(|batch| batch.until);
        let late = async {
            match late {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        let answer = async {
            match &mut self.stream {
                Some(open) => open.answers.message().await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => Next::Answer(answer),
            () = late => Next::Late,
            entry = self.entries.recv(), if has_room => entry.map_or(Next::Closed, Next::Entry),
        }
    }

    /// Takes what queued meanwhile, up to the bounds; leaves out what nobody waits for any more.
    fn fill(&mut self, first: Entry<H>) -> Vec<Entry<H>> {
        let mut bytes = 0;
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(entry) = next.take() {
            if !entry.reply.is_closed() {
                let size = self.hop.size(&entry.item);
                if !batch.is_empty() && bytes + size > self.settings.max_bytes {
                    self.held = Some(entry);
                    break;
                }
                bytes += size;
                batch.push(entry);
            }
            if batch.len() < self.settings.max_items {
                next = self.entries.try_recv().ok();
            }
        }
        batch
    }

    /// Sends what queues as one batch.
    async fn send_all(&mut self, first: Entry<H>) {
        let entries = self.fill(first);
        if entries.is_empty() {
            return;
        }
        let lane = self.settings.name;
        metrics::histogram!("sealpost_lane_batch_items", "lane" => lane)
            .record(entries.len() as f64);
        let (items, replies): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .map(|entry| (entry.item, entry.reply))
            .unzip();
        let batch = Batch {
            id: 0,
            items,
            replies,
            times_sent: 0,
            until: Instant::now(),
        };
        // Its callers know.
        let _ = self.send(batch).await;
    }

    /// Sends a batch behind those that are in flight, or tells its callers why it was not sent.
    async fn send(&mut self, mut batch: Batch<H>) -> Result<(), LaneError> {
        let open = match self.stream.take() {
            _ if batch.times_sent > RESENDS => Err(LaneError::Unavailable(Status::unavailable(
                "the peer ends every stream",
            ))),
            Some(open) => Ok(open),
            None => self.open().await,
        };
        let open = match open {
            Ok(open) => open,
            Err(error) => {
                self.refuse(batch, &error);
                return Err(error);
            }
        };
        self.last_batch += 1;
        batch.id = self.last_batch;
        batch.times_sent += 1;
        batch.until = Instant::now() + self.settings.deadline;
        let request = self.hop.request(batch.id, batch.items.clone());
        self.in_flight.push_back(batch);
        if fails!("lane.{}.sending", self.settings.name) {
            self.fail(&LaneError::Broken(lost()));
            return Ok(());
        }
        // A closed channel shows in the answers too, with the reason.
        let _ = open.requests.send(request).await;
        self.stream = Some(open);
        Ok(())
    }

    /// Hears what came on the stream.
    async fn hear(&mut self, answer: Result<Option<H::Response>, Status>) {
        let response = match answer {
            Ok(Some(response)) => response,
            // What is in flight was not begun.
            Ok(None) => {
                self.stream = None;
                return self.send_again().await;
            }
            Err(status) => return self.fail(&LaneError::Broken(status)),
        };
        if fails!("lane.{}.answered", self.settings.name) {
            return self.fail(&LaneError::Broken(lost()));
        }
        let (answered, outcomes) = self.hop.answer(response);
        match self.in_flight.front() {
            Some(oldest) if oldest.id == answered && oldest.items.len() == outcomes.len() => {}
            // An answer that nobody asked for is as bad as an end.
            _ => {
                let status = Status::internal("the answer does not match the batch");
                return self.fail(&LaneError::Broken(status));
            }
        }
        self.delays = delays();
        if let Some(batch) = self.in_flight.pop_front() {
            for (reply, outcome) in batch.replies.into_iter().zip(outcomes) {
                // A caller that no longer waits has chosen not to know.
                let _ = reply.send(Ok(outcome));
            }
        }
    }

    /// Sends on a new stream what was in flight on one that ended. When one batch cannot go, none behind it may.
    async fn send_again(&mut self) {
        let mut failure = None;
        for batch in std::mem::take(&mut self.in_flight) {
            match &failure {
                None => failure = self.send(batch).await.err(),
                Some(error) => self.refuse(batch, error),
            }
        }
    }

    /// Lets the stream go, and with it all that is in flight.
    fn fail(&mut self, error: &LaneError) {
        self.stream = None;
        for batch in std::mem::take(&mut self.in_flight) {
            self.refuse(batch, error);
        }
    }

    /// Tells a batch's callers that it has no outcome.
    fn refuse(&self, batch: Batch<H>, error: &LaneError) {
        let lane = self.settings.name;
        metrics::counter!("sealpost_lane_failed_batches_total", "lane" => lane).increment(1);
        let code = error.code().description();
        tracing::warn!(
            name = lane,
            code,
            count = batch.replies.len(),
            "batch failed"
        );
        for reply in batch.replies {
            let _ = reply.send(Err(error.clone()));
        }
    }

    /// Opens the stream: the first time at once, then with growing delays, until the deadline or a refusal that time
    /// does not heal.
    async fn open(&mut self) -> Result<Open<H>, LaneError> {
        let until = Instant::now() + self.settings.open_deadline;
        loop {
            let (requests, stream) = mpsc::channel(self.settings.in_flight.max(1));
            let left = until.saturating_duration_since(Instant::now());
            let opened = timeout(left, self.hop.open(ReceiverStream::new(stream))).await;
            let status = match opened {
                Ok(Ok(answers)) => return Ok(Open { requests, answers }),
                Ok(Err(status)) => status,
                Err(_) => Status::deadline_exceeded("the stream did not open in time"),
            };
            let delay = self.delays.next().unwrap_or(LAST_DELAY);
            if !heals(status.code()) || Instant::now() + delay >= until {
                return Err(LaneError::Unavailable(status));
            }
            sleep(delay).await;
        }
    }

    fn close(mut self) {
        self.entries.close();
        let mut left = self.held.take();
        while let Some(entry) = left.or_else(|| self.entries.try_recv().ok()) {
            let _ = entry.reply.send(Err(LaneError::Closed));
            left = None;
        }
    }
}

/// What the failpoints stand for.
fn lost() -> Status {
    Status::unavailable("the connection was lost")
}

fn heals(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::Aborted
            | Code::ResourceExhausted
    )
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_DELAY)
        .with_max_delay(LAST_DELAY)
        .with_jitter()
        .without_max_times()
        .build()
}
