//! `kill -9` of one service while 1,000 texts flow both ways between a number and four consumers: every text that was accepted
//! arrives once and in order.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::program::Program;
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

const CONSUMERS: usize = 4;
/// For each consumer and direction.
const EACH: usize = 125;

async fn boot() -> anyhow::Result<(Suite, Vec<Consumer>)> {
    let suite = Suite::up(Options {
        consumers: CONSUMERS,
        ..Options::default()
    })
    .await?;
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        consumers.push(Consumer::online(&suite, index)?);
    }
    Ok((suite, consumers))
}

/// Kills `names`, one after the other, while `traffic` flows: each early, when sessions are young, and each in the middle.
async fn survives(suite: &Suite, traffic: &Traffic<'_>, names: &[&str]) -> anyhow::Result<()> {
    let crash = async {
        for (round, accepted) in [60, 450].into_iter().enumerate() {
            for (place, name) in names.iter().enumerate() {
                // One after the other, while there is still something to disturb.
                traffic
                    .until_accepted(accepted + place * (60 + 20 * round))
                    .await;
                suite.kill9(name).await?;
                sleep(Duration::from_millis(700)).await;
                suite.start(name).await?;
            }
        }
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(traffic.send(EACH, Duration::from_millis(10)), crash)?;
    assert_eq!(accepted.len(), 2 * CONSUMERS * EACH);
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()
}

async fn app_survives(name: &str) -> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    survives(&suite, &Traffic::new(&suite, &consumers, "crash")?, &[name]).await?;
    // A webhook that was answered but not yet noted as such is posted again: at most those in flight at each crash.
    let repeats = suite.webhook.repeats();
    progress(&format!(
        "{name} was killed twice; {repeats} webhooks came again"
    ));
    assert!(
        repeats == 0 || name == "connector" && repeats <= 64,
        "{repeats} webhooks came again"
    );
    Ok(())
}

macro_rules! crashes {
    ($($test:ident: $name:literal,)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            app_survives($name).await
        }
    )*};
}

crashes! {
    killing_the_directory_loses_doubles_and_misorders_nothing: "directory",
    killing_the_key_vault_loses_doubles_and_misorders_nothing: "key-vault",
    killing_the_store_loses_doubles_and_misorders_nothing: "store",
    killing_the_relay_loses_doubles_and_misorders_nothing: "relay",
    killing_retention_loses_doubles_and_misorders_nothing: "retention",
    killing_the_gateway_loses_doubles_and_misorders_nothing: "gateway",
    killing_the_connector_loses_doubles_and_misorders_nothing: "connector",
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_over_grpc_survives_the_crash_of_every_service_in_turn() -> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    let program = Program::start(&suite, "crash")?;
    let traffic = Traffic::of_program(&suite, &program, &consumers, "crash");
    survives(
        &suite,
        &traffic,
        &["directory", "key-vault", "store", "relay", "gateway"],
    )
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_of_all_services_at_once_loses_doubles_and_misorders_nothing() -> anyhow::Result<()>
{
    let (suite, consumers) = boot().await?;
    let traffic = Traffic::new(&suite, &consumers, "power cut")?;
    let crash = async {
        for accepted in [100, 500] {
            traffic.until_accepted(accepted).await;
            for name in SERVICES {
                suite.kill9(name).await?;
            }
            for name in SERVICES {
                suite.start(name).await?;
            }
        }
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(traffic.send(EACH, Duration::from_millis(10)), crash)?;
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()
}

/// Which services crash together, and for how long they are away: as the seed says.
#[tokio::test(flavor = "multi_thread")]
async fn a_random_history_of_crashes_loses_doubles_and_misorders_nothing() -> anyhow::Result<()> {
    const SEED: &str = "SEALPOST_TESTS_SEED";
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse()?,
        Err(_) => sealpost_tests::business::now().0,
    };
    progress(&format!("{SEED}={seed} makes this history again"));
    let mut rng = StdRng::seed_from_u64(seed);
    let (suite, consumers) = boot().await?;
    let traffic = Traffic::new(&suite, &consumers, "history")?;
    let crash = async {
        for _ in 0..12 {
            let mut names = SERVICES;
            names.shuffle(&mut rng);
            let together = &names[..rng.random_range(1..=3)];
            let (running, away) = (rng.random_range(50..700), rng.random_range(0..700));
            sleep(Duration::from_millis(running)).await;
            for name in together {
                suite.kill9(name).await?;
            }
            sleep(Duration::from_millis(away)).await;
            // The ones that others call come first: a start waits until the service serves.
            for name in SERVICES.iter().filter(|name| together.contains(name)) {
                suite.start(name).await?;
            }
        }
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(traffic.send(2 * EACH, Duration::ZERO), crash)?;
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()
}
