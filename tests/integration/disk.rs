//! A disk that is full, and a disk that fails, under each database in turn while texts flow: what cannot be kept is refused or waits,
//! what was accepted arrives, and the service goes on by itself when there is room again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::failpoints::Order;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

const CONSUMERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(120);
/// Of each database's file system, in MiB.
const ROOM: u32 = 48;
/// How long there is no room, and how long each step fails.
const WHILE: Duration = Duration::from_secs(3);

/// Every service with a database that texts pass through.
const KEEPERS: [&str; 4] = ["key-vault", "store", "relay", "connector"];

/// Transactions that fail: before their commit, so that nothing is kept, and after it, so that all is and nobody knows.
const FAILING: [(&str, &str); 16] = [
    ("key-vault", "admit.begun"),
    ("key-vault", "admit.worked"),
    ("key-vault", "admit.committed"),
    ("key-vault", "decrypt.worked"),
    ("key-vault", "decrypt.committed"),
    ("key-vault", "confirm.worked"),
    ("store", "append_outbound.begun"),
    ("store", "append_outbound.worked"),
    ("store", "append_outbound.committed"),
    ("store", "append_inbound.committed"),
    ("store", "advance_status.worked"),
    ("relay", "submit.worked"),
    ("relay", "submit.committed"),
    ("relay", "submit_messages.committed"),
    ("connector", "queue_keep.worked"),
    ("connector", "queue_keep.committed"),
];

async fn boot(failpoints: bool) -> anyhow::Result<Suite> {
    Suite::up(Options {
        consumers: CONSUMERS,
        failpoints,
        ..Options::default()
    })
    .await
}

fn online(suite: &Suite) -> anyhow::Result<Vec<Consumer>> {
    (0..CONSUMERS)
        .map(|index| Consumer::online(suite, index))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_forgets_nothing() -> anyhow::Result<()> {
    let suite = boot(false).await?;
    let mut disks = Vec::new();
    for name in KEEPERS {
        suite.stop(name).await?;
        let Some(disk) = suite.small_disk(name, ROOM)? else {
            progress("NOT TESTED: full disks. Mounting a tmpfs needs root (CAP_SYS_ADMIN)");
            return Ok(());
        };
        disks.push((name, disk));
    }
    for name in KEEPERS {
        suite.start(name).await?;
    }
    let consumers = online(&suite)?;
    let traffic = Traffic::new(&suite, &consumers, "full disk")?;
    let over = AtomicBool::new(false);
    let filling = async {
        for (name, disk) in &disks {
            traffic.until_accepted(traffic.count() + 20).await;
            disk.fill()?;
            let refused = refusal(&suite, name).await?;
            sleep(WHILE).await;
            ensure!(suite.is_running(name)?, "{name} ended on a full disk");
            disk.free()?;
            let freed = Instant::now();
            // Texts both ways again, by itself.
            traffic.until_accepted(traffic.count() + 20).await;
            traffic.caught_up(LATER * 2).await?;
            progress(&format!(
                "{name} had no room: {refused}; all arrived {} ms after there was",
                freed.elapsed().as_millis()
            ));
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        filling
    )?;
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()
}

/// What an app is told while `name` has no room. Nothing may be accepted that vault or store did not keep.
async fn refusal(suite: &Suite, name: &str) -> anyhow::Result<String> {
    let rest = Rest::of(suite)?;
    // To nobody: it must not disturb the order of the others.
    let message = rest::text("15550009999", "while there is no room");
    let begun = Instant::now();
    loop {
        let answer = rest.post(suite.number(0), None, &message).await?;
        if answer.status != 200 {
            ensure!(
                answer.status >= 500,
                "{name}: {} {}",
                answer.status,
                answer.body
            );
            ensure!(!answer.body["error"].is_null(), "{name}: {}", answer.body);
            return Ok(format!(
                "{} {}",
                answer.status, answer.body["error"]["code"]
            ));
        }
        // The relay and the connector's queue come after acceptance. The others' logs may have had a little room left.
        let must_refuse = matches!(name, "key-vault" | "store");
        if begun.elapsed() > WHILE {
            ensure!(!must_refuse, "{name} takes messages without room");
            return Ok("accepted, and waits".to_owned());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_any_step_of_a_transaction_costs_no_text() -> anyhow::Result<()> {
    let suite = boot(true).await?;
    let consumers = online(&suite)?;
    let traffic = Traffic::new(&suite, &consumers, "bad disk")?;
    let over = AtomicBool::new(false);
    let failing = async {
        for (service, point) in FAILING {
            suite.orders().give(service, point, &Order::FailEach)?;
            suite.orders().reached(service, point, LATER).await?;
            sleep(WHILE / 3).await;
            suite.orders().take_back(service, point)?;
            traffic.until_accepted(traffic.count() + 4).await;
            progress(&format!("{service} failed at {point}"));
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        failing
    )?;
    traffic.check(&accepted, LATER).await?;
    // A queue that keeps an event and says that it did not is told of it again, and recognises it.
    ensure!(suite.webhook.repeats() == 0, "webhooks came again");
    suite.check_no_panic()
}
