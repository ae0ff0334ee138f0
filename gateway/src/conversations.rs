//! Queues that keep each conversation's order: one item of a conversation is under way at a time, the others wait.
//!
//! Pure bookkeeping, used both ways (outbound by the vault's sequence, inbound by the relay's queue id). It knows nothing of
//! what an item is, and does not bound itself: whoever adds holds a place first.
//!
//! Invariants: an item that is known is not taken a second time; turns of one conversation come by ascending place among
//! those that wait; a conversation with nothing left is forgotten.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    hash::Hash,
};

/// All conversations with something left to do. `K` names a conversation, `I` an item.
#[derive(Debug)]
pub struct Conversations<K, I, T> {
    open: HashMap<K, Conversation<I, T>>,
    known: HashSet<I>,
    recalls: u32,
    /// Items that ended while a recall was under way: its list may still name them.
    ended: HashSet<I>,
}

#[derive(Debug)]
struct Conversation<I, T> {
    /// By place, then by arrival.
    waiting: BTreeMap<(u64, u64), (I, T)>,
    arrivals: u64,
}

/// The right, and the duty, to carry one item to its end; give it back with [`Conversations::finish`].
#[derive(Debug)]
pub struct Turn<K, I, T> {
    /// The conversation.
    pub key: K,
    /// The item's name.
    pub id: I,
    /// The item.
    pub item: T,
}

/// What became of an item that was added.
#[derive(Debug)]
pub enum Added<K, I, T> {
    /// Nothing else of its conversation is under way: start it.
    Starts(Turn<K, I, T>),
    /// It gets its turn later.
    Waits,
    /// It is here already, or ended during the recall that named it.
    Known,
}

impl<K, I, T> Default for Conversations<K, I, T> {
    fn default() -> Self {
        Self {
            open: HashMap::new(),
            known: HashSet::new(),
            recalls: 0,
            ended: HashSet::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, I: Clone + Eq + Hash, T> Conversations<K, I, T> {
    /// Adds an item at its place in its conversation.
    pub fn add(&mut self, key: K, id: I, place: u64, item: T) -> Added<K, I, T> {
        if self.is_known(&id) || !self.known.insert(id.clone()) {
            return Added::Known;
        }
        match self.open.get_mut(&key) {
            Some(conversation) => {
                conversation.arrivals += 1;
                conversation
                    .waiting
                    .insert((place, conversation.arrivals), (id, item));
                Added::Waits
            }
            None => {
                let empty = Conversation {
                    waiting: BTreeMap::new(),
                    arrivals: 0,
                };
                self.open.insert(key.clone(), empty);
                Added::Starts(Turn { key, id, item })
            }
        }
    }

    /// The item under way came to its end: the next one, if any.
    pub fn finish(&mut self, key: &K, id: &I) -> Option<Turn<K, I, T>> {
        self.known.remove(id);
        if self.recalls > 0 {
            self.ended.insert(id.clone());
        }
        let conversation = self.open.get_mut(key)?;
        let Some((_, (id, item))) = conversation.waiting.pop_first() else {
            self.open.remove(key);
            return None;
        };
        Some(Turn {
            key: key.clone(),
            id,
            item,
        })
    }

    /// A list of items is about to be read somewhere else: until [`Self::end_recall`] what ends here stays known, since the
    /// list may be older than the end.
    pub fn begin_recall(&mut self) {
        self.recalls += 1;
    }

    /// The list was added.
    pub fn end_recall(&mut self) {
        self.recalls = self.recalls.saturating_sub(1);
        if self.recalls == 0 {
            self.ended.clear();
        }
    }

    /// Whether an item is here, or ended during the present recall.
    #[must_use]
    pub fn is_known(&self, id: &I) -> bool {
        self.known.contains(id) || self.ended.contains(id)
    }

    /// Items waiting or under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nothing is left to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    type Queues = Conversations<&'static str, u32, ()>;

    fn add(queues: &mut Queues, key: &'static str, id: u32) -> Added<&'static str, u32, ()> {
        queues.add(key, id, u64::from(id), ())
    }

    #[test]
    fn a_second_item_of_a_conversation_waits_for_the_first() {
        let mut queues = Queues::default();
        assert!(matches!(add(&mut queues, "a", 1), Added::Starts(turn) if turn.id == 1));
        assert!(matches!(add(&mut queues, "a", 2), Added::Waits));
        assert!(matches!(add(&mut queues, "b", 3), Added::Starts(_)));
        assert_eq!(queues.finish(&"a", &1).unwrap().id, 2);
        assert!(queues.finish(&"a", &2).is_none());
        assert!(queues.finish(&"b", &3).is_none());
        assert!(queues.is_empty() && queues.open.is_empty());
    }

    #[test]
    fn a_recovered_item_takes_its_place_before_later_ones() {
        let mut queues = Queues::default();
        let _ = add(&mut queues, "a", 1);
        let _ = add(&mut queues, "a", 5);
        let _ = add(&mut queues, "a", 3);
        assert_eq!(queues.finish(&"a", &1).unwrap().id, 3);
        assert_eq!(queues.finish(&"a", &3).unwrap().id, 5);
    }

    #[test]
    fn a_known_item_is_not_taken_twice() {
        let mut queues = Queues::default();
        let _ = add(&mut queues, "a", 1);
        let _ = add(&mut queues, "a", 2);
        assert!(matches!(add(&mut queues, "a", 1), Added::Known));
        assert!(matches!(add(&mut queues, "a", 2), Added::Known));
        assert_eq!(queues.len(), 2);
    }

    #[test]
    fn what_ends_during_a_recall_is_not_taken_from_its_list() {
        let mut queues = Queues::default();
        let _ = add(&mut queues, "a", 1);
        queues.begin_recall();
        assert!(queues.finish(&"a", &1).is_none());
        assert!(matches!(add(&mut queues, "a", 1), Added::Known));
        queues.end_recall();
        assert!(matches!(add(&mut queues, "a", 1), Added::Starts(_)));
    }
}

#[cfg(test)]
#[path = "conversations_law.rs"]
mod law;
