//! What time it is.
//!
//! Owns the only reading of the system's wall clock in the workspace; everything else takes a [`Clock`], or better
//! a [`Timestamp`]. TLS alone keeps real time, through rustls.

use std::{
    fmt, fs,
    ops::{Add, Sub},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::config::ClockConfig;

/// A point in time: milliseconds since the Unix epoch.
#[derive(
    Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// From milliseconds since the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// From seconds since the Unix epoch.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch.
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// How long after `earlier` this is; zero when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the far end of time instead of wrapping.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    /// Stops at the Unix epoch instead of wrapping.
    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A source of time; clones share it.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    OffsetFile(Arc<OffsetFile>),
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// The machine's clock plus the whole number of seconds in the file at `path`, read anew at most once a second. A
    /// missing or unreadable file adds nothing.
    #[must_use]
    pub fn with_offset_file(path: PathBuf) -> Self {
        Self(Source::OffsetFile(Arc::new(OffsetFile {
            path,
            last: Mutex::new(None),
        })))
    }

    /// For tests: stands still until [`Clock::advance`].
    #[must_use]
    pub fn manual(start: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(AtomicU64::new(start.0))))
    }

    /// The clock that the configuration asks for.
    #[must_use]
    pub fn from_config(config: &ClockConfig) -> Self {
        match &config.clock_file {
            Some(path) if config.development => Self::with_offset_file(path.clone()),
            _ => Self::system(),
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => system_now(),
            Source::OffsetFile(file) => file.shift(system_now()),
            Source::Manual(now) => Timestamp(now.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock forward; the others move by themselves.
    pub fn advance(&self, duration: Duration) {
        if let Source::Manual(now) = &self.0 {
            now.fetch_add(millis(duration), Ordering::SeqCst);
        }
    }
}

#[derive(Debug)]
struct OffsetFile {
    path: PathBuf,
    /// When it was last read, and the seconds it held.
    last: Mutex<Option<(Instant, i64)>>,
}

impl OffsetFile {
    fn shift(&self, now: Timestamp) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let seconds = match *last {
            Some((read_at, seconds)) if read_at.elapsed() < Duration::from_secs(1) => seconds,
            _ => {
                let seconds = fs::read_to_string(&self.path)
                    .ok()
                    .and_then(|text| text.trim().parse().ok())
                    .unwrap_or(0);
                *last = Some((Instant::now(), seconds));
                seconds
            }
        };
        Timestamp(now.0.saturating_add_signed(seconds.saturating_mul(1000)))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
fn system_now() -> Timestamp {
    // A clock before 1970 reads as 1970.
    let since_epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(millis(since_epoch))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_offset_file_moves_the_clock_and_a_missing_one_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let before = Clock::system().now();
        let still = Clock::with_offset_file(path.clone()).now();
        assert!(still.since(before) < Duration::from_secs(60));

        fs::write(&path, "86400\n").unwrap();
        let moved = Clock::with_offset_file(path).now();
        assert!(moved.since(before) >= Duration::from_secs(86_400));
    }

    #[test]
    fn an_offset_is_read_anew_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clock");
        let clock = Clock::with_offset_file(path.clone());
        let before = clock.now();
        fs::write(&path, "86400").unwrap();
        assert!(clock.now().since(before) < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1100));
        assert!(clock.now().since(before) >= Duration::from_secs(86_400));
    }

    #[test]
    fn a_manual_clock_moves_only_when_told_and_its_clones_with_it() {
        let clock = Clock::manual(Timestamp::from_secs(10));
        let twin = clock.clone();
        clock.advance(Duration::from_millis(1500));
        assert_eq!(twin.now(), Timestamp::from_millis(11_500));
        assert_eq!(twin.now().as_secs(), 11);
    }

    #[test]
    fn arithmetic_stops_at_both_ends_of_time() {
        assert_eq!(
            Timestamp::from_secs(1) - Duration::from_secs(2),
            Timestamp::default()
        );
        let end = Timestamp::from_millis(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
    }
}
