//! Peers that hang and clients that never read: nobody's memory grows without bound, senders are held back or refused, everybody else
//! is served, and what was accepted arrives once the peer moves again.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future;
use sealpost_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use sealpost_proto::gateway::v1::{
    OpenSubscription, SubscribeEventsRequest, subscribe_events_request,
};
use sealpost_proto::relay::v1::device_service_client::DeviceServiceClient;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::relay::v1::{CollectRequest, ReceiveRequest};
use sealpost_proto::store::v1::WatchEventsRequest;
use sealpost_proto::store::v1::store_service_client::StoreServiceClient;
use sealpost_runtime::Role;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite, progress};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;

use super::LATER;

const CONSUMERS: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// A hiccup: a long garbage collection elsewhere, a live migration.
const SHORT: Duration = Duration::from_secs(4);
/// Longer than any deadline of a batch.
const LONG: Duration = Duration::from_secs(35);
/// Requests of one flood at a time.
const FLOOD: usize = 64;
/// What a process may grow by, in bytes, whatever its peers and clients do.
const GROWTH: u64 = 160 * 1024 * 1024;

async fn boot() -> anyhow::Result<(Suite, Vec<Consumer>)> {
    let suite = Suite::up(Options {
        consumers: CONSUMERS + 1,
        ..Options::default()
    })
    .await?;
    let consumers = (0..CONSUMERS)
        .map(|index| Consumer::online(&suite, index))
        .collect::<Result<_, _>>()?;
    Ok((suite, consumers))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stands_still_for_a_while_costs_no_text() -> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    let before = suite.run_file()?;
    let traffic = Traffic::new(&suite, &consumers, "still")?;
    let over = AtomicBool::new(false);
    let freezing = async {
        for name in SERVICES {
            traffic.until_accepted(traffic.count() + 10).await;
            let count = traffic.count();
            let frozen = suite.freeze(name)?;
            sleep(SHORT).await;
            let meanwhile = traffic.count() - count;
            drop(frozen);
            // Nobody's hiccup stops consumers from writing, nor these two the business.
            let bound = if matches!(name, "retention" | "relay") {
                40
            } else {
                10
            };
            ensure!(
                meanwhile >= bound,
                "{meanwhile} texts while {name} stood still"
            );
            let thawed = Instant::now();
            traffic.caught_up(LATER).await?;
            progress(&format!(
                "{name} stood still: {meanwhile} texts meanwhile, all arrived {} ms after",
                thawed.elapsed().as_millis()
            ));
        }
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let (accepted, ()) = tokio::try_join!(
        traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE),
        freezing
    )?;
    traffic.check(&accepted, LATER).await?;
    ensure!(suite.webhook.repeats() == 0, "webhooks came again");
    suite.check_unharmed(&before)
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_hang_beyond_every_deadline_hold_senders_back_and_fill_no_memory()
-> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    let traffic = Traffic::new(&suite, &consumers, "hung")?;
    let somebody = suite.facts().consumers[CONSUMERS].phone_number.clone();
    let over = AtomicBool::new(false);
    let (taken, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let rest = Rest::of(&suite)?;
    let words = "much to say ".repeat(300);
    let flood = future::try_join_all((0..FLOOD).map(|_| async {
        while !over.load(Ordering::SeqCst) {
            let answer = rest
                .post(suite.number(0), None, &rest::text(&somebody, &words))
                .await
                .context("an app is always answered")?;
            let status = answer.status;
            ensure!(status == 200 || status == 429 || status >= 500, "{status}");
            let counter = if status == 200 { &taken } else { &refused };
            counter.fetch_add(1, Ordering::SeqCst);
            sleep(PAUSE).await;
        }
        Ok(())
    }));
    let hanging = async {
        traffic.until_accepted(40).await;
        let before = residents(&suite)?;
        for hung in [["store", "relay"], ["key-vault", "directory"]] {
            let still = hung.map(|name| suite.freeze(name));
            let begun = Instant::now();
            while begun.elapsed() < LONG / 4 {
                bounded(&suite, &before)?;
                sleep(Duration::from_millis(500)).await;
            }
            // The vault's turn comes while the store's is not forgotten yet.
            drop(still);
            sleep(SHORT).await;
        }
        let still = suite.freeze("store")?;
        sleep(LONG).await;
        bounded(&suite, &before)?;
        drop(still);
        over.store(true, Ordering::SeqCst);
        anyhow::Ok(())
    };
    let sending = traffic.send_while(|_| !over.load(Ordering::SeqCst), PAUSE);
    let (accepted, _, ()) = tokio::try_join!(sending, flood, hanging)?;
    traffic.check(&accepted, LATER).await?;
    progress(&format!(
        "{} texts of a flood were taken, {} refused",
        taken.load(Ordering::SeqCst),
        refused.load(Ordering::SeqCst)
    ));
    ensure!(refused.load(Ordering::SeqCst) > 0, "nobody was held back");
    ensure!(taken.load(Ordering::SeqCst) > 0, "nobody was served");
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_reads_costs_nobody_else_anything() -> anyhow::Result<()> {
    let (suite, consumers) = boot().await?;
    let before = residents(&suite)?;
    let traffic = Traffic::new(&suite, &consumers, "unread")?;

    // Each opens a stream, as far as it may, and then sleeps on it.
    let mut streams: Vec<Box<dyn std::any::Any>> = Vec::new();
    for _ in 0..8 {
        let store = suite.as_role(Role::Gateway, "store").await?;
        let mut store = StoreServiceClient::new(store);
        let events = store.watch_events(WatchEventsRequest {}).await?;
        streams.push(Box::new(events.into_inner()));
    }
    for turn in 0..8 {
        let open = OpenSubscription {
            name: format!("asleep-{turn}"),
            phone_number_ids: vec![],
            max_unacknowledged: 1024,
        };
        let (say, said) = mpsc::channel(1);
        say.send(SubscribeEventsRequest {
            request: Some(subscribe_events_request::Request::Open(open)),
        })
        .await?;
        let request = with_token(ReceiverStream::new(said), &suite.facts().gateway.token)?;
        let mut gateway = GatewayServiceClient::new(suite.gateway_public()?);
        let events = gateway.subscribe_events(request).await?.into_inner();
        streams.push(Box::new((say, events)));
    }
    let device = suite.register("15550007777").await?;
    let (say, said) = mpsc::channel(1);
    say.send(ReceiveRequest::default()).await?;
    let request = with_token(ReceiverStream::new(said), &device.token)?;
    let mut relay = DeviceServiceClient::new(device.channel.clone());
    let envelopes = relay.receive(request).await?.into_inner();
    streams.push(Box::new((say, envelopes)));
    // A second collector, as a gateway that hangs at birth would be.
    let relay = suite.as_role(Role::Gateway, "relay").await?;
    let (say, said) = mpsc::channel(1);
    say.send(CollectRequest {
        collector: "asleep".to_owned(),
        ..CollectRequest::default()
    })
    .await?;
    let mut relay = PlatformServiceClient::new(relay);
    let collected = relay.collect(ReceiverStream::new(said)).await?.into_inner();
    streams.push(Box::new((say, collected)));

    let rest = Rest::of(&suite)?;
    let words = "much to say ".repeat(300);
    let to_the_sleeper = async {
        for turn in 0..400 {
            let (number, key) = (suite.number(0), format!("sleeper-{turn}"));
            rest.text_until_accepted(number, &device.phone, &words, &key, LATER)
                .await?;
        }
        anyhow::Ok(())
    };
    let sending = traffic.send(150, Duration::ZERO);
    let (accepted, ()) = tokio::try_join!(sending, to_the_sleeper)?;
    traffic.check(&accepted, LATER).await?;
    bounded(&suite, &before)?;
    drop(streams);
    suite.check_no_panic()
}

fn with_token<T>(message: T, token: &str) -> anyhow::Result<Request<T>> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse()?;
    request.metadata_mut().insert("authorization", value);
    Ok(request)
}

fn residents(suite: &Suite) -> anyhow::Result<Vec<(&'static str, u64)>> {
    let resident = |name| Ok((name, suite.resident(name)?));
    SERVICES.into_iter().map(resident).collect()
}

/// That no process has grown beyond its bound since `before`.
fn bounded(suite: &Suite, before: &[(&'static str, u64)]) -> anyhow::Result<()> {
    for ((name, before), (_, now)) in before.iter().zip(residents(suite)?) {
        let growth = now.saturating_sub(*before);
        ensure!(growth < GROWTH, "{name} grew from {before} to {now} bytes");
    }
    Ok(())
}
