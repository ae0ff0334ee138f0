//! Random histories: what happens, in order, in one conversation of a number and a consumer.
//!
//! Pure: a seed makes a history. Steps name earlier messages by their place, counted back, and do nothing when there is none:
//! so a history stays one when steps are taken out, which is how a failing one is made smaller.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The business sends a text under a new idempotency key.
    Send,
    /// It sends a reaction to the consumer's message so far back.
    React(usize),
    /// It sends the message so far back again: same key, same content.
    Repeat(usize),
    /// It sends something else under the key of the message so far back.
    Misuse(usize),
    /// It asks how far the message so far back is.
    Ask(usize),
    /// The consumer writes.
    Reply,
    /// The consumer reacts to the business's message so far back.
    ReactBack(usize),
    /// The consumer reads the message so far back.
    Read(usize),
    /// The consumer's device goes offline in order.
    Leave,
    /// It ends without another word: what it was shown, it did not confirm.
    Crash,
    /// It comes back from its state.
    Come,
    /// The business's program acknowledges nothing any more.
    Hold,
    /// It ends, and begins again where it last acknowledged.
    Reconnect,
    /// The person is erased.
    Erase,
    /// Long enough passes for everything to arrive.
    Settle,
}

/// Steps in order.
pub type History = Vec<Step>;

/// The history of that seed: a handful of steps. It leaves the consumer and the program as they are.
pub fn history(seed: u64) -> History {
    let mut rng = StdRng::seed_from_u64(seed);
    let length = rng.random_range(3..=9);
    let mut steps: History = (0..length).map(|_| step(&mut rng)).collect();
    // Some begin with a person who is away, some end a life.
    if rng.random_ratio(1, 8) {
        steps.insert(0, Step::Leave);
    }
    if rng.random_ratio(1, 16) {
        steps.push(Step::Erase);
    }
    steps
}

fn step(rng: &mut StdRng) -> Step {
    let back = rng.random_range(0..4);
    match rng.random_range(0..32) {
        0..=8 => Step::Send,
        9 => Step::React(back),
        10..=11 => Step::Repeat(back),
        12 => Step::Misuse(back),
        13 => Step::Ask(back),
        14..=20 => Step::Reply,
        21 => Step::ReactBack(back),
        22..=23 => Step::Read(back),
        24 => Step::Leave,
        25 => Step::Crash,
        26..=27 => Step::Come,
        28 => Step::Hold,
        29 => Step::Reconnect,
        _ => Step::Settle,
    }
}

/// Smaller histories to try in place of one that fails: the halves first, then each step taken out.
pub fn smaller(history: &[Step]) -> Vec<History> {
    let mut candidates = Vec::new();
    let half = history.len() / 2;
    if half > 0 {
        candidates.push(history[..half].to_vec());
        candidates.push(history[half..].to_vec());
    }
    for left_out in (0..history.len()).rev() {
        let mut candidate = history.to_vec();
        candidate.remove(left_out);
        candidates.push(candidate);
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_its_history_again() {
        assert_eq!(history(5), history(5));
        assert_ne!(history(5), history(6));
    }

    #[test]
    fn every_step_occurs_in_a_thousand_histories() {
        let all: Vec<_> = (0..1000).flat_map(history).collect();
        for wanted in [
            Step::Send,
            Step::React(0),
            Step::Repeat(0),
            Step::Misuse(0),
            Step::Ask(0),
            Step::Reply,
            Step::ReactBack(0),
            Step::Read(0),
            Step::Leave,
            Step::Crash,
            Step::Come,
            Step::Hold,
            Step::Reconnect,
            Step::Erase,
            Step::Settle,
        ] {
            assert!(all.contains(&wanted), "{wanted:?}");
        }
    }

    #[test]
    fn smaller_histories_are_smaller_and_leave_no_step_untried() {
        let whole = vec![Step::Send, Step::Reply, Step::Settle];
        let candidates = smaller(&whole);
        assert!(candidates.iter().all(|one| one.len() < whole.len()));
        for place in 0..whole.len() {
            let mut without = whole.clone();
            without.remove(place);
            assert!(candidates.contains(&without));
        }
        assert!(smaller(&[Step::Send]).iter().all(Vec::is_empty));
    }
}
