//! Which events of a number are out, which are done, and what to acknowledge. Pure.
//!
//! Invariant: what it says to acknowledge only grows, and every event up to it that was ever handed out is done.

use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    acknowledged: Option<u64>,
    /// Cursor → whether it is done, for events after `acknowledged`.
    open: BTreeMap<u64, bool>,
}

/// How an event stands that came from the gateway.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It was never here; now it is out.
    New,
    /// The app has it, or is done with it while an earlier one is not.
    Out,
    /// It was acknowledged up to this cursor; the gateway may not have heard.
    Acknowledged(u64),
}

impl Ledger {
    /// An event came.
    pub(super) fn arrive(&mut self, cursor: u64) -> Arrival {
        if let Some(acknowledged) = self.acknowledged.filter(|up_to| cursor <= *up_to) {
            return Arrival::Acknowledged(acknowledged);
        }
        if self.open.contains_key(&cursor) {
            return Arrival::Out;
        }
        self.open.insert(cursor, false);
        Arrival::New
    }

    /// An event that was not handed out after all, to come again.
    pub(super) fn withdraw(&mut self, cursor: u64) {
        self.open.remove(&cursor);
    }

    /// An event is done; answers what to acknowledge when that grew.
    pub(super) fn finish(&mut self, cursor: u64) -> Option<u64> {
        if let Some(done) = self.open.get_mut(&cursor) {
            *done = true;
        }
        let mut grown = None;
        while let Some(first) = self.open.first_entry().filter(|first| *first.get()) {
            grown = Some(*first.key());
            first.remove();
        }
        self.acknowledged = grown.or(self.acknowledged);
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(cursors: &[u64]) -> Ledger {
        let mut ledger = Ledger::default();
        for cursor in cursors {
            assert_eq!(ledger.arrive(*cursor), Arrival::New);
        }
        ledger
    }

    #[test]
    fn an_event_is_acknowledged_only_after_all_before_it() {
        let mut ledger = with(&[10, 12, 15]);
        assert_eq!(ledger.finish(12), None);
        assert_eq!(ledger.finish(10), Some(12));
        assert_eq!(ledger.finish(15), Some(15));
    }

    #[test]
    fn an_event_that_comes_again_is_not_handed_out_again() {
        let mut ledger = with(&[10, 12]);
        assert_eq!(ledger.arrive(10), Arrival::Out);
        assert_eq!(ledger.finish(12), None);
        assert_eq!(ledger.arrive(12), Arrival::Out);
        assert_eq!(ledger.finish(10), Some(12));
        assert_eq!(ledger.arrive(10), Arrival::Acknowledged(12));
        assert_eq!(ledger.arrive(13), Arrival::New);
    }

    #[test]
    fn a_withdrawn_event_is_new_when_it_comes_again_and_holds_nothing_back() {
        let mut ledger = with(&[10, 12]);
        ledger.withdraw(12);
        assert_eq!(ledger.finish(10), Some(10));
        assert_eq!(ledger.arrive(12), Arrival::New);
    }

    #[test]
    fn what_was_never_here_acknowledges_nothing() {
        let mut ledger = with(&[10]);
        assert_eq!(ledger.finish(99), None);
        assert_eq!(ledger.finish(10), Some(10));
        assert_eq!(ledger.finish(10), None);
    }
}
