//! One stream's bookkeeping: what was read, sent and acknowledged of each number, and what to read next.
//!
//! Pure. Invariants: never more than `most` events are read or sent and not acknowledged; a number's cursor moves forward only, and
//! over an event only when that was acknowledged or passed over.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::PhoneNumberId;

/// Events read at one time: as many as the store gives in one answer.
const PAGE: usize = 256;

/// The numbers of one stream.
#[derive(Debug)]
pub struct Subscription {
    numbers: BTreeMap<PhoneNumberId, Progress>,
    most: usize,
    /// Events that are being read, or were sent and not acknowledged.
    outstanding: usize,
    /// Whose turn came last.
    last: Option<PhoneNumberId>,
}

#[derive(Debug)]
struct Progress {
    acknowledged: u64,
    /// Everything up to here was read.
    read: u64,
    /// The newest that is known to be.
    newest: u64,
    maybe_more: bool,
    /// Places taken by a read under way.
    reading: usize,
    /// The newest that was known when that read began.
    newest_at_read: u64,
    unacknowledged: VecDeque<u64>,
}

/// A page to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Of which number.
    pub number: PhoneNumberId,
    /// Only events after this.
    pub after: u64,
    /// At most this many.
    pub limit: usize,
}

/// What to do with a page that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Fetched<E> {
    /// Send these.
    pub send: Vec<E>,
    /// Move the number's cursor here: all before it was passed over.
    pub advance: Option<u64>,
}

impl Subscription {
    /// With at most `most` events unacknowledged.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            numbers: BTreeMap::new(),
            most,
            outstanding: 0,
            last: None,
        }
    }

    /// Adds a number whose events up to `cursor` were acknowledged; `newest` is the newest known.
    pub fn add(&mut self, number: PhoneNumberId, cursor: u64, newest: u64) {
        self.numbers.entry(number).or_insert(Progress {
            acknowledged: cursor,
            read: cursor,
            newest,
            maybe_more: true,
            reading: 0,
            newest_at_read: newest,
            unacknowledged: VecDeque::new(),
        });
    }

    /// Whether a number is part of it.
    #[must_use]
    pub fn has(&self, number: &PhoneNumberId) -> bool {
        self.numbers.contains_key(number)
    }

    /// The next page to read, if there is room for any; numbers take turns.
    pub fn next_fetch(&mut self) -> Option<Fetch> {
        let room = self.most.saturating_sub(self.outstanding).min(PAGE);
        if room == 0 {
            return None;
        }
        let ready = |(_, progress): &(&PhoneNumberId, &Progress)| {
            progress.maybe_more && progress.reading == 0
        };
        let after_last = self.last.as_ref();
        let number = self
            .numbers
            .iter()
            .filter(|(number, _)| after_last.is_none_or(|last| *number > last))
            .find(ready)
            .or_else(|| self.numbers.iter().find(ready))?
            .0
            .clone();
        let progress = self.numbers.get_mut(&number)?;
        progress.reading = room;
        progress.newest_at_read = progress.newest;
        self.outstanding += room;
        self.last = Some(number.clone());
        Some(Fetch {
            after: progress.read,
            limit: room,
            number,
        })
    }

    /// A page was read: its events by cursor, none where one is passed over. `limit` is what was asked for.
    pub fn fetched<E>(
        &mut self,
        number: &PhoneNumberId,
        limit: usize,
        events: Vec<(u64, Option<E>)>,
    ) -> Fetched<E> {
        let mut send = Vec::new();
        let Some(progress) = self.numbers.get_mut(number) else {
            return Fetched {
                send,
                advance: None,
            };
        };
        self.outstanding -= progress.reading;
        progress.reading = 0;
        let (full, none) = (events.len() >= limit, events.is_empty());
        for (cursor, event) in events {
            // Acknowledged meanwhile, by a subscriber who had it from an earlier stream.
            if cursor <= progress.read {
                continue;
            }
            progress.read = cursor;
            if let Some(event) = event {
                progress.unacknowledged.push_back(cursor);
                send.push(event);
            }
        }
        self.outstanding += send.len();
        // An empty page though newer ones are known: those are gone, and asking again would bring nothing.
        let known = if none {
            progress.newest_at_read
        } else {
            progress.read
        };
        progress.maybe_more = full || progress.newest > known;
        let passed_over =
            progress.unacknowledged.is_empty() && progress.read > progress.acknowledged;
        let advance = passed_over.then_some(progress.read);
        progress.acknowledged = advance.unwrap_or(progress.acknowledged);
        Fetched { send, advance }
    }

    /// The subscriber keeps everything up to `cursor`; answers where the number's cursor moves, if it does.
    ///
    /// An acknowledgement beyond the newest event that is known counts up to that one; one of a number that is no part of
    /// this counts nothing.
    pub fn acknowledge(&mut self, number: &PhoneNumberId, cursor: u64) -> Option<u64> {
        let progress = self.numbers.get_mut(number)?;
        let cursor = cursor.min(progress.read.max(progress.newest));
        while progress
            .unacknowledged
            .front()
            .is_some_and(|first| *first <= cursor)
        {
            progress.unacknowledged.pop_front();
            self.outstanding -= 1;
        }
        progress.read = progress.read.max(cursor);
        // What was passed over behind the last event that was sent goes with it.
        let reached = match progress.unacknowledged.front() {
            None => progress.read,
            Some(_) => cursor,
        };
        if reached <= progress.acknowledged {
            return None;
        }
        progress.acknowledged = reached;
        Some(reached)
    }

    /// A number has events up to `newest`.
    pub fn wake(&mut self, number: &PhoneNumberId, newest: u64) {
        if let Some(progress) = self.numbers.get_mut(number) {
            progress.newest = progress.newest.max(newest);
            progress.maybe_more |= progress.newest > progress.read;
        }
    }

    /// Looks at every number again, in case a word was lost.
    pub fn wake_all(&mut self) {
        for progress in self.numbers.values_mut() {
            progress.maybe_more = true;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn number(text: &str) -> PhoneNumberId {
        PhoneNumberId::parse(text).unwrap()
    }

    fn page(cursors: std::ops::RangeInclusive<u64>) -> Vec<(u64, Option<u64>)> {
        cursors.map(|cursor| (cursor, Some(cursor))).collect()
    }

    fn subscription(most: usize) -> Subscription {
        let mut subscription = Subscription::new(most);
        subscription.add(number("1"), 0, 0);
        subscription
    }

    #[test]
    fn no_more_is_read_than_may_be_unacknowledged() {
        let mut subscription = subscription(3);
        let fetch = subscription.next_fetch().unwrap();
        assert_eq!((fetch.after, fetch.limit), (0, 3));
        assert_eq!(
            subscription.next_fetch(),
            None,
            "one page of a number at a time"
        );
        let fetched = subscription.fetched(&number("1"), 3, page(1..=3));
        assert_eq!(fetched.send, [1, 2, 3]);
        assert_eq!(subscription.next_fetch(), None, "no room");
        assert_eq!(subscription.acknowledge(&number("1"), 2), Some(2));
        let fetch = subscription.next_fetch().unwrap();
        assert_eq!((fetch.after, fetch.limit), (3, 2));
    }

    #[test]
    fn a_number_that_is_read_up_sleeps_until_it_is_woken() {
        let mut subscription = subscription(100);
        let limit = subscription.next_fetch().unwrap().limit;
        let _ = subscription.fetched(&number("1"), limit, page(1..=2));
        assert_eq!(subscription.next_fetch(), None);
        subscription.wake(&number("1"), 2);
        assert_eq!(subscription.next_fetch(), None);
        subscription.wake(&number("1"), 3);
        assert_eq!(subscription.next_fetch().unwrap().after, 2);
    }

    #[test]
    fn passed_over_events_move_the_cursor_with_what_is_before_them() {
        let mut subscription = subscription(100);
        let limit = subscription.next_fetch().unwrap().limit;
        let events = vec![(1, None), (2, Some(2)), (3, None)];
        let fetched = subscription.fetched(&number("1"), limit, events);
        assert_eq!(fetched.advance, None, "event 2 is not acknowledged");
        assert_eq!(subscription.acknowledge(&number("1"), 2), Some(3));
        subscription.wake(&number("1"), 4);
        let limit = subscription.next_fetch().unwrap().limit;
        let fetched = subscription.fetched::<u64>(&number("1"), limit, vec![(4, None)]);
        assert_eq!(fetched.advance, Some(4));
    }

    #[test]
    fn an_acknowledgement_from_an_earlier_stream_counts_but_never_beyond_the_newest() {
        let mut subscription = Subscription::new(10);
        subscription.add(number("1"), 2, 7);
        let limit = subscription.next_fetch().unwrap().limit;
        assert_eq!(subscription.acknowledge(&number("1"), 5), Some(5));
        // The page that was on its way still names 3 to 5.
        let fetched = subscription.fetched(&number("1"), limit, page(3..=7));
        assert_eq!(fetched.send, [6, 7]);
        assert_eq!(subscription.acknowledge(&number("1"), u64::MAX), Some(7));
        assert_eq!(subscription.acknowledge(&number("1"), 6), None);
        assert_eq!(subscription.acknowledge(&number("2"), 1), None);
    }

    #[test]
    fn events_that_are_gone_are_asked_for_once() {
        let mut subscription = Subscription::new(10);
        subscription.add(number("1"), 2, 7);
        let limit = subscription.next_fetch().unwrap().limit;
        let _ = subscription.fetched::<u64>(&number("1"), limit, vec![]);
        assert_eq!(subscription.next_fetch(), None);
        subscription.wake(&number("1"), 8);
        assert_eq!(subscription.next_fetch().unwrap().after, 2);
    }

    #[test]
    fn numbers_take_turns() {
        let mut subscription = Subscription::new(PAGE * 2);
        for name in ["1", "2", "3"] {
            subscription.add(number(name), 0, 0);
        }
        let first = subscription.next_fetch().unwrap().number;
        let second = subscription.next_fetch().unwrap().number;
        let _ = subscription.fetched(&first, PAGE, page(1..=PAGE as u64));
        assert_eq!(
            subscription.acknowledge(&first, PAGE as u64),
            Some(PAGE as u64)
        );
        let third = subscription.next_fetch().unwrap().number;
        assert_eq!([first, second, third], ["1", "2", "3"].map(number));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Read,
        Answer { kept: u8 },
        Acknowledge(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (1..5_usize).prop_map(Step::Append),
            Just(Step::Read),
            any::<u8>().prop_map(|kept| Step::Answer { kept }),
            (0..60_u64).prop_map(Step::Acknowledge),
        ];
        vec(step, 0..100)
    }

    proptest! {
        #[test]
        fn every_event_is_sent_in_order_and_within_the_window(steps in steps(), most in 1..6_usize) {
            let mut subscription = subscription(most);
            let one = number("1");
            let (mut newest, mut sent, mut saved) = (0_u64, Vec::new(), 0_u64);
            let mut reading: Option<Fetch> = None;
            for step in steps {
                match step {
                    Step::Append(events) => {
                        newest += events as u64;
                        subscription.wake(&one, newest);
                    }
                    Step::Read if reading.is_none() => reading = subscription.next_fetch(),
                    Step::Read => {}
                    Step::Answer { kept } => if let Some(fetch) = reading.take() {
                        let events = (fetch.after + 1..=newest).take(fetch.limit)
                            .map(|cursor| (cursor, (kept >> (cursor % 8) & 1 == 1).then_some(cursor)))
                            .collect();
                        let fetched = subscription.fetched(&one, fetch.limit, events);
                        sent.extend(fetched.send);
                        saved = saved.max(fetched.advance.unwrap_or(0));
                    },
                    Step::Acknowledge(cursor) => {
                        let moved = subscription.acknowledge(&one, cursor);
                        prop_assert!(moved.is_none_or(|to| to > saved && to <= newest));
                        saved = saved.max(moved.unwrap_or(0));
                    }
                }
                let progress = &subscription.numbers[&one];
                prop_assert!(subscription.outstanding <= most);
                prop_assert_eq!(
                    subscription.outstanding,
                    progress.unacknowledged.len() + progress.reading
                );
                prop_assert!(sent.is_sorted());
                // Nothing that was sent and not acknowledged lies behind the cursor.
                prop_assert!(progress.unacknowledged.iter().all(|cursor| *cursor > saved));
                prop_assert_eq!(progress.acknowledged, saved);
            }
        }
    }
}
