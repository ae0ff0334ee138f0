//! Epochs: a retention class and a stretch of time.
//!
//! Pure arithmetic over `now`; knows no key and no file. Invariant: an [`EpochId`] is well formed, and its key dies
//! exactly `retention` after its start, so that nothing sealed under it outlives the class.

use std::{fmt, time::Duration};

use sealpost_proto::{record::v1 as proto, vault::v1::EpochState};
use sealpost_runtime::Timestamp;

/// The least retention class, in seconds: 60 minutes.
pub(crate) const MIN_RETENTION: u32 = 3_600;
/// The greatest retention class, in seconds: 30 days.
pub(crate) const MAX_RETENTION: u32 = 2_592_000;
/// No epoch is longer, in seconds.
const MAX_LENGTH: u32 = 3_600;
/// A class has at least this many epochs.
const EPOCHS_PER_CLASS: u32 = 12;

/// A retention class: how long anything lives, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Retention(u32);

impl Retention {
    /// The class of that many seconds, when it is allowed.
    pub(crate) fn new(seconds: u32) -> Option<Self> {
        (MIN_RETENTION..=MAX_RETENTION)
            .contains(&seconds)
            .then_some(Self(seconds))
    }

    pub(crate) fn seconds(self) -> u32 {
        self.0
    }

    /// How long its epochs are, in seconds.
    fn epoch_length(self) -> u64 {
        u64::from(MAX_LENGTH.min(self.0 / EPOCHS_PER_CLASS))
    }
}

/// One epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EpochId {
    retention: Retention,
    /// Seconds since the Unix epoch.
    start: u64,
}

impl EpochId {
    /// The epoch that takes what is accepted at `now`.
    pub(crate) fn at(retention: Retention, now: Timestamp) -> Self {
        let length = retention.epoch_length();
        Self {
            retention,
            start: now.as_secs() / length * length,
        }
    }

    /// The epoch of these parts, when they name one.
    pub(crate) fn from_parts(retention_seconds: u32, start_seconds: u64) -> Option<Self> {
        let retention = Retention::new(retention_seconds)?;
        let far_future = start_seconds > u64::MAX / 2000;
        (start_seconds.is_multiple_of(retention.epoch_length()) && !far_future).then_some(Self {
            retention,
            start: start_seconds,
        })
    }

    pub(crate) fn from_proto(epoch: &proto::EpochId) -> Option<Self> {
        Self::from_parts(epoch.retention_seconds, epoch.start_seconds)
    }

    pub(crate) fn to_proto(self) -> proto::EpochId {
        proto::EpochId {
            retention_seconds: self.retention.0,
            start_seconds: self.start,
        }
    }

    pub(crate) fn retention(self) -> Retention {
        self.retention
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn start_seconds(self) -> u64 {
        self.start
    }

    /// From then on new records go elsewhere.
    pub(crate) fn closes_at(self) -> Timestamp {
        Timestamp::from_secs(self.start + self.retention.epoch_length())
    }

    /// From then on nothing opens its records, and its key must go.
    pub(crate) fn dies_at(self) -> Timestamp {
        Timestamp::from_secs(self.start) + Duration::from_secs(u64::from(self.retention.0))
    }

    /// Whether it is past its time.
    pub(crate) fn is_expired(self, now: Timestamp) -> bool {
        now >= self.dies_at()
    }

    /// The state of an epoch whose key is still there.
    pub(crate) fn state(self, now: Timestamp) -> EpochState {
        if now < self.closes_at() {
            EpochState::Open
        } else {
            EpochState::Closed
        }
    }

    /// Where a record of this epoch goes when the number's class is now `class`: never to where it would live longer.
    pub(crate) fn reseal_into(self, class: Retention, now: Timestamp) -> Self {
        if class >= self.retention {
            return self;
        }
        let latest_start = self.dies_at() - Duration::from_secs(u64::from(class.0));
        let target = Self::at(class, latest_start.min(now));
        if target.is_expired(now) { self } else { target }
    }
}

impl fmt::Debug for EpochId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EpochId({}s from {})", self.retention.0, self.start)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const DAY: u64 = 86_400;

    fn class(seconds: u32) -> Retention {
        Retention::new(seconds).unwrap()
    }

    #[test]
    fn an_epoch_is_an_hour_long_or_a_twelfth_of_a_short_class() {
        let month = EpochId::at(class(MAX_RETENTION), Timestamp::from_secs(1_000_000_000));
        assert_eq!(month.start % 3600, 0);
        assert_eq!(month.closes_at().as_secs() - month.start, 3600);
        let hour = EpochId::at(class(MIN_RETENTION), Timestamp::from_secs(1_000_000_000));
        assert_eq!(hour.start % 300, 0);
        assert_eq!(hour.closes_at().as_secs() - hour.start, 300);
    }

    #[test]
    fn the_key_dies_at_start_plus_retention_so_that_nothing_outlives_the_class() {
        for now in [1_700_000_000, 1_700_003_599, 1_700_003_600] {
            let epoch = EpochId::at(class(MAX_RETENTION), Timestamp::from_secs(now));
            assert_eq!(epoch.dies_at().as_secs(), epoch.start + 30 * DAY);
            assert!(epoch.dies_at().as_secs() <= now + 30 * DAY);
            assert!(!epoch.is_expired(epoch.dies_at() - Duration::from_millis(1)));
            assert!(epoch.is_expired(epoch.dies_at()));
        }
    }

    #[test]
    fn state_goes_from_open_to_closed_at_the_end_of_the_stretch() {
        let epoch = EpochId::at(class(7200), Timestamp::from_secs(1_200_000));
        assert_eq!(
            epoch.state(Timestamp::from_secs(epoch.start)),
            EpochState::Open
        );
        assert_eq!(
            epoch.state(epoch.closes_at() - Duration::from_millis(1)),
            EpochState::Open
        );
        assert_eq!(epoch.state(epoch.closes_at()), EpochState::Closed);
    }

    #[test]
    fn malformed_parts_name_no_epoch() {
        assert!(EpochId::from_parts(3600, 300).is_some());
        for (retention, start) in [
            (3599, 0),
            (MAX_RETENTION + 1, 0),
            (3600, 301),
            (3600, u64::MAX / 300 * 300),
        ] {
            assert!(
                EpochId::from_parts(retention, start).is_none(),
                "{retention} {start}"
            );
        }
    }

    #[test]
    fn resealing_never_lengthens_a_life() {
        let now = Timestamp::from_secs(1_700_000_000);
        for old in [3600, 7200, 86_400, MAX_RETENTION] {
            for age in [0, 1800, 3000, 80_000, 2_000_000] {
                let old = EpochId::at(class(old), now - Duration::from_secs(age));
                if old.is_expired(now) {
                    continue;
                }
                for present in [3600, 5000, 86_400, MAX_RETENTION] {
                    let target = old.reseal_into(class(present), now);
                    assert!(target.dies_at() <= old.dies_at(), "{old:?} {target:?}");
                    assert!(!target.is_expired(now));
                    assert!(target.start_seconds() <= now.as_secs());
                }
            }
        }
    }
}
