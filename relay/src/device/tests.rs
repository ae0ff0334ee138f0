//! The device face over a real database, called as the transport calls it behind the token layer.

#![allow(clippy::unwrap_used)]

mod handing;
mod handover;
mod keys;
mod receiving;
mod registration;
mod replicas;
mod requests;

use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use futures::{StreamExt, stream};
use prost::Message;
use sealpost_proto::signal::v1::BundleStatement;
use sealpost_runtime::status::reason_of;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code as GrpcCode;
use tonic_types::StatusExt;

use super::{receive::DeviceQueue, *};
use crate::{
    LimitsConfig,
    delivery::{Queue, WINDOW},
    ids::DeviceIdentity,
    testing::{Fixture, NUMBER, PEER, of, submit_item, upload},
};

const OTHER: &str = "4915187654321";

fn refused<T: std::fmt::Debug>(answer: Result<T, Status>) -> (GrpcCode, String) {
    let status = answer.unwrap_err();
    (status.code(), reason_of(&status).unwrap())
}

fn field_of<T: std::fmt::Debug>(answer: Result<T, Status>) -> String {
    let status = answer.unwrap_err();
    assert_eq!(status.code(), GrpcCode::InvalidArgument);
    let details = status.get_error_details();
    details.bad_request().unwrap().field_violations[0]
        .field
        .clone()
}

async fn try_code(
    fixture: &Fixture,
    number: &str,
    code: &str,
) -> Result<wire::RegisterResponse, Status> {
    let request = wire::RegisterRequest {
        phone_number: number.into(),
        code: code.into(),
        upload: Some(upload(1, 1, 1)),
    };
    Ok(fixture
        .device
        .register(Request::new(request))
        .await?
        .into_inner())
}

/// Any code but this one.
fn wrong(code: &str) -> &'static str {
    if code == "000000" { "000001" } else { "000000" }
}

/// A device's stream, with the client's side of it.
struct Receiving {
    pages: ReceiverStream<Result<wire::ReceiveResponse, Status>>,
    said: mpsc::Sender<Result<wire::ReceiveRequest, Status>>,
}

impl Receiving {
    async fn start(fixture: &Fixture, device: &DeviceIdentity) -> Self {
        let (said, hears) = mpsc::channel(8);
        let (relay, device) = (fixture.relay.clone(), device.clone());
        let hears = ReceiverStream::new(hears);
        let pages = receive::start(relay, device, hears, CancellationToken::new())
            .await
            .unwrap();
        Self { pages, said }
    }

    async fn page(&mut self) -> Result<Vec<wire::DeviceEnvelope>, Status> {
        // Longer than a queue's own look, so that what only that finds is found.
        let page = timeout(DeviceQueue::EVERY * 3, self.pages.next())
            .await
            .unwrap();
        Ok(page.unwrap()?.envelopes)
    }

    /// Reads until `count` came.
    async fn take(&mut self, count: usize) -> Vec<wire::DeviceEnvelope> {
        let mut taken = Vec::new();
        while taken.len() < count {
            taken.extend(self.page().await.unwrap());
        }
        taken
    }

    async fn is_quiet(&mut self) -> bool {
        timeout(Duration::from_millis(200), self.pages.next())
            .await
            .is_err()
    }

    async fn acknowledge(&self, envelopes: &[wire::DeviceEnvelope]) {
        let ids = envelopes.iter().map(|envelope| envelope.queue_id).collect();
        self.say(wire::ReceiveRequest {
            acknowledge: ids,
            receipts: Vec::new(),
        })
        .await;
    }

    async fn say(&self, request: wire::ReceiveRequest) {
        self.said.send(Ok(request)).await.unwrap();
    }
}

fn ids(envelopes: &[wire::DeviceEnvelope]) -> Vec<u8> {
    envelopes
        .iter()
        .map(|envelope| envelope.message_id[0])
        .collect()
}

async fn send(
    fixture: &Fixture,
    device: &DeviceIdentity,
    registration: u32,
    messages: std::ops::Range<u8>,
) {
    let devices = [(device.device_id, registration)];
    let peer = device.phone_number.as_str();
    let items = messages
        .map(|id| submit_item(peer, [id; 16], &devices, fixture.now()))
        .collect();
    let outcomes = fixture.submit(items).await;
    assert!(
        outcomes
            .iter()
            .all(|outcome| *outcome == wire::SubmitOutcome::Accepted),
        "{outcomes:?}"
    );
}
