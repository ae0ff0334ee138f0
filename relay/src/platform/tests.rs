//! The platform face over a real database, called as the transport calls it.

#![allow(clippy::unwrap_used)]

use std::{collections::HashSet, time::Duration};

use ed25519_dalek::{Signature, VerifyingKey};
use prost::Message;
use sealpost_proto::signal::v1::{BundleStatement, DeviceAddress};
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
    ids::DeviceIdentity,
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
    let found = fixture
        .relay
        .datastore
        .collected(0, 1000, fixture.now())
        .await
        .unwrap();
    found.into_iter().map(|one| one.inbound).collect()
}

/// The gateway's stream, with the gateway's side of it.
struct Collecting {
    pages: ReceiverStream<Result<wire::CollectResponse, Status>>,
    said: mpsc::Sender<Result<Vec<u64>, Status>>,
}

impl Collecting {
    fn start(fixture: &Fixture) -> Self {
        let (said, hears) = mpsc::channel(8);
        let hears = ReceiverStream::new(hears);
        let pages = collect::start(fixture.relay.clone(), hears, CancellationToken::new());
        Self { pages, said }
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

#[tokio::test]
async fn a_prekey_is_handed_out_once_however_many_ask_at_once() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 20).await;
    let mut asking = JoinSet::new();
    for _ in 0..30 {
        let face = fixture.platform.clone();
        asking.spawn(async move { fetch(&face, Vec::new()).await.unwrap().devices.remove(0) });
    }
    let devices = asking.join_all().await;
    let curve: Vec<_> = devices
        .iter()
        .filter_map(|device| device.one_time_prekey.as_ref())
        .collect();
    assert_eq!(curve.len(), 20);
    assert_eq!(
        curve
            .iter()
            .map(|prekey| prekey.id)
            .collect::<HashSet<_>>()
            .len(),
        20
    );
    let kem = devices
        .iter()
        .map(|device| device.kem_prekey.as_ref().unwrap().id);
    let (last_resort, one_time): (Vec<_>, Vec<_>) = kem.partition(|id| *id == 1);
    assert_eq!((last_resort.len(), one_time.len()), (10, 20));
    assert_eq!(one_time.into_iter().collect::<HashSet<_>>().len(), 20);
}

#[tokio::test]
async fn a_consumers_bundle_is_signed_for_the_asking_number_and_ends() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 1).await;
    let request = wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices: Vec::new(),
    };
    let answer = fixture
        .platform
        .fetch_bundle(Request::new(request))
        .await
        .unwrap();
    let bundle = answer.into_inner().bundle.unwrap();
    let public = VerifyingKey::from_bytes(&fixture.public_key).unwrap();
    let signature = Signature::from_slice(&bundle.signature).unwrap();
    public.verify_strict(&bundle.statement, &signature).unwrap();
    let mut altered = bundle.statement.to_vec();
    altered[40] ^= 1;
    assert!(public.verify_strict(&altered, &signature).is_err());

    let said = BundleStatement::decode(bundle.statement).unwrap();
    assert_eq!(
        (said.requester.as_str(), said.peer.as_str()),
        (NUMBER, PEER)
    );
    assert_eq!(said.issued_at_ms, fixture.clock.now().as_millis());
    assert_eq!(said.expires_at_ms - said.issued_at_ms, 24 * 3600 * 1000);
    assert_eq!(said.identity_key, upload(1, 0, 0).identity_key);
}

#[tokio::test]
async fn a_known_device_costs_no_prekey_and_a_reregistered_one_does() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 5).await;
    let known = |registration_id| {
        vec![DeviceAddress {
            device_id: device.device_id,
            registration_id,
        }]
    };
    let bundle = fetch(&fixture.platform, known(1))
        .await
        .unwrap()
        .devices
        .remove(0);
    assert!(
        bundle.signed_prekey.is_none()
            && bundle.one_time_prekey.is_none()
            && bundle.kem_prekey.is_none()
    );
    let bundle = fetch(&fixture.platform, known(2))
        .await
        .unwrap()
        .devices
        .remove(0);
    assert!(
        bundle.signed_prekey.is_some()
            && bundle.one_time_prekey.is_some()
            && bundle.kem_prekey.is_some()
    );
    assert_eq!(
        fixture
            .relay
            .datastore
            .prekey_counts(device.holder)
            .await
            .unwrap(),
        (4, 4)
    );
}

#[tokio::test]
async fn only_a_known_number_may_ask_and_only_about_a_known_consumer() {
    let fixture = Fixture::new().await;
    let nobody = fetch(&fixture.platform, Vec::new()).await;
    assert_eq!(refused(nobody), (Code::NotFound, "NUMBER_UNKNOWN".into()));
    fixture.number(1, 1).await;
    let nobody = fetch(&fixture.platform, Vec::new()).await;
    assert_eq!(refused(nobody), (Code::NotFound, "UNKNOWN_PEER".into()));
}

#[tokio::test]
async fn a_device_list_must_be_the_current_one() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let now = fixture.now();
    let item = |devices: &[(u32, u32)]| submit_item(PEER, [1; 16], devices, now);
    assert_eq!(fixture.submit(vec![item(&[(1, 1)])]).await, [UnknownPeer]);
    let device = fixture.register(PEER, 1, 1).await;
    let stale = [item(&[(1, 2)]), item(&[(2, 1)]), item(&[(1, 1), (2, 1)])];
    assert_eq!(fixture.submit(stale.to_vec()).await, [StaleDevices; 3]);
    assert!(waiting(&fixture, &device).await.is_empty());
    assert_eq!(fixture.submit(vec![item(&[(1, 1)])]).await, [Accepted]);

    let device = fixture.register(PEER, 2, 1).await;
    assert_eq!(fixture.submit(vec![item(&[(1, 1)])]).await, [StaleDevices]);
    let mut retry = item(&[(1, 1)]);
    retry.one_device = true;
    assert_eq!(fixture.submit(vec![retry]).await, [StaleDevices]);
    assert_eq!(fixture.submit(vec![item(&[(2, 2)])]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);
}

#[tokio::test]
async fn a_repeat_is_dropped_even_after_its_acknowledgement_and_another_attempt_is_not() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |attempt| wire::SubmitItem {
        attempt,
        one_device: attempt > 0,
        ..submit_item(PEER, [1; 16], &[(1, 1)], fixture.now())
    };
    assert_eq!(
        fixture.submit(vec![item(0), item(0)]).await,
        [Accepted, Accepted]
    );
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);

    let queued = fixture
        .relay
        .datastore
        .waiting(device.holder, 0, 10, fixture.now())
        .await
        .unwrap();
    let ids = vec![queued[0].queue_id];
    fixture
        .relay
        .datastore
        .forget_waiting(device.holder, ids)
        .await
        .unwrap();
    assert_eq!(fixture.submit(vec![item(0)]).await, [Accepted]);
    assert!(waiting(&fixture, &device).await.is_empty());
    assert_eq!(fixture.submit(vec![item(1)]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 1)]);
}

#[tokio::test]
async fn a_full_device_queue_takes_nothing_new_but_knows_what_it_has() {
    let limits = LimitsConfig {
        device_queue: 2,
        ..LimitsConfig::default()
    };
    let fixture = Fixture::with_limits(limits).await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |id| submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
    assert_eq!(
        fixture.submit(vec![item(1), item(2), item(3)]).await,
        [Accepted, Accepted, QueueFull]
    );
    assert_eq!(
        fixture.submit(vec![item(2), item(3)]).await,
        [Accepted, QueueFull]
    );
    let queued = fixture
        .relay
        .datastore
        .waiting(device.holder, 0, 10, fixture.now())
        .await
        .unwrap();
    fixture
        .relay
        .datastore
        .forget_waiting(device.holder, vec![queued[0].queue_id])
        .await
        .unwrap();
    assert_eq!(fixture.submit(vec![item(3)]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(2, 0), (3, 0)]);
}

#[tokio::test]
async fn a_malformed_item_spoils_neither_its_batch_nor_its_order() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |id| submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
    let mut bad = item(2);
    bad.message_id = vec![2; 3].into();
    let mut unknown_number = item(3);
    unknown_number.phone_number_id = "1".into();
    let outcomes = fixture
        .submit(vec![item(1), bad, unknown_number, item(4)])
        .await;
    assert_eq!(outcomes, [Accepted, Malformed, Malformed, Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0), (4, 0)]);

    let request = wire::SubmitRequest {
        batch_id: 1,
        items: vec![item(5); 257],
    };
    let status = Status::from(fixture.relay.submit(request).await.unwrap_err());
    let details = status.get_error_details();
    assert_eq!(
        details.bad_request().unwrap().field_violations[0].field,
        "items"
    );
}

#[tokio::test]
async fn the_gateway_gets_everything_in_order_and_again_until_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..4).await;
    let mut first = Collecting::start(&fixture);
    let taken = first.take(3).await;
    assert_eq!(first_bytes(&taken), [1, 2, 3]);
    first.said.send(Ok(vec![taken[0].queue_id])).await.unwrap();
    hand_over(&fixture, &device, 4..5).await;
    assert_eq!(first_bytes(&first.take(1).await), [4]);

    let mut second = Collecting::start(&fixture);
    assert_eq!(
        refused(first.page().await),
        (Code::Aborted, "STREAM_REPLACED".into())
    );
    assert_eq!(first_bytes(&second.take(3).await), [2, 3, 4]);
}

fn prekeys_low(items: &[wire::Inbound]) -> usize {
    let is_low =
        |inbound: &&wire::Inbound| matches!(inbound.item, Some(wire::inbound::Item::PrekeysLow(_)));
    items.iter().filter(is_low).count()
}

#[tokio::test]
async fn prekeys_that_run_low_are_asked_for_once_until_an_upload_or_an_hour() {
    let fixture = Fixture::new().await;
    fixture.number(27, 40).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = || async {
        let phone_number = "4930123456".into();
        let request = wire::FetchBusinessBundleRequest {
            phone_number,
            without_prekeys: false,
        };
        fixture
            .device
            .fetch_business_bundle(of(&device, request))
            .await
            .unwrap();
        prekeys_low(&collected(&fixture).await)
    };
    assert_eq!([ask().await, ask().await], [0, 0]);
    assert_eq!([ask().await, ask().await], [1, 1]);
    let Some(wire::inbound::Item::PrekeysLow(low)) = &collected(&fixture).await[0].item else {
        panic!("no item");
    };
    assert_eq!((low.one_time_prekeys, low.kem_prekeys), (24, 37));
    fixture.clock.advance(Duration::from_secs(3600));
    assert_eq!([ask().await, ask().await], [2, 2]);

    let mut few = upload(99, 0, 0);
    few.one_time_prekeys = upload(99, 60, 0).one_time_prekeys.split_off(58);
    let request = wire::UploadNumberPrekeysRequest {
        phone_number_id: NUMBER.into(),
        upload: Some(few),
    };
    fixture
        .platform
        .upload_number_prekeys(Request::new(request))
        .await
        .unwrap();
    assert_eq!([ask().await, ask().await], [3, 3]);
}

#[tokio::test]
async fn a_number_registered_again_keeps_its_spent_prekeys_spent() {
    let fixture = Fixture::new().await;
    fixture.number(3, 3).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = || async {
        let phone_number = "4930123456".into();
        let request = wire::FetchBusinessBundleRequest {
            phone_number,
            without_prekeys: false,
        };
        let answer = fixture
            .device
            .fetch_business_bundle(of(&device, request))
            .await
            .unwrap();
        let statement = answer.into_inner().bundle.unwrap().statement;
        let device = BundleStatement::decode(statement)
            .unwrap()
            .devices
            .remove(0);
        device.one_time_prekey.map(|prekey| prekey.id)
    };
    assert_eq!(ask().await, Some(1));
    fixture.number(3, 3).await;
    assert_eq!(
        [ask().await, ask().await, ask().await],
        [Some(2), Some(3), None]
    );
}

#[tokio::test]
async fn a_phone_number_is_one_number_or_one_consumer() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 1).await;
    let register = |id: &str, phone_number: &str| {
        let request = wire::RegisterNumberRequest {
            phone_number_id: id.into(),
            phone_number: phone_number.into(),
            display_name: "Other".into(),
            upload: Some(upload(7, 1, 1)),
        };
        fixture.platform.register_number(Request::new(request))
    };
    let taken = register("2", "4930123456").await;
    assert_eq!(
        refused(taken),
        (Code::AlreadyExists, "PHONE_NUMBER_TAKEN".into())
    );
    assert_eq!(refused(register("2", PEER).await).1, "NUMBER_IS_CONSUMER");
    assert_eq!(
        refused(register(PEER, "4930999999").await).1,
        "NUMBER_IS_CONSUMER"
    );
    register("2", "4930999999").await.unwrap();
}

#[tokio::test]
async fn a_number_with_a_new_identity_keeps_what_waits_and_hands_out_its_new_keys() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    hand_over(&fixture, &device, 1..2).await;
    let request = wire::RegisterNumberRequest {
        phone_number_id: NUMBER.into(),
        phone_number: "4930123456".into(),
        display_name: "Bakery".into(),
        upload: Some(upload(98, 1, 1)),
    };
    fixture
        .platform
        .register_number(Request::new(request))
        .await
        .unwrap();
    assert_eq!(first_bytes(&collected(&fixture).await), [1]);
    let request = wire::FetchBusinessBundleRequest {
        phone_number: "4930123456".into(),
        without_prekeys: false,
    };
    let answer = fixture
        .device
        .fetch_business_bundle(of(&device, request))
        .await
        .unwrap();
    let said = BundleStatement::decode(answer.into_inner().bundle.unwrap().statement).unwrap();
    assert_eq!(said.identity_key, upload(98, 0, 0).identity_key);
}

async fn expire(fixture: &Fixture, limit: u32, dry_run: bool) -> (u64, bool) {
    let request = wire::DeleteExpiredRequest { limit, dry_run };
    let answer = fixture
        .platform
        .delete_expired(Request::new(request))
        .await
        .unwrap()
        .into_inner();
    (answer.deleted, answer.more)
}

#[tokio::test]
async fn what_is_over_is_neither_given_nor_kept() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let item = |id| submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
    fixture.submit(vec![item(1), item(2), item(3)]).await;
    assert_eq!(expire(&fixture, 100, false).await, (0, false));

    fixture.clock.advance(Duration::from_secs(3600));
    assert!(waiting(&fixture, &device).await.is_empty());
    // Three queued, three remembered.
    assert_eq!(expire(&fixture, 4, true).await, (4, true));
    assert_eq!(expire(&fixture, 4, false).await, (4, true));
    assert_eq!(expire(&fixture, 4, false).await, (2, false));
    assert_eq!(expire(&fixture, 4, false).await, (0, false));
    // Nothing is remembered of the first, so it is new, with a new end.
    assert_eq!(fixture.submit(vec![item(1)]).await, [Accepted]);
    assert_eq!(waiting(&fixture, &device).await, [(1, 0)]);

    hand_over(&fixture, &device, 1..2).await;
    fixture.clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert!(collected(&fixture).await.is_empty());
    // One queued, one remembered, one inbound, one envelope.
    assert_eq!(expire(&fixture, 10_000, false).await, (4, false));
    for limit in [0, 10_001] {
        let request = wire::DeleteExpiredRequest {
            limit,
            dry_run: false,
        };
        let status = fixture
            .platform
            .delete_expired(Request::new(request))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn erasing_a_consumer_leaves_others_alone() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let gone = fixture.register(PEER, 1, 1).await;
    let stays = fixture.register("4915187654321", 2, 1).await;
    let now = fixture.now();
    let items = vec![
        submit_item(PEER, [1; 16], &[(1, 1)], now),
        submit_item("4915187654321", [2; 16], &[(1, 2)], now),
    ];
    assert_eq!(fixture.submit(items).await, [Accepted, Accepted]);
    hand_over(&fixture, &gone, 1..2).await;
    hand_over(&fixture, &stays, 2..3).await;

    let erase = || {
        let request = wire::ErasePeerRequest {
            phone_number_id: NUMBER.into(),
            peer: PEER.into(),
        };
        fixture.platform.erase_peer(Request::new(request))
    };
    // Queued, remembered, inbound, envelope.
    assert_eq!(erase().await.unwrap().into_inner().deleted, 4);
    assert_eq!(erase().await.unwrap().into_inner().deleted, 0);
    assert!(waiting(&fixture, &gone).await.is_empty());
    assert_eq!(waiting(&fixture, &stays).await, [(2, 0)]);
    assert_eq!(first_bytes(&collected(&fixture).await), [2]);
}

#[tokio::test]
async fn a_message_is_billed_once_by_category_and_day() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    fixture.register(PEER, 1, 1).await;
    let item = |id, category| wire::SubmitItem {
        category,
        ..submit_item(PEER, [id; 16], &[(1, 1)], fixture.now())
    };
    fixture
        .submit(vec![item(1, 2), item(2, 2), item(3, 4), item(1, 2)])
        .await;
    let mut retry = item(1, 2);
    (retry.attempt, retry.one_device) = (1, true);
    fixture.submit(vec![retry, item(2, 2)]).await;
    let now = fixture.now();
    assert_eq!(
        fixture.relay.datastore.billed(NUMBER, now).await,
        [(2, 2), (4, 1)]
    );

    fixture.clock.advance(Duration::from_secs(24 * 3600));
    fixture.submit(vec![item(4, 2)]).await;
    assert_eq!(
        fixture.relay.datastore.billed(NUMBER, fixture.now()).await,
        [(2, 1)]
    );
}
