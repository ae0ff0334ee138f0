//! A conversation's trace as it grows, judged as it does.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealpost_tests::progress;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::model::{Broken, Model};
use super::trace::Entry;

/// Shared by everybody who does or sees something in the conversation.
pub struct Log {
    label: String,
    judged: Mutex<Judged>,
    grown: Notify,
}

struct Judged {
    trace: Vec<Entry>,
    model: Model,
    broken: Option<Broken>,
}

impl Log {
    /// Of a conversation on a number that keeps messages for `retention` seconds.
    pub fn new(label: &str, retention: u64) -> Self {
        Self {
            label: label.to_owned(),
            judged: Mutex::new(Judged {
                trace: Vec::new(),
                model: Model::new(retention),
                broken: None,
            }),
            grown: Notify::new(),
        }
    }

    /// Adds to the end. What comes after the first broken rule is kept and not judged.
    pub fn push(&self, entry: Entry) {
        let mut judged = self.lock();
        if judged.broken.is_none() {
            judged.broken = judged.model.observe(&entry).err();
            if let Some(broken) = &judged.broken {
                progress(&format!("conversation {}: {broken}", self.label));
            }
        }
        judged.trace.push(entry);
        drop(judged);
        self.grown.notify_one();
    }

    /// Waits until everything that must come has come, or `limit` has passed, and says that it was waited for.
    pub async fn settle(&self, limit: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < limit && self.is_waiting() {
            let _ = timeout(Duration::from_millis(500), self.grown.notified()).await;
        }
        self.push(Entry::Settled);
    }

    fn is_waiting(&self) -> bool {
        let judged = self.lock();
        judged.broken.is_none() && !judged.model.missing().is_empty()
    }

    /// The rule that was broken, and everything up to now, one entry a line.
    pub fn verdict(&self) -> Result<(), String> {
        let judged = self.lock();
        let Some(broken) = &judged.broken else {
            return Ok(());
        };
        let lines: Vec<_> = judged
            .trace
            .iter()
            .map(|entry| format!("  {entry:?}"))
            .collect();
        Err(format!("{broken}\n{}", lines.join("\n")))
    }

    fn lock(&self) -> MutexGuard<'_, Judged> {
        self.judged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
