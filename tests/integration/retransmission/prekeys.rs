//! One-time prekeys run out on either side: the last-resort prekey serves, and the stock is filled again.

use std::time::Instant;

use anyhow::{Context, ensure};
use prost::Message;
use sealpost_proto::relay::v1::device_service_client::DeviceServiceClient;
use sealpost_proto::relay::v1::platform_service_client::PlatformServiceClient;
use sealpost_proto::relay::v1::{FetchBundleRequest, FetchBusinessBundleRequest};
use sealpost_proto::signal::v1::{BundleStatement, DeviceBundle};
use sealpost_runtime::Role;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::device::Device;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use tonic::Request;
use tonic::transport::Channel;

use super::{LATER, SOON, nothing_lost_or_doubled, turns};

/// More than a relay keeps of a number or of a device at the start.
const MOST: usize = 250;

/// What the relay offers a device of the business's keys.
async fn of_business(suite: &Suite, device: &Device) -> anyhow::Result<DeviceBundle> {
    let mut request = Request::new(FetchBusinessBundleRequest {
        phone_number: suite.facts().numbers[0].phone_number.clone(),
        without_prekeys: false,
    });
    let token = format!("Bearer {}", device.token).parse()?;
    request.metadata_mut().insert("authorization", token);
    let mut relay = DeviceServiceClient::new(device.channel.clone());
    let answer = relay.fetch_business_bundle(request).await?.into_inner();
    only_device(&answer.bundle.context("a bundle")?.statement)
}

/// What the relay offers the business of a consumer's keys.
async fn of_consumer(
    relay: &mut PlatformServiceClient<Channel>,
    suite: &Suite,
    phone: &str,
) -> anyhow::Result<DeviceBundle> {
    let request = FetchBundleRequest {
        phone_number_id: suite.number(0).to_owned(),
        peer: phone.to_owned(),
        known_devices: Vec::new(),
        without_prekeys: false,
    };
    let answer = relay.fetch_bundle(request).await?.into_inner();
    only_device(&answer.bundle.context("a bundle")?.statement)
}

fn only_device(statement: &[u8]) -> anyhow::Result<DeviceBundle> {
    let statement = BundleStatement::decode(statement)?;
    let device = statement.devices.into_iter().next();
    device.context("a device in the bundle")
}

/// The id of the KEM prekey, when there are no one-time prekeys of either kind left: the last-resort one comes again and again.
fn is_spent(offers: &[DeviceBundle]) -> bool {
    let [.., before, last] = offers else {
        return false;
    };
    let kem = |offer: &DeviceBundle| offer.kem_prekey.as_ref().map(|prekey| prekey.id);
    last.one_time_prekey.is_none() && kem(last).is_some() && kem(before) == kem(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_without_one_time_prekeys_is_reached_and_gets_new_ones() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    // Nobody fills the stock while the gateway is away; an hour allows one device 60 bundles.
    suite.stop("gateway").await?;
    let mut offers = Vec::new();
    'spending: for person in 0.. {
        ensure!(offers.len() < MOST, "the stock has no end");
        let device = suite.register(&format!("1555027600{person}")).await?;
        for _ in 0..60 {
            offers.push(of_business(&suite, &device).await?);
            if is_spent(&offers) {
                break 'spending;
            }
        }
    }
    ensure!(offers[0].one_time_prekey.is_some(), "there were some");
    let consumer = Consumer::online(&suite, 0)?;
    consumer.text(&suite, 0, "with the last resort").await?;
    consumer.client().flush().await?;
    suite.start("gateway").await?;
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 1, LATER)
        .await?;
    assert_eq!(heard[0].object["text"]["body"], "with the last resort");
    turns(&suite, &rest, &consumer, 1, "and on").await?;

    let device = suite.register("15550276009").await?;
    let start = Instant::now();
    loop {
        let offer = of_business(&suite, &device).await?;
        let kem = |offer: &DeviceBundle| offer.kem_prekey.as_ref().map(|prekey| prekey.id);
        if offer.one_time_prekey.is_some() && kem(&offer) != offers.last().and_then(kem) {
            break;
        }
        ensure!(start.elapsed() < LATER, "nobody fills the stock");
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
    nothing_lost_or_doubled(&suite, &consumer)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_without_one_time_prekeys_is_reached_and_makes_new_ones() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let rest = Rest::of(&suite)?;
    let phone = suite.facts().consumers[0].phone_number.clone();
    let mut relay = PlatformServiceClient::new(suite.as_role(Role::Gateway, "relay").await?);
    let mut offers = Vec::new();
    while !is_spent(&offers) {
        ensure!(offers.len() < MOST, "the stock has no end");
        offers.push(of_consumer(&mut relay, &suite, &phone).await?);
    }
    ensure!(offers[0].one_time_prekey.is_some(), "there were some");
    rest.send(suite.number(0), &rest::text(&phone, "with the last resort"))
        .await?;
    let start = Instant::now();
    let consumer = Consumer::online(&suite, 0)?;
    let first = consumer.wait_for(1, SOON).await?;
    assert_eq!(first.len(), 1);
    turns(&suite, &rest, &consumer, 0, "and on").await?;
    while of_consumer(&mut relay, &suite, &phone)
        .await?
        .one_time_prekey
        .is_none()
    {
        ensure!(start.elapsed() < LATER, "nobody fills the stock");
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    nothing_lost_or_doubled(&suite, &consumer)
}
