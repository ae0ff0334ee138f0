//! What time the vault believes it is.
//!
//! Owns the trust in the clock: destroying on a clock set forward by mistake loses what should live, and opening on one set
//! back shows what should be gone. So time never reads earlier than the keyring's mark, and a jump ahead of the boot clock
//! (or of the mark, at start) stops both until an operator confirms. Invariant: a [`Now`] is a time to act on; it exists only
//! while the clock is trusted.
//!
//! A clock file of development moves time like any other clock: its jumps need an operator's word as well.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use sealpost_envelope::UnixMillis;
use sealpost_runtime::{Clock, Timestamp};

use super::{Keyring, KeyringError};

/// The furthest that the clock may run ahead of the boot clock.
pub(crate) const MAX_JUMP: Duration = Duration::from_secs(600);
/// The furthest that the clock may be ahead of the mark when the process starts.
pub(crate) const MAX_GAP_AT_START: Duration = Duration::from_secs(86_400);
/// The furthest that an operator's clock may be from ours for a confirmation.
pub(crate) const MAX_DISAGREEMENT: Duration = Duration::from_secs(60);

/// A trusted reading of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Now(Timestamp);

impl Now {
    pub(crate) fn timestamp(self) -> Timestamp {
        self.0
    }

    pub(crate) fn unix_millis(self) -> UnixMillis {
        UnixMillis(self.0.as_millis())
    }

    #[cfg(test)]
    pub(crate) fn for_test(time: Timestamp) -> Self {
        Self(time)
    }
}

/// The clock jumped ahead, and no operator has confirmed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClockUnconfirmed;

/// What a clock reading is held against.
#[derive(Clone, Copy, Debug)]
struct Trust {
    /// The latest trusted reading.
    mark: Timestamp,
    /// The reading that was trusted when `since` was taken.
    anchor: Timestamp,
}

impl Trust {
    /// At the start of a process, when the keyring's mark is `mark` and the clock says `now`.
    fn at_start(mark: Timestamp, now: Timestamp) -> Self {
        let anchor = if now > mark + MAX_GAP_AT_START {
            mark
        } else {
            now.max(mark)
        };
        Self { mark, anchor }
    }

    /// Judges a reading `elapsed` after the anchor by the boot clock.
    fn judge(self, now: Timestamp, elapsed: Duration) -> Result<Now, ClockUnconfirmed> {
        if now > self.anchor + elapsed + MAX_JUMP {
            return Err(ClockUnconfirmed);
        }
        Ok(Now(now.max(self.mark)))
    }
}

/// Reads the clock with suspicion.
pub(crate) struct TimeKeeper {
    clock: Clock,
    keyring: Arc<Keyring>,
    state: Mutex<State>,
}

struct State {
    trust: Trust,
    since: Instant,
}

impl TimeKeeper {
    /// Starts from the keyring's mark.
    ///
    /// # Errors
    /// When the mark cannot be read.
    pub(crate) fn start(clock: Clock, keyring: Arc<Keyring>) -> Result<Self, KeyringError> {
        let trust = Trust::at_start(keyring.mark()?, clock.now());
        Ok(Self {
            clock,
            keyring,
            state: Mutex::new(State {
                trust,
                since: Instant::now(),
            }),
        })
    }

    /// The time to act on.
    ///
    /// # Errors
    /// [`ClockUnconfirmed`].
    pub(crate) fn now(&self) -> Result<Now, ClockUnconfirmed> {
        let mut state = self.state();
        let now = state.trust.judge(self.clock.now(), state.since.elapsed())?;
        state.trust.mark = now.timestamp();
        Ok(now)
    }

    /// An operator says that it is `claimed`: when our clock says so too, it is trusted from here on.
    pub(crate) fn confirm(&self, claimed: Timestamp) -> Option<Now> {
        let ours = self.clock.now();
        if ours.since(claimed) > MAX_DISAGREEMENT || claimed.since(ours) > MAX_DISAGREEMENT {
            return None;
        }
        let mut state = self.state();
        let mark = state.trust.mark.max(ours);
        *state = State {
            trust: Trust { mark, anchor: mark },
            since: Instant::now(),
        };
        Some(Now(mark))
    }

    /// Makes the latest trusted reading durable, so that a restart cannot turn it back, and takes over a later one of another
    /// replica: what one of them has destroyed as expired no slower clock opens.
    ///
    /// # Errors
    /// When the keyring's files fail.
    pub(crate) fn persist(&self) -> Result<(), KeyringError> {
        let mark = self.state().trust.mark;
        let shared = self.keyring.advance_mark(mark)?;
        let mut state = self.state();
        state.trust.mark = state.trust.mark.max(shared);
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::OsEntropy;

    use super::*;
    use crate::custody::RootKey;

    const T: Timestamp = Timestamp::from_secs(1_700_000_000);
    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    fn read(
        trust: Trust,
        now: Timestamp,
        elapsed: Duration,
    ) -> Result<Timestamp, ClockUnconfirmed> {
        trust.judge(now, elapsed).map(Now::timestamp)
    }

    #[test]
    fn a_replica_with_a_slow_clock_reads_what_another_has_seen() {
        let folder = tempfile::tempdir().unwrap();
        let root = RootKey::generate(&mut OsEntropy).unwrap();
        let (root, ring) = (Arc::new(root), folder.path().join("keyring"));
        Keyring::create(&ring, &root, T).unwrap();
        let replica = |now| {
            let keyring = Arc::new(Keyring::open(ring.clone(), root.clone()).unwrap());
            TimeKeeper::start(Clock::manual(now), keyring).unwrap()
        };
        let (fast, slow) = (replica(T + HOUR), replica(T));
        fast.now().unwrap();
        assert_eq!(slow.now().map(Now::timestamp), Ok(T));
        fast.persist().unwrap();
        slow.persist().unwrap();
        assert_eq!(slow.now().map(Now::timestamp), Ok(T + HOUR));
    }

    #[test]
    fn an_earlier_clock_reads_as_the_mark() {
        let trust = Trust::at_start(T, T - HOUR);
        assert_eq!(read(trust, T - HOUR, MINUTE), Ok(T));
        assert_eq!(read(trust, T + MINUTE, HOUR), Ok(T + MINUTE));
    }

    #[test]
    fn a_jump_over_ten_minutes_against_the_boot_clock_is_not_believed() {
        let trust = Trust::at_start(T, T);
        assert_eq!(
            read(trust, T + HOUR + MAX_JUMP, HOUR),
            Ok(T + HOUR + MAX_JUMP)
        );
        let over = T + HOUR + MAX_JUMP + Duration::from_millis(1);
        assert_eq!(read(trust, over, HOUR), Err(ClockUnconfirmed));
    }

    #[test]
    fn many_small_jumps_are_one_large_jump() {
        let trust = Trust {
            mark: T + MAX_JUMP,
            ..Trust::at_start(T, T)
        };
        assert_eq!(
            read(trust, T + MAX_JUMP + MINUTE, Duration::ZERO),
            Err(ClockUnconfirmed)
        );
    }

    #[test]
    fn a_gap_over_a_day_at_start_is_not_believed_and_a_shorter_one_is() {
        let day = MAX_GAP_AT_START;
        assert_eq!(
            read(Trust::at_start(T, T + day), T + day, Duration::ZERO),
            Ok(T + day)
        );
        let over = T + day + Duration::from_millis(1);
        assert_eq!(
            read(Trust::at_start(T, over), over, Duration::ZERO),
            Err(ClockUnconfirmed)
        );
    }

    #[test]
    fn a_clock_that_comes_back_by_itself_is_trusted_again() {
        let trust = Trust::at_start(T, T);
        assert!(read(trust, T + HOUR, MINUTE).is_err());
        assert_eq!(read(trust, T + MINUTE, MINUTE), Ok(T + MINUTE));
    }
}
