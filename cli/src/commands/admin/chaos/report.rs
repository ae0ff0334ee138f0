//! What a run of chaos found, in words and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use sealpost_cli::ledger::Fault;
use serde_json::{Value, json};

use super::plan::{Disturbance, Kind};
use super::tally::{Figures, Tally};
use crate::duration;

/// Names of faults that are shown to people; JSON has them all.
const SHOWN: usize = 20;

/// The outcome.
pub struct Report {
    seed: u64,
    flowed: Duration,
    settled: Duration,
    disturbances: BTreeMap<Kind, usize>,
    figures: Figures,
    lost: Vec<String>,
    doubled: Vec<String>,
    disordered: Vec<String>,
    strange: Vec<String>,
    unsettled: Vec<String>,
    refused: Vec<String>,
}

impl Report {
    /// `flowed`: how long messages flowed; `settled`: how long the last took to arrive after that.
    pub fn new(
        seed: u64,
        flowed: Duration,
        settled: Duration,
        disturbances: &[Disturbance],
        tally: &Tally,
    ) -> Self {
        let mut report = Self {
            seed,
            flowed,
            settled,
            disturbances: BTreeMap::new(),
            figures: tally.figures(),
            lost: Vec::new(),
            doubled: Vec::new(),
            disordered: Vec::new(),
            strange: Vec::new(),
            unsettled: tally.unsettled(),
            refused: tally.refusals(),
        };
        for one in disturbances {
            *report.disturbances.entry(one.kind).or_default() += 1;
        }
        for fault in tally.faults() {
            let names = match &fault {
                Fault::Lost(..) => &mut report.lost,
                Fault::Doubled(..) => &mut report.doubled,
                Fault::Disordered(..) => &mut report.disordered,
                // Never answered, it may have been accepted all the same.
                Fault::Strange(_, text) if report.unsettled.contains(text) => continue,
                Fault::Strange(..) => &mut report.strange,
            };
            names.push(fault.to_string());
        }
        report
    }

    fn kinds_of_faults(&self) -> [(&'static str, &'static str, &[String]); 6] {
        [
            ("lost", "lost", &self.lost),
            ("doubled", "doubled", &self.doubled),
            ("disordered", "out of order", &self.disordered),
            ("strange", "never sent", &self.strange),
            ("unsettled", "never answered", &self.unsettled),
            ("refused", "refused or failed", &self.refused),
        ]
    }

    /// How many texts have something wrong.
    pub fn faults(&self) -> usize {
        self.kinds_of_faults()
            .iter()
            .map(|(_, _, names)| names.len())
            .sum()
    }

    /// For people.
    pub fn words(&self) -> String {
        let figures = &self.figures;
        let disturbances: Vec<_> = self
            .disturbances
            .iter()
            .map(|(kind, count)| format!("{kind} {count}"))
            .collect();
        let mut words = format!(
            "seed {}: messages flowed for {} and were all there after {:.1} s more\n\
             disturbances: {} ({})\n\
             sent {}, accepted {}, delivered {}; answered {}, replied {}\n\
             longest time without an acceptance: {:.1} s, from {:.0} s on\n",
            self.seed,
            duration::show(self.flowed),
            self.settled.as_secs_f32(),
            self.disturbances.values().sum::<usize>(),
            disturbances.join(", "),
            figures.sent,
            figures.accepted,
            figures.delivered,
            figures.answered,
            figures.replied,
            figures.longest_gap.length.as_secs_f32(),
            figures.longest_gap.begun.as_secs_f32(),
        );
        let counts = self.kinds_of_faults();
        let counts = counts.map(|(_, what, names)| format!("{what} {}", names.len()));
        words.push_str(&counts.join(", "));
        for (_, what, names) in self.kinds_of_faults() {
            for name in names.iter().take(SHOWN) {
                words.push_str(&format!("\n  {what}: {name}"));
            }
        }
        words
    }

    /// For machines.
    pub fn json(&self) -> Value {
        let figures = &self.figures;
        let disturbances: BTreeMap<_, _> = self
            .disturbances
            .iter()
            .map(|(kind, count)| (kind.to_string(), count))
            .collect();
        let mut value = json!({
            "seed": self.seed,
            "flowed_seconds": self.flowed.as_secs_f64(),
            "settled_seconds": self.settled.as_secs_f64(),
            "disturbances": disturbances,
            "sent": figures.sent,
            "accepted": figures.accepted,
            "delivered": figures.delivered,
            "answered": figures.answered,
            "replied": figures.replied,
            "longest_gap_seconds": figures.longest_gap.length.as_secs_f64(),
        });
        for (key, _, names) in self.kinds_of_faults() {
            value[key] = names.into();
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_history_with_faults_counts_and_names_each() {
        let now = Instant::now();
        let tally = Tally::new("chaos-7".to_owned(), "1".to_owned(), now);
        let texts: Vec<_> = (0..5).map(|index| tally.text(index, "2")).collect();
        for text in &texts {
            tally.sends(text);
        }
        for text in &texts[..4] {
            tally.accepted("2", text.clone(), now);
        }
        // The second is lost, the third and the fourth change places, the first comes twice, the fifth without an answer.
        for index in [0, 0, 3, 2, 4] {
            tally.delivered("2", texts[index].clone());
        }
        let second = Duration::from_secs(1);
        let report = Report::new(7, second, second, &[], &tally);
        let value = report.json();
        for kind in ["lost", "doubled", "disordered", "unsettled"] {
            assert_eq!(value[kind].as_array().map(Vec::len), Some(1), "{kind}");
        }
        assert_eq!(value["strange"], json!([]));
        assert_eq!(report.faults(), 4);
        assert!(report.words().contains("lost 1, doubled 1, out of order 1"));
        assert!(report.words().contains("lost: chaos-7 1 to 2"));
    }

    #[test]
    fn a_history_without_faults_has_none() {
        let now = Instant::now();
        let tally = Tally::new("chaos-7".to_owned(), "1".to_owned(), now);
        tally.sends("chaos-7 0 to 2");
        tally.accepted("2", "chaos-7 0 to 2".to_owned(), now);
        tally.delivered("2", "chaos-7 0 to 2".to_owned());
        let second = Duration::from_secs(1);
        assert_eq!(Report::new(7, second, second, &[], &tally).faults(), 0);
    }
}
