//! The platform face over a real database, called as the transport calls it.

#![allow(clippy::unwrap_used)]

mod collecting;
mod keys;
mod leases;
mod queues;
mod removal;
mod replicas;
mod submit;

use std::{collections::HashSet, time::Duration};

use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use sealpost_proto::signal::v1::{BundleStatement, DeviceAddress, DeviceBundle};
use sealpost_runtime::status::reason_of;
use tokio::{sync::mpsc, task::JoinSet, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic_types::StatusExt;
use wire::{
    SubmitOutcome::{Accepted, Malformed, QueueFull, StaleDevices, UnknownPeer},
    device_service_server::DeviceService,
};

use super::*;
use crate::{
    LimitsConfig,
    ids::{CollectorName, DeviceIdentity, StreamToken},
    testing::{Fixture, NUMBER, PEER, of, submit_item, upload},
};

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), reason_of(&status).unwrap())
}

async fn fetch(
    face: &PlatformFace,
    known_devices: Vec<DeviceAddress>,
) -> Result<BundleStatement, Status> {
    let request = wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices,
        without_prekeys: false,
    };
    let bundle = face
        .fetch_bundle(Request::new(request))
        .await?
        .into_inner()
        .bundle
        .unwrap();
    Ok(BundleStatement::decode(bundle.statement).unwrap())
}

async fn waiting(fixture: &Fixture, device: &DeviceIdentity) -> Vec<(u8, u32)> {
    let now = fixture.now();
    let waiting = fixture
        .relay
        .datastore
        .waiting(device.holder, 0, 1000, now)
        .await
        .unwrap();
    waiting
        .iter()
        .map(|one| (one.message.as_bytes()[0], one.attempt))
        .collect()
}

async fn collected(fixture: &Fixture) -> Vec<wire::Inbound> {
    let now = fixture.now();
    fixture.relay.datastore.all_inbound(now).await
}

/// A gateway's stream, with the gateway's side of it.
struct Collecting {
    pages: ReceiverStream<Result<wire::CollectResponse, Status>>,
    said: mpsc::Sender<Result<Vec<u64>, Status>>,
}

impl Collecting {
    async fn start(fixture: &Fixture, collector: &str) -> Self {
        let (said, hears) = mpsc::channel(8);
        let hears = ReceiverStream::new(hears);
        let pages = collect::start(
            fixture.relay.clone(),
            CollectorName::parse(collector).unwrap(),
            hears,
            CancellationToken::new(),
        );
        Self {
            pages: pages.await.unwrap(),
            said,
        }
    }

    async fn acknowledge(&self, items: &[wire::Inbound]) {
        let ids = items.iter().map(|item| item.queue_id).collect();
        self.said.send(Ok(ids)).await.unwrap();
    }

    async fn is_quiet(&mut self) -> bool {
        let next = timeout(Duration::from_millis(200), self.pages.next());
        next.await.is_err()
    }

    async fn page(&mut self) -> Result<Vec<wire::Inbound>, Status> {
        let page = timeout(Duration::from_secs(10), self.pages.next())
            .await
            .unwrap();
        Ok(page.unwrap()?.items)
    }

    async fn take(&mut self, count: usize) -> Vec<wire::Inbound> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.page().await.unwrap());
        }
        taken
    }
}

async fn hand_over(fixture: &Fixture, device: &DeviceIdentity, envelopes: std::ops::Range<u8>) {
    let message = |id: u8| wire::DeviceMessage {
        envelope_id: vec![id; 16].into(),
        phone_number_id: NUMBER.into(),
        r#type: 2,
        ciphertext: vec![id; 40].into(),
        attempt: 0,
    };
    let request = wire::SubmitMessagesRequest {
        messages: envelopes.map(message).collect(),
    };
    fixture
        .device
        .submit_messages(of(device, request))
        .await
        .unwrap();
}

fn first_bytes(items: &[wire::Inbound]) -> Vec<u8> {
    let byte = |inbound: &wire::Inbound| match &inbound.item {
        Some(wire::inbound::Item::Envelope(envelope)) => envelope.ciphertext[0],
        other => panic!("{other:?}"),
    };
    items.iter().map(byte).collect()
}
