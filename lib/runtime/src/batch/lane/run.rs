//! The task that owns a lane's stream.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use sealpost_failpoints::fails;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout},
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
    last_batch: u64,
    delays: ExponentialBackoff,
}

struct Open<H: Hop> {
    requests: mpsc::Sender<H::Request>,
    answers: Streaming<H::Response>,
}

/// How sending one batch ended.
enum Sent<O> {
    Answered(Vec<O>),
    /// The stream ended with OK, so the batch was not begun.
    NotBegun,
    Failed(LaneError),
}

impl<H: Hop> Runner<H> {
    pub(super) fn new(hop: H, settings: LaneSettings, entries: mpsc::Receiver<Entry<H>>) -> Self {
        Self {
            hop,
            settings,
            entries,
            held: None,
            stream: None,
            last_batch: 0,
            delays: delays(),
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let first = tokio::select! {
                () = stop.cancelled() => break,
                first = self.first() => first,
            };
            let Some(first) = first else {
                return;
            };
            let batch = self.fill(first);
            if !batch.is_empty() {
                self.deliver(batch).await;
            }
        }
        self.close();
    }

    /// The first entry of the next batch. A stream that ends meanwhile is let go, so that the batch opens a new one.
    async fn first(&mut self) -> Option<Entry<H>> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        loop {
            let Some(open) = &mut self.stream else {
                return self.entries.recv().await;
            };
            tokio::select! {
                biased;
                // An answer that nobody asked for is as bad as an end.
                _ = open.answers.message() => self.stream = None,
                entry = self.entries.recv() => return entry,
            }
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

    async fn deliver(&mut self, batch: Vec<Entry<H>>) {
        let lane = self.settings.name;
        metrics::histogram!("sealpost_lane_batch_items", "lane" => lane).record(batch.len() as f64);
        let (items, replies): (Vec<_>, Vec<_>) = batch
            .into_iter()
            .map(|entry| (entry.item, entry.reply))
            .unzip();
        match self.outcomes(items).await {
            Ok(outcomes) => {
                for (reply, outcome) in replies.into_iter().zip(outcomes) {
                    // A caller that no longer waits has chosen not to know.
                    let _ = reply.send(Ok(outcome));
                }
            }
            Err(error) => {
                metrics::counter!("sealpost_lane_failed_batches_total", "lane" => lane)
                    .increment(1);
                let code = error.code().description();
                tracing::warn!(name = lane, code, count = replies.len(), "batch failed");
                for reply in replies {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }

    async fn outcomes(&mut self, items: Vec<H::Item>) -> Result<Vec<H::Outcome>, LaneError> {
        for _ in 0..=RESENDS {
            let mut open = match self.stream.take() {
                Some(open) => open,
                None => self.open().await?,
            };
            self.last_batch += 1;
            match self.send(&mut open, items.clone()).await {
                Sent::Answered(outcomes) => {
                    self.stream = Some(open);
                    self.delays = delays();
                    return Ok(outcomes);
                }
                Sent::NotBegun => {}
                Sent::Failed(error) => return Err(error),
            }
        }
        Err(LaneError::Unavailable(Status::unavailable(
            "the peer ends every stream",
        )))
    }

    /// Opens the stream: the first time at once, then with growing delays, until the deadline or a refusal that time
    /// does not heal.
    async fn open(&mut self) -> Result<Open<H>, LaneError> {
        let until = Instant::now() + self.settings.open_deadline;
        loop {
            let (requests, stream) = mpsc::channel(1);
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

    /// Sends one batch and waits for its answer. Unless it is answered, the caller lets the stream go.
    async fn send(&mut self, open: &mut Open<H>, items: Vec<H::Item>) -> Sent<H::Outcome> {
        let (id, count) = (self.last_batch, items.len());
        let request = self.hop.request(id, items);
        if fails!("lane.{}.sending", self.settings.name) {
            return Sent::Failed(LaneError::Broken(lost()));
        }
        // A closed channel shows in the answers too, with the reason.
        let _ = open.requests.send(request).await;
        match timeout(self.settings.deadline, open.answers.message()).await {
            Err(_) => Sent::Failed(LaneError::Deadline),
            Ok(Err(status)) => Sent::Failed(LaneError::Broken(status)),
            Ok(Ok(None)) => Sent::NotBegun,
            Ok(Ok(Some(response))) => {
                let (answered, outcomes) = self.hop.answer(response);
                if fails!("lane.{}.answered", self.settings.name) {
                    return Sent::Failed(LaneError::Broken(lost()));
                }
                if answered == id && outcomes.len() == count {
                    Sent::Answered(outcomes)
                } else {
                    let status = Status::internal("the answer does not match the batch");
                    Sent::Failed(LaneError::Broken(status))
                }
            }
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
