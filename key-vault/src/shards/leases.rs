//! What this process knows of the shards: its memory between rounds.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{Notify, watch};

use super::{Holdings, Pulse, Shard};

/// Who holds what, as the last round saw it.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) holdings: Holdings,
    /// Our name; empty while we hold nothing by right: before we entered, after we left, after another process took our name.
    pub(crate) name: String,
}

impl View {
    /// Whether the shard is ours.
    pub(crate) fn holds(&self, shard: Shard) -> bool {
        !self.name.is_empty() && self.holdings.of(shard).holder == self.name
    }
}

/// This vault among the vaults.
pub(crate) struct Leases {
    /// As others see it.
    pub(crate) name: String,
    /// Tells this process from others of its name.
    pub(crate) incarnation: u64,
    view: watch::Sender<View>,
    heard: Mutex<(Pulse, Option<Instant>)>,
    wake: Notify,
    /// The rows that carry our name, as they were at that count of changes.
    rows: Mutex<Option<(u64, Rows)>>,
}

/// Shards and their tokens.
pub(crate) type Rows = Arc<Vec<(Shard, u64)>>;

impl Leases {
    /// A vault that holds nothing yet. `incarnation` is random.
    pub(crate) fn new(name: String, incarnation: u64) -> Self {
        Self {
            name,
            incarnation,
            view: watch::Sender::default(),
            heard: Mutex::default(),
            wake: Notify::new(),
            rows: Mutex::default(),
        }
    }

    /// What the last round saw.
    pub(crate) fn view(&self) -> watch::Ref<'_, View> {
        self.view.borrow()
    }

    /// The same, and each change.
    pub(crate) fn watch(&self) -> watch::Receiver<View> {
        self.view.subscribe()
    }

    /// A round ended: what it saw, and what is ours by right.
    pub(crate) fn learn(&self, pulse: Pulse, view: View) {
        *self.heard() = (pulse, Some(Instant::now()));
        self.view.send_if_modified(|known| {
            let changed = known.holdings != view.holdings || known.name != view.name;
            *known = view;
            changed
        });
    }

    /// What was heard so far, and how long ago.
    pub(crate) fn pulse(&self) -> (Pulse, Duration) {
        let heard = self.heard();
        let elapsed = heard.1.map_or(Duration::ZERO, |at| at.elapsed());
        (heard.0.clone(), elapsed)
    }

    /// Asks for a round soon: somebody found something else than is known.
    pub(crate) fn look_soon(&self) {
        self.wake.notify_one();
    }

    /// Waits for that.
    pub(crate) async fn asked(&self) {
        self.wake.notified().await;
    }

    /// The rows that carry our name, if the table was read at this count of its changes.
    pub(crate) fn rows_at(&self, changes: u64) -> Option<Rows> {
        let read = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, rows) = read.as_ref()?;
        (*at == changes).then(|| rows.clone())
    }

    /// The table was read: at this count of its changes, these rows carry our name.
    pub(crate) fn read_at(&self, changes: u64, rows: Rows) {
        *self.rows.lock().unwrap_or_else(PoisonError::into_inner) = Some((changes, rows));
    }

    fn heard(&self) -> MutexGuard<'_, (Pulse, Option<Instant>)> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
