//! What was sent, accepted and delivered so far, both ways.
//!
//! Owns the counts; knows nothing of how messages travel. Texts of other programs do not count: ours begin with the label.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sealpost_cli::ledger::{Conversation, Fault, Ledger, Way};

/// Shared by everybody who sends or receives.
pub struct Tally {
    label: String,
    number: String,
    begun: Instant,
    counts: Mutex<Counts>,
}

struct Counts {
    sent: usize,
    accepted: Ledger,
    delivered: Ledger,
    unsettled: BTreeSet<String>,
    refused: Vec<String>,
    last_accepted: Instant,
    longest_gap: Gap,
}

/// A stretch in which nothing was accepted from the business.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gap {
    /// How long.
    pub length: Duration,
    /// When it began, from the start.
    pub begun: Duration,
}

/// The figures at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Texts that the business began to send.
    pub sent: usize,
    /// Those that were accepted.
    pub accepted: usize,
    /// Texts that came to consumers.
    pub delivered: usize,
    /// Answers that consumers wrote.
    pub answered: usize,
    /// Answers that came to the business.
    pub replied: usize,
    /// The longest stretch without an acceptance.
    pub longest_gap: Gap,
}

impl Tally {
    /// Nothing was sent yet. `label` begins every text of this run.
    pub fn new(label: String, number: String, now: Instant) -> Self {
        Self {
            label,
            number,
            begun: now,
            counts: Mutex::new(Counts {
                sent: 0,
                accepted: Ledger::default(),
                delivered: Ledger::default(),
                unsettled: BTreeSet::new(),
                refused: Vec::new(),
                last_accepted: now,
                longest_gap: Gap::default(),
            }),
        }
    }

    /// The text at a place of the business's conversation with a consumer.
    pub fn text(&self, index: usize, consumer: &str) -> String {
        format!("{} {index} to {consumer}", self.label)
    }

    /// The consumer's answer to a text of this run; none for anybody else's.
    pub fn answer(&self, text: &str) -> Option<String> {
        self.is_ours(text).then(|| format!("{text} answered"))
    }

    fn is_ours(&self, text: &str) -> bool {
        text.strip_prefix(&self.label)
            .is_some_and(|rest| rest.starts_with(' '))
    }

    /// The business begins to send it.
    pub fn sends(&self, text: &str) {
        let mut counts = self.lock();
        counts.sent += 1;
        counts.unsettled.insert(text.to_owned());
    }

    /// It was accepted.
    pub fn accepted(&self, consumer: &str, text: String, now: Instant) {
        let mut counts = self.lock();
        counts.unsettled.remove(&text);
        let gap = Gap {
            length: now.saturating_duration_since(counts.last_accepted),
            begun: counts.last_accepted.saturating_duration_since(self.begun),
        };
        counts.longest_gap = counts.longest_gap.max(gap);
        counts.last_accepted = now;
        let conversation = self.conversation(Way::Out, consumer);
        counts.accepted.add(conversation, text);
    }

    /// It was refused for good, or failed after it was accepted.
    pub fn refused(&self, text: &str, why: &str) {
        self.lock().refused.push(format!("{text}: {why}"));
    }

    /// A consumer was shown it.
    pub fn delivered(&self, consumer: &str, text: String) {
        self.arrived(Way::Out, consumer, text);
    }

    /// A consumer wrote it, and its device keeps it.
    pub fn answered(&self, consumer: &str, text: String) {
        let conversation = self.conversation(Way::In, consumer);
        self.lock().accepted.add(conversation, text);
    }

    /// The business was shown it.
    pub fn replied(&self, consumer: &str, text: String) {
        self.arrived(Way::In, consumer, text);
    }

    fn arrived(&self, way: Way, consumer: &str, text: String) {
        if self.is_ours(&text) {
            let conversation = self.conversation(way, consumer);
            self.lock().delivered.add(conversation, text);
        }
    }

    /// The figures now.
    pub fn figures(&self) -> Figures {
        let counts = self.lock();
        Figures {
            sent: counts.sent,
            accepted: counts.accepted.count(Way::Out),
            delivered: counts.delivered.count(Way::Out),
            answered: counts.accepted.count(Way::In),
            replied: counts.delivered.count(Way::In),
            longest_gap: counts.longest_gap,
        }
    }

    /// What is wrong as things stand: while messages are on their way, they count as lost.
    pub fn faults(&self) -> Vec<Fault> {
        let counts = self.lock();
        counts.accepted.faults(&counts.delivered)
    }

    /// Whether everything that was accepted has arrived.
    pub fn nothing_is_missing(&self) -> bool {
        let faults = self.faults();
        !faults.iter().any(|fault| matches!(fault, Fault::Lost(..)))
    }

    /// Texts that were sent and neither accepted nor refused.
    pub fn unsettled(&self) -> Vec<String> {
        self.lock().unsettled.iter().cloned().collect()
    }

    /// Texts that were refused or failed, each with the reason.
    pub fn refusals(&self) -> Vec<String> {
        self.lock().refused.clone()
    }

    fn conversation(&self, way: Way, consumer: &str) -> Conversation {
        Conversation {
            way,
            number: self.number.clone(),
            consumer: consumer.to_owned(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(now: Instant) -> Tally {
        Tally::new("chaos-7".to_owned(), "1".to_owned(), now)
    }

    #[test]
    fn both_ways_are_counted_and_texts_of_others_are_not() {
        let now = Instant::now();
        let tally = tally(now);
        let text = tally.text(0, "2");
        tally.sends(&text);
        assert_eq!(tally.unsettled(), [text.as_str()]);
        tally.accepted("2", text.clone(), now + Duration::from_secs(3));
        tally.delivered("2", text.clone());
        tally.delivered("2", "chaos-77 0 to 2".to_owned());
        let answer = tally.answer(&text);
        assert_eq!(tally.answer("good morning"), None);
        let answer = answer.unwrap_or_default();
        tally.answered("2", answer.clone());
        tally.replied("2", answer);
        let figures = tally.figures();
        assert_eq!(
            (figures.sent, figures.accepted, figures.delivered),
            (1, 1, 1)
        );
        assert_eq!((figures.answered, figures.replied), (1, 1));
        assert_eq!(figures.longest_gap.length, Duration::from_secs(3));
        assert_eq!(tally.faults(), []);
        assert!(tally.unsettled().is_empty());
    }

    #[test]
    fn a_lost_a_doubled_and_a_disordered_text_are_each_a_fault() {
        let now = Instant::now();
        let tally = tally(now);
        let texts: Vec<_> = (0..4).map(|index| tally.text(index, "2")).collect();
        for text in &texts {
            tally.accepted("2", text.clone(), now);
        }
        for index in [0, 2, 1, 1] {
            tally.delivered("2", texts[index].clone());
        }
        let conversation = tally.conversation(Way::Out, "2");
        assert_eq!(
            tally.faults(),
            [
                Fault::Disordered(conversation.clone(), texts[1].clone()),
                Fault::Doubled(conversation.clone(), texts[1].clone()),
                Fault::Lost(conversation, texts[3].clone()),
            ]
        );
    }
}
