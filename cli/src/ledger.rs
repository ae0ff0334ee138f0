//! What was said and what arrived, and whether the one is the other: each text once, in order, nothing else.
//!
//! Pure. A conversation here is one direction between one number and one consumer. `sealpost admin chaos` and the tests count
//! by the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// From the business.
    Out,
    /// To the business.
    In,
}

/// One direction of one conversation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conversation {
    /// Which way.
    pub way: Way,
    /// The business's number.
    pub number: String,
    /// The consumer, E.164 digits.
    pub consumer: String,
}

/// Texts by conversation, in order. Texts are unique within one.
#[derive(Clone, Debug, Default)]
pub struct Ledger(BTreeMap<Conversation, Vec<String>>);

/// What is wrong with one text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Accepted, never delivered.
    Lost(Conversation, String),
    /// Delivered more than once.
    Doubled(Conversation, String),
    /// Delivered, never accepted.
    Strange(Conversation, String),
    /// Delivered after a text that was accepted later.
    Disordered(Conversation, String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, conversation, text) = match self {
            Self::Lost(conversation, text) => ("lost", conversation, text),
            Self::Doubled(conversation, text) => ("doubled", conversation, text),
            Self::Strange(conversation, text) => ("never sent", conversation, text),
            Self::Disordered(conversation, text) => ("out of order", conversation, text),
        };
        write!(
            f,
            "{what}: {text} ({:?}, consumer {})",
            conversation.way, conversation.consumer
        )
    }
}

impl Ledger {
    /// Adds a text to the end of a conversation.
    pub fn add(&mut self, conversation: Conversation, text: String) {
        self.0.entry(conversation).or_default().push(text);
    }

    /// How many texts there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    /// How many of them go that way.
    #[must_use]
    pub fn count(&self, way: Way) -> usize {
        let of_way = self
            .0
            .iter()
            .filter(|(conversation, _)| conversation.way == way);
        of_way.map(|(_, texts)| texts.len()).sum()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every conversation.
    pub fn conversations(&self) -> impl Iterator<Item = &Conversation> {
        self.0.keys()
    }

    /// What is wrong with `delivered`, when this is what was accepted.
    #[must_use]
    pub fn faults(&self, delivered: &Self) -> Vec<Fault> {
        let all: BTreeSet<_> = self.0.keys().chain(delivered.0.keys()).collect();
        let none = Vec::new();
        let mut faults = Vec::new();
        for conversation in all {
            let sent = self.0.get(conversation).unwrap_or(&none);
            let arrived = delivered.0.get(conversation).unwrap_or(&none);
            faults.extend(compare(conversation, sent, arrived));
        }
        faults
    }
}

fn compare(conversation: &Conversation, sent: &[String], arrived: &[String]) -> Vec<Fault> {
    let places: BTreeMap<_, _> = sent
        .iter()
        .enumerate()
        .map(|(place, text)| (text, place))
        .collect();
    let mut faults = Vec::new();
    let mut seen = BTreeSet::new();
    let mut furthest = None;
    for text in arrived {
        let Some(place) = places.get(text) else {
            faults.push(Fault::Strange(conversation.clone(), text.clone()));
            continue;
        };
        if !seen.insert(text) {
            faults.push(Fault::Doubled(conversation.clone(), text.clone()));
        } else if furthest.is_some_and(|furthest| furthest > place) {
            faults.push(Fault::Disordered(conversation.clone(), text.clone()));
        }
        furthest = furthest.max(Some(place));
    }
    for text in sent.iter().filter(|text| !seen.contains(text)) {
        faults.push(Fault::Lost(conversation.clone(), text.clone()));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation() -> Conversation {
        Conversation {
            way: Way::Out,
            number: "1".to_owned(),
            consumer: "2".to_owned(),
        }
    }

    fn ledger(texts: &[&str]) -> Ledger {
        let mut ledger = Ledger::default();
        for text in texts {
            ledger.add(conversation(), (*text).to_owned());
        }
        ledger
    }

    fn faults(sent: &[&str], arrived: &[&str]) -> Vec<Fault> {
        ledger(sent).faults(&ledger(arrived))
    }

    #[test]
    fn what_arrives_as_it_was_sent_has_no_fault() {
        assert_eq!(faults(&["a", "b", "c"], &["a", "b", "c"]), []);
    }

    #[test]
    fn every_kind_of_fault_is_seen() {
        let named = |text: &str| (conversation(), text.to_owned());
        let (c, b) = named("b");
        assert_eq!(
            faults(&["a", "b"], &["a"]),
            [Fault::Lost(c.clone(), b.clone())]
        );
        assert_eq!(
            faults(&["a"], &["a", "b"]),
            [Fault::Strange(c.clone(), b.clone())]
        );
        assert_eq!(
            faults(&["a", "b"], &["a", "b", "b"]),
            [Fault::Doubled(c.clone(), b.clone())]
        );
        assert_eq!(
            faults(&["a", "b", "c"], &["a", "c", "b"]),
            [Fault::Disordered(c.clone(), b.clone())]
        );
        assert_eq!(faults(&[], &["b"]), [Fault::Strange(c, b)]);
    }
}
