//! Whether every message of every conversation came, once and in order.
//!
//! Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What came in one conversation. Sequences begin with 1.
#[derive(Clone, Default)]
struct Conversation {
    /// Everything up to here came.
    through: u32,
    /// What came beyond a gap.
    beyond: BTreeSet<u32>,
}

/// What became of a message that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// For the first time, and after all that came of the conversation before.
    InOrder,
    /// For the first time, but a later one was there already.
    Late,
    /// Once more.
    Again,
    /// Nobody sent it.
    Strange,
}

/// What came, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Different messages.
    pub delivered: u64,
    /// Repeats.
    pub duplicates: u64,
    /// Messages that came after a later one of their conversation.
    pub out_of_order: u64,
    /// Messages of no conversation of this run.
    pub strange: u64,
}

/// Checks one direction of one run.
pub struct Order {
    conversations: Vec<Conversation>,
    counts: Counts,
}

impl Order {
    /// Nothing came yet.
    pub fn new(conversations: usize) -> Self {
        Self {
            conversations: vec![Conversation::default(); conversations],
            counts: Counts::default(),
        }
    }

    /// A message came.
    pub fn came(&mut self, conversation: u32, sequence: u32) -> Came {
        let came = match self.conversations.get_mut(conversation as usize) {
            Some(conversation) if sequence > 0 => conversation.came(sequence),
            _ => Came::Strange,
        };
        match came {
            Came::InOrder => self.counts.delivered += 1,
            Came::Late => {
                self.counts.delivered += 1;
                self.counts.out_of_order += 1;
            }
            Came::Again => self.counts.duplicates += 1,
            Came::Strange => self.counts.strange += 1,
        }
        came
    }

    /// What came so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }
}

impl Conversation {
    fn came(&mut self, sequence: u32) -> Came {
        if sequence <= self.through || self.beyond.contains(&sequence) {
            return Came::Again;
        }
        let is_late = self.beyond.last().is_some_and(|last| *last > sequence);
        self.beyond.insert(sequence);
        while self.beyond.remove(&(self.through + 1)) {
            self.through += 1;
        }
        if is_late { Came::Late } else { Came::InOrder }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_once_and_in_order_is_what_should_be() {
        let mut order = Order::new(2);
        for sequence in 1..=3 {
            assert_eq!(order.came(0, sequence), Came::InOrder);
            assert_eq!(order.came(1, sequence), Came::InOrder);
        }
        let expected = Counts {
            delivered: 6,
            ..Counts::default()
        };
        assert_eq!(order.counts(), expected);
    }

    #[test]
    fn a_late_one_is_counted_once_and_a_repeat_is_told_from_it() {
        let mut order = Order::new(1);
        let came = [1, 3, 2, 3, 2, 1, 4].map(|sequence| order.came(0, sequence));
        use Came::{Again, InOrder, Late};
        assert_eq!(came, [InOrder, InOrder, Late, Again, Again, Again, InOrder]);
        let expected = Counts {
            delivered: 4,
            duplicates: 3,
            out_of_order: 1,
            strange: 0,
        };
        assert_eq!(order.counts(), expected);
    }

    #[test]
    fn a_gap_is_neither_late_nor_a_repeat_but_missing_in_the_count() {
        let mut order = Order::new(1);
        assert_eq!(order.came(0, 2), Came::InOrder);
        assert_eq!(order.counts().delivered, 1);
    }

    #[test]
    fn what_nobody_sent_is_strange() {
        let mut order = Order::new(1);
        assert_eq!(order.came(1, 1), Came::Strange);
        assert_eq!(order.came(0, 0), Came::Strange);
        assert_eq!(order.counts().strange, 2);
    }
}
