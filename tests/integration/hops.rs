//! A question that is lost and an answer that is lost, on every hop, while texts flow both ways: nothing is lost with them, nothing
//! done twice. Once exactly, where a failpoint drops the one or the other; once by chance, where wires are cut.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sealpost_tests::consumer::Consumer;
use sealpost_tests::failpoints::Order;
use sealpost_tests::proxy::{Cut, Proxy};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::time::sleep;

use super::LATER;

const CONSUMERS: usize = 3;
const PAUSE: Duration = Duration::from_millis(60);
/// What traffic alone does not ask in this time, a new gateway asks.
const BY_ITSELF: Duration = Duration::from_secs(2);

/// Batches: the client drops them unsent, or drops their answers.
const LANES: [(&str, &str); 10] = [
    ("connector", "connector_send"),
    ("gateway", "admit"),
    ("gateway", "encrypt"),
    ("gateway", "decrypt"),
    ("gateway", "confirm"),
    ("gateway", "append_outbound"),
    ("gateway", "append_inbound"),
    ("gateway", "advance_status"),
    ("gateway", "submit"),
    ("gateway", "deliver"),
];

/// What is asked at first contact alone.
const FIRST_CALLS: [(&str, &str); 3] = [
    ("relay", "FetchBundle"),
    ("relay", "FetchBusinessBundle"),
    ("relay", "GetPrekeyCount"),
];

/// Single calls, and the openings of streams: the server drops the question, or its answer. Whose start asks it, when traffic does not.
const CALLS: [(&str, &str, &str); 16] = [
    ("gateway", "SendStream", "connector"),
    ("gateway", "SubscribeEvents", "connector"),
    ("gateway", "GetVaultKey", "connector"),
    ("directory", "AuthenticateToken", "gateway"),
    ("key-vault", "Admit", "gateway"),
    ("key-vault", "ListPending", "gateway"),
    ("key-vault", "WatchEpochs", "store"),
    ("store", "AppendOutbound", "gateway"),
    ("store", "LeaseDispatch", "gateway"),
    ("store", "WatchEvents", "gateway"),
    ("store", "ListEvents", "gateway"),
    ("store", "OpenCursor", "connector"),
    ("store", "AdvanceCursor", "gateway"),
    ("relay", "Collect", "gateway"),
    ("relay", "SubmitMessages", "gateway"),
    ("relay", "Receive", "relay"),
];

async fn boot(failpoints: bool) -> anyhow::Result<Suite> {
    Suite::up(Options {
        consumers: CONSUMERS,
        failpoints,
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_question_or_a_lost_answer_on_any_hop_costs_no_text() -> anyhow::Result<()> {
    let suite = boot(true).await?;
    let first = FIRST_CALLS.map(|(service, method)| {
        ["asked", "answered"].map(|half| (service, format!("rpc.{method}.{half}")))
    });
    for (service, point) in first.iter().flatten() {
        suite.orders().give(service, point, &Order::Fail(1))?;
    }
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        consumers.push(Consumer::online(&suite, index)?);
    }
    let traffic = Traffic::new(&suite, &consumers, "hops")?;
    let over = AtomicBool::new(false);
    let losing = async {
        for (service, point) in first.iter().flatten() {
            suite.orders().reached(service, point, LATER).await?;
        }
        for (service, method, asker) in CALLS {
            for half in ["asked", "answered"] {
                lose(&suite, service, &format!("rpc.{method}.{half}"), asker).await?;
            }
        }
        for (service, lane) in LANES {
            for half in ["sending", "answered"] {
                lose(&suite, service, &format!("lane.{lane}.{half}"), "gateway").await?;
            }
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        losing
    )?;
    traffic.check(&accepted, LATER).await?;
    progress(&format!("{} texts", accepted.len()));
    // The connector was killed to make it ask, with webhooks under way.
    let repeats = suite.webhook.repeats();
    ensure!(repeats <= 64, "{repeats} webhooks came again");
    suite.check_no_panic()
}

async fn lose(suite: &Suite, service: &str, point: &str, asker: &str) -> anyhow::Result<()> {
    let begun = Instant::now();
    suite.orders().give(service, point, &Order::Fail(1))?;
    while !suite.orders().is_reached(service, point) {
        ensure!(begun.elapsed() < LATER, "{service} never came to {point}");
        if begun.elapsed() > BY_ITSELF {
            suite.kill9(asker).await?;
            suite.start(asker).await?;
        }
        let limit = Instant::now() + Duration::from_secs(1);
        while !suite.orders().is_reached(service, point) && Instant::now() < limit {
            sleep(Duration::from_millis(10)).await;
        }
    }
    progress(&format!(
        "{service} lost {point} ({} ms)",
        begun.elapsed().as_millis()
    ));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_loses_a_webhook_or_its_answer_gets_it_again() -> anyhow::Result<()> {
    let suite = boot(false).await?;
    let consumer = Consumer::online(&suite, 0)?;
    let consumers = [consumer];
    let traffic = Traffic::new(&suite, &consumers, "webhooks")?;
    let losing = async {
        for count in [5, 25] {
            traffic.until_accepted(count).await;
            suite.webhook.lose_questions(1);
            suite.webhook.lose_answers(1);
        }
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(traffic.send(20, PAUSE), losing)?;
    traffic.check(&accepted, LATER).await?;
    ensure!(
        suite.webhook.lost() == 4,
        "only {} were lost",
        suite.webhook.lost()
    );
    // Whoever has it already is told again: as often as an answer was lost.
    ensure!(suite.webhook.repeats() >= 1, "no answer was missed");
    ensure!(
        suite.webhook.repeats() <= 2,
        "more came again than answers were lost"
    );
    Ok(())
}

/// Whose wire to whom; `true` is the public face.
const WIRES: [(&str, &str, bool); 7] = [
    ("connector", "gateway", true),
    ("gateway", "directory", false),
    ("gateway", "key-vault", false),
    ("gateway", "store", false),
    ("gateway", "relay", false),
    ("store", "key-vault", false),
    ("retention", "key-vault", false),
];

#[tokio::test(flavor = "multi_thread")]
async fn wires_cut_at_any_moment_cost_no_text() -> anyhow::Result<()> {
    const SEED: &str = "SEALPOST_TESTS_SEED";
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse()?,
        Err(_) => sealpost_tests::business::now().0,
    };
    progress(&format!("{SEED}={seed} makes these cuts again"));
    let mut rng = StdRng::seed_from_u64(seed);
    let suite = boot(false).await?;
    let mut proxies = Vec::new();
    for (client, server, public) in WIRES {
        let facts = suite.facts();
        let address = if public {
            facts.public(server)?
        } else {
            facts.grpc(server)?
        };
        let proxy = Proxy::to(address).await?;
        suite.reroute(client, address, &proxy.address().to_string())?;
        proxies.push(proxy);
    }
    for client in ["store", "retention", "gateway", "connector"] {
        suite.restart(client).await?;
    }
    let devices = Proxy::to(suite.facts().public("relay")?).await?;
    let mut consumers = Vec::new();
    for index in 0..CONSUMERS {
        let relay = devices.address().to_string();
        consumers.push(Consumer::through(&suite, index, &relay)?);
    }
    proxies.push(devices);

    let traffic = Traffic::new(&suite, &consumers, "wires")?;
    let over = AtomicBool::new(false);
    let cutting = async {
        for _ in 0..100 {
            sleep(Duration::from_millis(rng.random_range(20..300))).await;
            let proxy = &proxies[rng.random_range(0..proxies.len())];
            let how = [Cut::Both, Cut::Requests, Cut::Responses][rng.random_range(0..3)];
            proxy.cut(how);
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        cutting
    )?;
    traffic.check(&accepted, LATER).await?;
    let connections: Vec<_> = proxies.iter().map(Proxy::connections).collect();
    progress(&format!(
        "{} texts over wires that were connected {connections:?} times",
        accepted.len()
    ));
    // Retention speaks once an hour; every other wire was used, cut, and used again.
    for (place, count) in connections.iter().enumerate() {
        let (client, server, _) = WIRES.get(place).unwrap_or(&("device", "relay", true));
        ensure!(
            *count > 1 || *client == "retention",
            "{client} connected to {server} {count} times"
        );
    }
    suite.check_no_panic()
}
