//! `kill -9` at every named point: each process, and pairs of them at one moment, dies where a message, a status, a cursor or a key
//! is half done, while texts flow both ways. Nothing is lost, doubled or out of order, and each point was really reached.

mod consumer;
mod ordinary;
mod retention;
mod unknown;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::failpoints::Order;
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

const CONSUMERS: usize = 3;
/// Between two texts of a conversation.
const PAUSE: Duration = Duration::from_millis(60);
/// What traffic alone does not reach in this time is reached when the gateway starts anew and recovers what it finds.
const BY_ITSELF: Duration = Duration::from_millis(1500);

/// A process dies at a point, and others with it.
type Death = (&'static str, &'static str, &'static [&'static str]);

async fn survives(deaths: &[Death]) -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        consumers: CONSUMERS,
        failpoints: true,
        ..Options::default()
    })
    .await?;
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        consumers.push(Consumer::online(&suite, index)?);
    }
    let traffic = Traffic::new(&suite, &consumers, "failpoints")?;
    let over = AtomicBool::new(false);
    let dying = async {
        for (turn, death) in deaths.iter().enumerate() {
            // Not always the first time: the first batch after a start is not like the others.
            let nth = 1 + u32::try_from(turn % 3)?;
            die(&suite, death, nth).await?;
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        dying
    )?;
    traffic.check(&accepted, LATER).await?;
    suite.check_no_panic()?;
    let repeats = suite.webhook.repeats();
    progress(&format!(
        "{} deaths in {} texts; {repeats} webhooks came again",
        deaths.len(),
        accepted.len()
    ));
    // Only a connector that died with an answered webhook not yet noted posts again.
    let connector_died = deaths
        .iter()
        .any(|(service, _, others)| *service == "connector" || others.contains(&"connector"));
    ensure!(repeats == 0 || connector_died && repeats <= 32 * deaths.len());
    Ok(())
}

/// Orders one death, waits for it, and starts who died.
async fn die(suite: &Suite, death: &Death, nth: u32) -> anyhow::Result<()> {
    let (service, point, others) = death;
    let begun = Instant::now();
    order(suite, death, nth)?;
    let dead: Vec<_> = SERVICES
        .into_iter()
        .filter(|name| name == service || others.contains(name))
        .collect();
    let (gateway, rest): (Vec<_>, Vec<_>) = dead.into_iter().partition(|name| *name == "gateway");
    // A gateway that starts waits for the others, and whoever provokes waits for the gateway.
    let provoked = provoke(suite, death, begun);
    tokio::try_join!(provoked, rise(suite, death, &rest))?;
    rise(suite, death, &gateway).await?;
    let took = begun.elapsed().as_millis();
    progress(&format!(
        "{service} died at {point}, {others:?} with it ({took} ms)"
    ));
    Ok(())
}

fn order(suite: &Suite, (service, point, others): &Death, nth: u32) -> anyhow::Result<()> {
    let run = suite.run_file()?;
    let mut pids = Vec::new();
    for other in *others {
        pids.push(run.service(other)?.pid.context("it runs")?);
    }
    suite.orders().give(service, point, &Order::Kill(nth, pids))
}

/// Waits until the point is reached; when that takes long, a new gateway recovers what it finds, and with it comes by everywhere.
async fn provoke(suite: &Suite, death: &Death, begun: Instant) -> anyhow::Result<()> {
    let (service, point, others) = death;
    let dies = *service == "gateway" || others.contains(&"gateway");
    let reached = || suite.orders().is_reached(service, point);
    let mut next = begun + BY_ITSELF;
    while !reached() {
        ensure!(begun.elapsed() < LATER, "{service} never came to {point}");
        if Instant::now() > next {
            let killed = suite.kill9("gateway").await;
            // It may have come there in this very moment: then it is dead already, and others start it.
            if dies && reached() {
                break;
            }
            killed?;
            let started = suite.start("gateway").await;
            if !reached() {
                started?;
                order(suite, death, 1)?;
            }
            next = Instant::now() + BY_ITSELF;
        }
        sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// Starts these, once they are dead.
async fn rise(suite: &Suite, (service, point, _): &Death, dead: &[&str]) -> anyhow::Result<()> {
    for name in dead {
        suite.orders().reached(service, point, LATER).await?;
        let reached = Instant::now();
        while suite.is_running(name)? {
            ensure!(reached.elapsed() < LATER, "{name} lives on after {point}");
            sleep(Duration::from_millis(5)).await;
        }
        suite.start(name).await?;
    }
    Ok(())
}

macro_rules! deaths {
    ($($test:ident: $deaths:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            survives(&$deaths).await
        }
    )*};
}

deaths! {
    the_vault_may_die_at_every_point_of_a_batch: [
        ("key-vault", "admit.begun", &[]),
        ("key-vault", "admit.loaded", &[]),
        ("key-vault", "admit.worked", &[]),
        ("key-vault", "admit.committed", &[]),
        ("key-vault", "encrypt.loaded", &[]),
        ("key-vault", "encrypt.worked", &[]),
        ("key-vault", "encrypt.committed", &[]),
        ("key-vault", "decrypt.begun", &[]),
        ("key-vault", "decrypt.loaded", &[]),
        ("key-vault", "decrypt.worked", &[]),
        ("key-vault", "decrypt.committed", &[]),
        ("key-vault", "confirm.begun", &[]),
        ("key-vault", "confirm.worked", &[]),
        ("key-vault", "confirm.committed", &[]),
        ("key-vault", "file.written", &[]),
        ("key-vault", "file.synced", &[]),
        ("key-vault", "file.replaced", &[]),
    ];
    the_store_may_die_around_every_commit: [
        ("store", "append_outbound.worked", &[]),
        ("store", "append_outbound.committed", &[]),
        ("store", "append_inbound.worked", &[]),
        ("store", "append_inbound.committed", &[]),
        ("store", "advance_status.worked", &[]),
        ("store", "advance_status.committed", &[]),
        ("store", "lease_dispatch.worked", &[]),
        ("store", "lease_dispatch.committed", &[]),
        ("store", "advance_cursor.worked", &[]),
        ("store", "advance_cursor.committed", &[]),
    ];
    the_gateway_may_die_between_any_two_steps: [
        ("gateway", "lane.admit.sending", &[]),
        ("gateway", "lane.admit.answered", &[]),
        ("gateway", "lane.append_outbound.sending", &[]),
        ("gateway", "lane.append_outbound.answered", &[]),
        ("gateway", "send.answered", &[]),
        ("gateway", "lane.submit.sending", &[]),
        ("gateway", "lane.submit.answered", &[]),
        ("gateway", "lane.encrypt.answered", &[]),
        ("gateway", "lane.advance_status.answered", &[]),
        ("gateway", "lane.decrypt.answered", &[]),
        ("gateway", "lane.append_inbound.sending", &[]),
        ("gateway", "lane.append_inbound.answered", &[]),
        ("gateway", "collect.acknowledged", &[]),
        ("gateway", "lane.confirm.sending", &[]),
        ("gateway", "inbound.confirmed", &[]),
        ("gateway", "events.sent", &[]),
    ];
    the_relay_may_die_around_every_commit: [
        ("relay", "submit.worked", &[]),
        ("relay", "submit.committed", &[]),
        ("relay", "receive_acknowledge.worked", &[]),
        ("relay", "receive_acknowledge.committed", &[]),
        ("relay", "submit_messages.worked", &[]),
        ("relay", "submit_messages.committed", &[]),
        ("relay", "collect_acknowledge.worked", &[]),
        ("relay", "collect_acknowledge.committed", &[]),
    ];
    the_connector_may_die_around_queue_webhook_and_cursor: [
        ("connector", "lane.connector_send.sending", &[]),
        ("connector", "lane.connector_send.answered", &[]),
        ("connector", "queue_keep.worked", &[]),
        ("connector", "queue_keep.committed", &[]),
        ("connector", "events.acknowledged", &[]),
        ("connector", "webhook.posted", &[]),
        ("connector", "queue_settle.worked", &[]),
        ("connector", "queue_settle.committed", &[]),
    ];
    two_may_die_in_one_message: [
        ("key-vault", "admit.committed", &["store"]),
        ("key-vault", "decrypt.committed", &["store"]),
        ("store", "append_outbound.committed", &["key-vault"]),
        ("store", "append_inbound.committed", &["key-vault"]),
        ("key-vault", "admit.committed", &["gateway"]),
        ("key-vault", "decrypt.committed", &["gateway"]),
        ("key-vault", "confirm.worked", &["gateway"]),
        ("gateway", "lane.encrypt.answered", &["key-vault"]),
        ("store", "append_outbound.committed", &["gateway"]),
        ("store", "append_inbound.worked", &["gateway"]),
        ("store", "advance_status.committed", &["gateway"]),
        ("relay", "submit.committed", &["gateway"]),
        ("relay", "submit_messages.committed", &["gateway"]),
        ("gateway", "lane.submit.answered", &["relay"]),
        ("gateway", "collect.acknowledged", &["relay"]),
        ("connector", "lane.connector_send.sending", &["gateway"]),
        ("connector", "queue_keep.committed", &["gateway"]),
        ("gateway", "send.answered", &["connector"]),
        ("gateway", "events.sent", &["connector"]),
    ];
}
