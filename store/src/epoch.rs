//! Epochs as the store sees them: by the clock, and by what the vault said.
//!
//! Pure. Invariant: an epoch that is past by our clock, or destroyed by the vault's word, takes no record any more, and
//! a state never goes back.
//!
//! Sending ends before an epoch does, at its last call. Gateways keep the same rule for what they have in hand.

use std::time::Duration;

use sealpost_runtime::Timestamp;

/// The longest stretch of an epoch, in seconds.
const LONGEST_STRETCH: u64 = 3600;

/// How long after an epoch's closing outbound records may still arrive: they were admitted before and travel yet.
const APPEND_GRACE: Duration = Duration::from_secs(600);

/// The last call comes at least this long before the end: time enough to tell the business.
const LEAST_NOTICE: Duration = Duration::from_secs(120);
/// And this fraction of the class before it: an hour of thirty days.
const NOTICE_FRACTION: u64 = 720;
/// How long after the last call what still waits is nobody's: leases given before it have run out, and what was being handed to the
/// relay is settled.
const SETTLING: Duration = Duration::from_secs(30);

/// A stretch of time within a retention class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch {
    /// How long anything lives, in seconds.
    pub retention_seconds: u32,
    /// Its start, in seconds since the Unix epoch.
    pub start_seconds: u64,
}

impl Epoch {
    /// Start plus length: from then on the vault seals under a later epoch.
    #[must_use]
    pub fn closes_at(self) -> Timestamp {
        let length = LONGEST_STRETCH.min(u64::from(self.retention_seconds) / 12);
        Timestamp::from_secs(self.start_seconds.saturating_add(length))
    }

    /// Start plus retention: by then its key is dead.
    #[must_use]
    pub fn ends_at(self) -> Timestamp {
        let retention = u64::from(self.retention_seconds);
        Timestamp::from_secs(self.start_seconds.saturating_add(retention))
    }

    /// From then on no gateway begins to send one of its records.
    #[must_use]
    pub fn last_call(self) -> Timestamp {
        let share = u64::from(self.retention_seconds) * 1000 / NOTICE_FRACTION;
        self.ends_at() - LEAST_NOTICE.max(Duration::from_millis(share))
    }

    /// Whether what still waits in it can go nowhere any more, while its records open yet and the business can be told.
    #[must_use]
    pub fn is_too_late_to_send(self, now: Timestamp) -> bool {
        now >= self.last_call() + SETTLING && !self.is_past(now)
    }

    /// Whether its time has passed.
    #[must_use]
    pub fn is_past(self, now: Timestamp) -> bool {
        now >= self.ends_at()
    }

    /// Whether its records are out of reach: destroyed, or past by our clock though the vault be silent.
    #[must_use]
    pub fn is_over(self, state: Option<EpochState>, now: Timestamp) -> bool {
        state == Some(EpochState::Destroyed) || self.is_past(now)
    }

    /// Whether a newly admitted record may be appended.
    #[must_use]
    pub fn takes_outbound(self, state: Option<EpochState>, now: Timestamp) -> bool {
        !self.is_over(state, now) && now <= self.closes_at() + APPEND_GRACE
    }

    /// Whether a decrypted record may be appended: until its key is gone, since the vault keeps it pending until then.
    #[must_use]
    pub fn takes_inbound(self, state: Option<EpochState>, now: Timestamp) -> bool {
        !self.is_over(state, now)
    }
}

/// The life of an epoch. The numbers are those of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EpochState {
    /// New records are sealed under it.
    Open = 1,
    /// Its records open, new ones go elsewhere.
    Closed = 2,
    /// Its key is gone.
    Destroyed = 3,
}

impl EpochState {
    /// Reads the table's number.
    #[must_use]
    pub fn from_column(column: i64) -> Option<Self> {
        [Self::Open, Self::Closed, Self::Destroyed]
            .into_iter()
            .find(|state| state.column() == column)
    }

    /// The table's number.
    #[must_use]
    pub fn column(self) -> i64 {
        self as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch {
        retention_seconds: 2_592_000,
        start_seconds: 3_600_000,
    };

    fn at(seconds_after_start: u64) -> Timestamp {
        Timestamp::from_secs(EPOCH.start_seconds + seconds_after_start)
    }

    #[test]
    fn an_hour_long_class_has_five_minute_stretches() {
        let short = Epoch {
            retention_seconds: 3600,
            ..EPOCH
        };
        assert_eq!(short.closes_at(), at(300));
        assert_eq!(EPOCH.closes_at(), at(3600));
    }

    #[test]
    fn the_last_call_comes_two_minutes_or_a_part_of_the_class_before_the_end() {
        let short = Epoch {
            retention_seconds: 3600,
            ..EPOCH
        };
        let day = Epoch {
            retention_seconds: 86_400,
            ..EPOCH
        };
        let week = Epoch {
            retention_seconds: 604_800,
            ..EPOCH
        };
        assert_eq!(short.last_call(), at(3480));
        assert_eq!(day.last_call(), at(86_280));
        assert_eq!(week.last_call(), at(603_960));
        assert_eq!(EPOCH.last_call(), at(2_588_400));
    }

    #[test]
    fn it_is_too_late_from_half_a_minute_after_the_last_call_until_the_end() {
        assert!(!EPOCH.is_too_late_to_send(at(2_588_429)));
        assert!(EPOCH.is_too_late_to_send(at(2_588_430)));
        assert!(EPOCH.is_too_late_to_send(at(2_591_999)));
        assert!(!EPOCH.is_too_late_to_send(at(2_592_000)));
    }

    #[test]
    fn outbound_records_get_ten_minutes_after_closing() {
        assert!(EPOCH.takes_outbound(None, at(0)));
        assert!(EPOCH.takes_outbound(Some(EpochState::Closed), at(4200)));
        assert!(!EPOCH.takes_outbound(Some(EpochState::Open), at(4201)));
    }

    #[test]
    fn inbound_records_are_taken_until_the_key_is_gone() {
        assert!(EPOCH.takes_inbound(Some(EpochState::Closed), at(2_591_999)));
        assert!(!EPOCH.takes_inbound(Some(EpochState::Open), at(2_592_000)));
        assert!(!EPOCH.takes_inbound(Some(EpochState::Destroyed), at(1)));
    }

    #[test]
    fn destruction_closes_an_epoch_whatever_the_clock_says() {
        assert!(EPOCH.is_over(Some(EpochState::Destroyed), at(0)));
        assert!(!EPOCH.takes_outbound(Some(EpochState::Destroyed), at(0)));
    }
}
