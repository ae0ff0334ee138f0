//! How far an outbound message is.
//!
//! Pure. Invariant: a status only moves forward, and a failure ends it.

/// The status of an outbound message. The numbers are those of the table and of the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// Durable, not yet at the relay.
    Accepted = 1,
    /// The relay has it.
    Sent = 2,
    /// A device of the consumer has it.
    Delivered = 3,
    /// The consumer has read it.
    Read = 4,
    /// It will not be delivered.
    Failed = 5,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 5] = [
        Self::Accepted,
        Self::Sent,
        Self::Delivered,
        Self::Read,
        Self::Failed,
    ];

    /// Reads the table's number.
    #[must_use]
    pub fn from_column(column: i64) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|status| status.column() == column)
    }

    /// The table's number.
    #[must_use]
    pub fn column(self) -> i64 {
        self as i64
    }
}

/// Where a message at `current` goes when `proposed` is heard of; nothing when it stays.
///
/// A message that one device has cannot fail any more: another device's failure says nothing about the whole.
#[must_use]
pub fn advance(current: Status, proposed: Status) -> Option<Status> {
    match (current, proposed) {
        (Status::Failed | Status::Delivered | Status::Read, Status::Failed) => None,
        (Status::Failed, _) => None,
        _ if proposed > current => Some(proposed),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    fn any_status() -> impl Strategy<Value = Status> {
        select(Status::ALL.to_vec())
    }

    /// What becomes of an accepted message when these are heard of in this order.
    fn history(heard: &[Status]) -> Vec<Status> {
        let mut states = vec![Status::Accepted];
        for proposed in heard {
            let current = states[states.len() - 1];
            states.extend(advance(current, *proposed));
        }
        states
    }

    proptest! {
        #[test]
        fn a_history_strictly_grows_and_nothing_follows_a_failure(
            heard in prop::collection::vec(any_status(), 0..20)
        ) {
            let states = history(&heard);
            prop_assert!(states.windows(2).all(|pair| pair[0] < pair[1]));
            let failed = states.iter().position(|status| *status == Status::Failed);
            prop_assert!(failed.is_none_or(|place| place == states.len() - 1));
        }

        #[test]
        fn what_was_heard_before_changes_nothing(
            heard in prop::collection::vec(any_status(), 1..20),
            again in any::<prop::sample::Index>(),
        ) {
            let once = history(&heard);
            let mut twice = heard.clone();
            twice.push(heard[again.index(heard.len())]);
            prop_assert_eq!(once, history(&twice));
        }

        #[test]
        fn without_failures_the_furthest_wins_in_any_order(
            heard in prop::collection::vec(select(Status::ALL[..4].to_vec()), 1..20)
        ) {
            let end = history(&heard).last().copied();
            prop_assert_eq!(end, heard.iter().copied().chain([Status::Accepted]).max());
        }
    }

    #[test]
    fn a_delivered_message_does_not_fail() {
        assert_eq!(advance(Status::Delivered, Status::Failed), None);
        assert_eq!(advance(Status::Read, Status::Failed), None);
        assert_eq!(advance(Status::Sent, Status::Failed), Some(Status::Failed));
        assert_eq!(
            advance(Status::Accepted, Status::Failed),
            Some(Status::Failed)
        );
    }

    #[test]
    fn the_numbers_read_back() {
        for status in Status::ALL {
            assert_eq!(Status::from_column(status.column()), Some(status));
        }
        assert_eq!(Status::from_column(0), None);
    }
}
