//! Notices when certificate files change.
//!
//! By polling: it needs no kernel facility, survives renames and mounted secrets, and two seconds are soon enough.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval};

use super::TlsError;

const POLL: Duration = Duration::from_secs(2);

/// Something read from files.
pub(super) trait Reload: Send + Sync + 'static {
    fn files(&self) -> Vec<PathBuf>;
    fn reload(&self) -> Result<(), TlsError>;
}

/// Reloads `target` when its files change, until nobody else holds it.
pub(super) fn watch<T: Reload>(target: &Arc<T>) {
    let files = target.files();
    let seen = stamps(&files);
    tokio::spawn(poll(Arc::downgrade(target), files, seen));
}

async fn poll<T: Reload>(target: Weak<T>, files: Vec<PathBuf>, mut seen: Vec<Stamp>) {
    let mut ticks = interval(POLL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(target) = target.upgrade() else {
            return;
        };
        let now = stamps(&files);
        if now == seen {
            continue;
        }
        // Remembered even when refused: the same bad files are not tried again every two seconds. A half-written pair
        // is, since finishing it changes a stamp once more.
        seen = now;
        let outcome = match target.reload() {
            Ok(()) => {
                tracing::info!("certificates reloaded");
                "accepted"
            }
            Err(error) => {
                tracing::error!(%error, "new certificate files refused, the old ones stay");
                "refused"
            }
        };
        metrics::counter!("sealpost_tls_reloads_total", "outcome" => outcome).increment(1);
    }
}

/// When a file was last written, and its length; none while it cannot be read.
type Stamp = Option<(SystemTime, u64)>;

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
