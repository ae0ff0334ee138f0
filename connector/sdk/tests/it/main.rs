//! The SDK against a gateway over real TLS: an honest one, a failing one and a malicious one.

#![allow(clippy::unwrap_used)]

mod double;
mod forgeries;
mod receiving;
mod sending;

use std::{future::Future, time::Duration};

use double::{Gateway, NUMBER, PEER, Seeds, TOKEN};
use sealpost_connector_sdk::{
    BusinessKeys, Category, Client, IdempotencyKey, Outbound, Peer, Pins, Secret, Settings, Token,
    content,
};
use sealpost_runtime::Clock;

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

fn settings(gateway: &Gateway, clock: Clock) -> Settings {
    let seeds = Seeds::OURS;
    Settings {
        address: gateway.address.clone().into(),
        ca: gateway.ca(),
        token: Token::new(TOKEN.to_owned()),
        keys: BusinessKeys::new(
            &Secret::from_bytes(seeds.hpke),
            &Secret::from_bytes(seeds.signing),
            Secret::from_bytes(seeds.message_id),
        )
        .unwrap(),
        pins: Pins::from([(
            NUMBER.parse().unwrap(),
            gateway.fingerprint().parse().unwrap(),
        )]),
        clock,
    }
}

async fn pair() -> (Gateway, Client) {
    pair_at(Clock::system()).await
}

async fn pair_at(clock: Clock) -> (Gateway, Client) {
    let gateway = Gateway::start(clock.clone(), &Seeds::OURS).await;
    let client = Client::connect(settings(&gateway, clock)).unwrap();
    (gateway, client)
}

fn outbound(text: &str, key: &str) -> Outbound {
    Outbound {
        phone_number_id: NUMBER.parse().unwrap(),
        to: Peer::new(PEER).unwrap(),
        category: Category::Utility,
        content: content::text(text),
        idempotency_key: IdempotencyKey::new(key).unwrap(),
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// Waits until `holds`.
async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
