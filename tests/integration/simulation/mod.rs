//! Thousands of random histories of conversations on one suite, while services are killed, connections cut and clocks moved,
//! against a written model of what must be observable.
//!
//! A round pairs each number with a consumer that it never talked to; each pair goes through a few histories, clocks jump in
//! some rounds, and it goes through a few more. At the end both ends are there, everything has settled, and the model has judged
//! each entry of the trace. A failing conversation is tried again with fewer steps before it is shown.

mod checker;
mod device;
mod history;
mod lane;
mod log;
mod model;
mod program;
mod proxy;
mod shrink;
mod trace;
mod words;
mod world;

use std::time::Instant;

use futures::future::{join_all, try_join_all};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sealpost_tests::progress;

use self::history::{History, history};
use self::lane::Lane;
use self::world::{Fault, JUMP, LANES, World, faults};

/// The whole run again.
const SEED: &str = "SEALPOST_TESTS_SEED";
/// How many histories; a round is always gone through to its end.
const HISTORIES: &str = "SEALPOST_TESTS_HISTORIES";
/// Of each pair before the clocks jump, and after.
const EACH: usize = 4;
/// Rounds that can be: each needs a pairing of its own, and some are left for making a failure smaller.
const ROUNDS: usize = LANES - 4;

/// What a pair goes through, and what befalls the suite meanwhile.
#[derive(Clone)]
struct Course {
    before: Vec<History>,
    jump: bool,
    after: Vec<History>,
}

/// What all pairs of a round share.
struct Shared {
    before: Vec<(u64, Fault)>,
    jump: bool,
    after: Vec<(u64, Fault)>,
}

#[tokio::test(flavor = "multi_thread")]
async fn random_histories_show_nothing_but_what_the_model_allows() -> anyhow::Result<()> {
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse()?,
        Err(_) => sealpost_tests::business::now().0,
    };
    let wanted = match std::env::var(HISTORIES) {
        Ok(count) => count.parse()?,
        Err(_) => 2_000_usize,
    };
    progress(&format!("{SEED}={seed} makes these histories again"));
    let world = World::boot().await?;
    let begun = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut done = 0;
    for round in 0..ROUNDS {
        if done >= wanted {
            break;
        }
        let shared = Shared {
            before: faults(rng.random()),
            jump: rng.random_ratio(1, 3),
            after: faults(rng.random()),
        };
        progress(&format!(
            "round {round}: {:?}, clocks jump: {}, {:?}",
            shared.before, shared.jump, shared.after
        ));
        let courses: Vec<_> = (0..LANES)
            .map(|consumer| (consumer, Course::random(&mut rng, shared.jump)))
            .collect();
        let verdicts = go_through(&world, round, &courses, &shared).await?;
        for (lane, verdict) in verdicts.into_iter().enumerate() {
            if let Err(why) = verdict {
                let smallest = shrink::smallest(&world, &courses[lane].1, &shared, why).await?;
                anyhow::bail!("{SEED}={seed}, round {round}, conversation {lane}: {smallest}");
            }
        }
        done += courses
            .iter()
            .map(|(_, course)| course.histories())
            .sum::<usize>();
        let seconds = begun.elapsed().as_secs_f32();
        progress(&format!(
            "round {round}: {done} histories after {seconds:.0} s"
        ));
    }
    anyhow::ensure!(
        done >= wanted,
        "{SEED}={seed}: {ROUNDS} rounds are {done} histories"
    );
    world.suite.check_no_panic()
}

impl Course {
    fn random(rng: &mut StdRng, jump: bool) -> Self {
        let mut histories = || (0..EACH).map(|_| history(rng.random())).collect();
        Self {
            before: histories(),
            jump,
            after: histories(),
        }
    }

    fn histories(&self) -> usize {
        self.before.len() + self.after.len()
    }
}

/// Lets pairs of a round, named by the consumer's place, go through their courses. Answers for each which rule was broken, if one was.
async fn go_through(
    world: &World,
    round: usize,
    courses: &[(usize, Course)],
    shared: &Shared,
) -> anyhow::Result<Vec<Result<(), String>>> {
    let open = courses.iter().map(|(consumer, _)| {
        let number = (consumer + round) % LANES;
        Lane::open(
            &world.suite,
            &world.client,
            number,
            world.place(*consumer),
            World::retention(number),
            format!("{round}.{consumer}"),
        )
    });
    let mut lanes = try_join_all(open).await?;

    let before = courses.iter().map(|(_, course)| &course.before);
    tokio::try_join!(run(&mut lanes, before), world.befall(&shared.before))?;
    join_all(lanes.iter().map(Lane::settle)).await;
    if shared.jump {
        world.jump().await?;
        try_join_all(lanes.iter_mut().map(|lane| lane.advanced(JUMP))).await?;
    }
    let after = courses.iter().map(|(_, course)| &course.after);
    tokio::try_join!(run(&mut lanes, after), world.befall(&shared.after))?;
    try_join_all(lanes.into_iter().map(Lane::close)).await
}

async fn run<'a>(
    lanes: &mut [Lane<'_>],
    courses: impl Iterator<Item = &'a Vec<History>>,
) -> anyhow::Result<()> {
    let running = lanes
        .iter_mut()
        .zip(courses)
        .map(async |(lane, histories)| {
            for history in histories {
                lane.run(history).await?;
            }
            anyhow::Ok(())
        });
    try_join_all(running).await.map(drop)
}
