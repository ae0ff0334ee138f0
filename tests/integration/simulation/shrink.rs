//! A failing conversation with fewer steps: what a person reads first.

use sealpost_tests::progress;

use super::history::{History, smaller};
use super::world::{LANES, World};
use super::{Course, ROUNDS, Shared, go_through};

/// Tries at most so many smaller courses: each takes seconds.
const TRIES: usize = 24;

/// The smallest course found that still breaks a rule, with its trace; the whole one when it does not fail a second time.
pub async fn smallest(
    world: &World,
    course: &Course,
    shared: &Shared,
    why: String,
) -> anyhow::Result<String> {
    progress(&format!(
        "a rule was broken; trying with fewer steps\n{why}"
    ));
    let mut pairs = Pairs::default();
    let mut best = (course.clone(), why);
    let mut tries = 0;
    'smaller: loop {
        for candidate in candidates(&best.0) {
            tries += 1;
            let Some((round, place)) = pairs.next().filter(|_| tries <= TRIES) else {
                break 'smaller;
            };
            let alone = [(place, candidate.clone())];
            let verdicts = go_through(world, round, &alone, shared).await?;
            if let Some(Err(why)) = verdicts.into_iter().next() {
                best = (candidate, why);
                continue 'smaller;
            }
        }
        break;
    }
    let (course, why) = best;
    Ok(format!(
        "{why}\nbefore: {:?}\nclocks jump: {}\nafter: {:?}\nmeanwhile: {:?}, then {:?}",
        course.before, course.jump, course.after, shared.before, shared.after
    ))
}

/// Pairs that no round has used.
#[derive(Default)]
struct Pairs(usize);

impl Iterator for Pairs {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<Self::Item> {
        let (round, place) = (ROUNDS + self.0 / LANES, self.0 % LANES);
        self.0 += 1;
        (round < LANES).then_some((round, place))
    }
}

/// One part without what comes after it or before it, or with fewer steps.
fn candidates(course: &Course) -> Vec<Course> {
    let with = |before: Vec<History>, after: Vec<History>| Course {
        before,
        jump: course.jump,
        after,
    };
    let mut candidates = Vec::new();
    if !course.after.is_empty() {
        candidates.push(with(course.before.clone(), Vec::new()));
    }
    if !course.before.is_empty() {
        candidates.push(with(Vec::new(), course.after.clone()));
    }
    // Steps run on from one history to the next: as one they are cut anywhere.
    let whole = |histories: &[History]| histories.concat();
    for fewer in smaller(&whole(&course.before)) {
        candidates.push(with(vec![fewer], course.after.clone()));
    }
    for fewer in smaller(&whole(&course.after)) {
        candidates.push(with(course.before.clone(), vec![fewer]));
    }
    candidates
}

#[cfg(test)]
mod tests {
    use super::super::history::Step;
    use super::*;

    #[test]
    fn candidates_have_fewer_steps_and_pairs_run_out() {
        let course = Course {
            before: vec![vec![Step::Send, Step::Reply], vec![Step::Leave]],
            jump: true,
            after: vec![vec![Step::Come]],
        };
        let steps = |course: &Course| {
            let all = course.before.iter().chain(&course.after);
            all.map(Vec::len).sum::<usize>()
        };
        let candidates = candidates(&course);
        assert!(!candidates.is_empty());
        for candidate in &candidates {
            assert!(steps(candidate) < steps(&course));
        }
        assert_eq!(Pairs::default().count(), LANES * (LANES - ROUNDS));
    }
}
