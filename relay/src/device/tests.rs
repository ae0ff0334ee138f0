//! The device face over a real database, called as the transport calls it behind the token layer.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use ed25519_dalek::{Signature, VerifyingKey};
use futures::stream;
use prost::Message;
use sealpost_proto::signal::v1::BundleStatement;
use sealpost_runtime::status::reason_of;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;
use tonic::Code as GrpcCode;
use tonic_types::StatusExt;

use super::*;
use crate::{
    LimitsConfig,
    delivery::WINDOW,
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
    said: mpsc::Sender<Result<Vec<u64>, Status>>,
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
        let page = timeout(Duration::from_secs(10), self.pages.next())
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
        self.said.send(Ok(ids)).await.unwrap();
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

#[tokio::test]
async fn a_code_works_once() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    let answer = try_code(&fixture, PEER, &code).await.unwrap();
    assert_eq!(answer.device_id, 1);
    let again = try_code(&fixture, PEER, &code).await;
    assert_eq!(
        refused(again),
        (GrpcCode::PermissionDenied, "CODE_REFUSED".into())
    );
}

#[tokio::test]
async fn a_code_ends_after_ten_minutes() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    fixture.clock.advance(Duration::from_secs(600));
    assert_eq!(
        refused(try_code(&fixture, PEER, &code).await).1,
        "CODE_REFUSED"
    );
    let code = fixture.code(PEER).await;
    fixture.clock.advance(Duration::from_secs(599));
    try_code(&fixture, PEER, &code).await.unwrap();
}

#[tokio::test]
async fn five_wrong_guesses_end_a_code_and_four_do_not() {
    let fixture = Fixture::new().await;
    for (guesses, works) in [(4, true), (5, false)] {
        let code = fixture.code(PEER).await;
        for _ in 0..guesses {
            assert_eq!(
                refused(try_code(&fixture, PEER, wrong(&code)).await).1,
                "CODE_REFUSED"
            );
        }
        assert_eq!(
            try_code(&fixture, PEER, &code).await.is_ok(),
            works,
            "{guesses}"
        );
    }
}

#[tokio::test]
async fn a_code_is_for_its_number_only() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    assert_eq!(
        refused(try_code(&fixture, OTHER, &code).await).1,
        "CODE_REFUSED"
    );
}

#[tokio::test]
async fn a_malformed_upload_neither_spends_the_code_nor_counts_as_a_guess() {
    let fixture = Fixture::new().await;
    let code = fixture.code(PEER).await;
    for _ in 0..6 {
        let request = wire::RegisterRequest {
            phone_number: PEER.into(),
            code: code.clone(),
            upload: None,
        };
        assert_eq!(
            field_of(fixture.device.register(Request::new(request)).await),
            "upload"
        );
    }
    try_code(&fixture, PEER, &code).await.unwrap();
}

#[tokio::test]
async fn codes_for_one_number_are_limited_and_others_are_not_held_up() {
    let fixture = Fixture::new().await;
    for _ in 0..5 {
        fixture.code(PEER).await;
    }
    let request = Request::new(wire::RequestCodeRequest {
        phone_number: PEER.into(),
    });
    let status = fixture.device.request_code(request).await.unwrap_err();
    assert_eq!(status.code(), GrpcCode::ResourceExhausted);
    assert!(status.get_error_details().retry_info().is_some());
    fixture.code(OTHER).await;
    fixture.clock.advance(Duration::from_secs(720));
    fixture.code(PEER).await;
}

#[tokio::test]
async fn codes_to_one_source_are_limited() {
    let fixture = Fixture::with_limits(LimitsConfig {
        codes_per_source: 2,
        ..LimitsConfig::default()
    })
    .await;
    let source = Source::of("192.0.2.1".parse().unwrap());
    let number = |index: u32| validate::phone_number("n", &format!("49151000000{index}")).unwrap();
    for index in 0..2 {
        fixture
            .relay
            .send_code(number(index), Some(source))
            .await
            .unwrap();
    }
    let third = fixture.relay.send_code(number(2), Some(source)).await;
    assert!(matches!(third, Err(RelayError::TooMany { .. })));
    let elsewhere = Source::of("192.0.2.2".parse().unwrap());
    fixture
        .relay
        .send_code(number(2), Some(elsewhere))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_business_number_cannot_be_registered_as_a_consumer() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    for number in ["4930123456", NUMBER] {
        let request = Request::new(wire::RequestCodeRequest {
            phone_number: number.into(),
        });
        let answer = fixture.device.request_code(request).await;
        assert_eq!(
            refused(answer),
            (GrpcCode::PermissionDenied, "NUMBER_IS_BUSINESS".into())
        );
    }
}

#[tokio::test]
async fn registering_anew_replaces_the_device_its_stream_and_its_queue() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let old = fixture.register(PEER, 1, 1).await;
    send(&fixture, &old, 1, 1..2).await;
    let mut receiving = Receiving::start(&fixture, &old).await;
    receiving.take(1).await;

    let new = fixture.register(PEER, 2, 1).await;
    assert_eq!((old.device_id, new.device_id), (1, 2));
    let ended = receiving.page().await;
    assert_eq!(
        refused(ended),
        (GrpcCode::Unauthenticated, "DEVICE_UNKNOWN".into())
    );
    let again = receive::start(
        fixture.relay.clone(),
        old,
        stream::pending(),
        CancellationToken::new(),
    );
    assert!(matches!(again.await, Err(RelayError::DeviceUnknown)));
    assert!(Receiving::start(&fixture, &new).await.is_quiet().await);
}

#[tokio::test]
async fn a_business_bundle_is_signed_for_the_asking_consumer() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = |without_prekeys| {
        let request = wire::FetchBusinessBundleRequest {
            phone_number: "4930123456".into(),
            without_prekeys,
        };
        fixture.device.fetch_business_bundle(of(&device, request))
    };
    let answer = ask(false).await.unwrap().into_inner();
    assert_eq!(
        (
            answer.phone_number_id.as_str(),
            answer.display_name.as_str()
        ),
        (NUMBER, "Bakery")
    );

    let bundle = answer.bundle.unwrap();
    let public = VerifyingKey::from_bytes(&fixture.public_key).unwrap();
    let signature = Signature::from_slice(&bundle.signature).unwrap();
    public.verify_strict(&bundle.statement, &signature).unwrap();
    let said = BundleStatement::decode(bundle.statement).unwrap();
    assert_eq!(
        (said.requester.as_str(), said.peer.as_str()),
        (PEER, NUMBER)
    );
    assert_eq!(said.devices.len(), 1);
    assert_eq!(
        (said.devices[0].device_id, said.devices[0].registration_id),
        (1, 99)
    );
    assert!(said.devices[0].one_time_prekey.is_some());
    assert_eq!(said.devices[0].kem_prekey.as_ref().unwrap().id, 2);

    // The one-time prekeys are gone; the last-resort one stays.
    for _ in 0..2 {
        let bundle = ask(false).await.unwrap().into_inner().bundle.unwrap();
        let device = BundleStatement::decode(bundle.statement)
            .unwrap()
            .devices
            .remove(0);
        assert!(device.one_time_prekey.is_none());
        assert_eq!(device.kem_prekey.unwrap().id, 1);
    }
    let bundle = ask(true).await.unwrap().into_inner().bundle.unwrap();
    let device = BundleStatement::decode(bundle.statement)
        .unwrap()
        .devices
        .remove(0);
    assert!(device.signed_prekey.is_none() && device.kem_prekey.is_none());
}

#[tokio::test]
async fn a_device_cannot_empty_a_numbers_prekeys() {
    let limits = LimitsConfig {
        bundles_per_device: 3,
        ..LimitsConfig::default()
    };
    let fixture = Fixture::with_limits(limits).await;
    fixture.number(10, 10).await;
    let device = fixture.register(PEER, 1, 1).await;
    let ask = |without_prekeys| {
        let phone_number = "4930123456".into();
        let request = wire::FetchBusinessBundleRequest {
            phone_number,
            without_prekeys,
        };
        fixture.device.fetch_business_bundle(of(&device, request))
    };
    for _ in 0..3 {
        ask(false).await.unwrap();
    }
    assert_eq!(refused(ask(false).await).1, "RATE_LIMITED");
    ask(true).await.unwrap();
}

#[tokio::test]
async fn a_repeated_upload_does_not_bring_back_a_spent_prekey() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 3).await;
    let request = wire::FetchBundleRequest {
        phone_number_id: NUMBER.into(),
        peer: PEER.into(),
        known_devices: Vec::new(),
    };
    use wire::platform_service_server::PlatformService;
    fixture
        .platform
        .fetch_bundle(Request::new(request))
        .await
        .unwrap();
    let upload_again = wire::UploadPrekeysRequest {
        upload: Some(upload(1, 4, 4)),
    };
    fixture
        .device
        .upload_prekeys(of(&device, upload_again))
        .await
        .unwrap();
    let counts = fixture
        .device
        .get_prekey_count(of(&device, wire::GetPrekeyCountRequest {}));
    let counts = counts.await.unwrap().into_inner();
    assert_eq!((counts.one_time_prekeys, counts.kem_prekeys), (3, 3));
}

#[tokio::test]
async fn an_upload_of_another_identity_is_refused() {
    let fixture = Fixture::new().await;
    let device = fixture.register(PEER, 1, 1).await;
    let request = wire::UploadPrekeysRequest {
        upload: Some(upload(2, 1, 1)),
    };
    let answer = fixture.device.upload_prekeys(of(&device, request)).await;
    assert_eq!(
        refused(answer),
        (GrpcCode::FailedPrecondition, "IDENTITY_DIFFERS".into())
    );
}

#[tokio::test]
async fn what_waits_comes_in_order_and_again_until_it_is_acknowledged() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 1..6).await;

    let mut first = Receiving::start(&fixture, &device).await;
    let taken = first.take(5).await;
    assert_eq!(ids(&taken), [1, 2, 3, 4, 5]);
    assert!(taken.is_sorted_by_key(|envelope| envelope.queue_id));
    first.acknowledge(&taken[..2]).await;
    // What is sent after the acknowledgement shows that it was handled.
    send(&fixture, &device, 1, 6..7).await;
    assert_eq!(ids(&first.take(1).await), [6]);
    drop(first);

    let mut second = Receiving::start(&fixture, &device).await;
    assert_eq!(ids(&second.take(4).await), [3, 4, 5, 6]);
}

#[tokio::test]
async fn a_second_stream_of_a_device_ends_the_first() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let mut first = Receiving::start(&fixture, &device).await;
    let mut second = Receiving::start(&fixture, &device).await;
    assert_eq!(
        refused(first.page().await),
        (GrpcCode::Aborted, "STREAM_REPLACED".into())
    );
    send(&fixture, &device, 1, 1..2).await;
    assert_eq!(ids(&second.take(1).await), [1]);
}

#[tokio::test]
async fn no_more_than_a_window_is_under_way_and_an_acknowledgement_opens_it() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 0..200).await;
    let more = (0..100).map(|id| {
        let message_id = [[id; 8], [255; 8]].concat().try_into().unwrap();
        submit_item(PEER, message_id, &[(1, 1)], fixture.now())
    });
    fixture.submit(more.collect()).await;

    let mut receiving = Receiving::start(&fixture, &device).await;
    let taken = receiving.take(WINDOW).await;
    assert_eq!(taken.len(), WINDOW);
    assert!(receiving.is_quiet().await);
    receiving.acknowledge(&taken[..1]).await;
    assert_eq!(receiving.take(1).await.len(), 1);
    receiving.acknowledge(&taken[1..]).await;
    assert_eq!(
        receiving.take(300 - WINDOW - 1).await.len(),
        300 - WINDOW - 1
    );
}

#[tokio::test]
async fn a_page_is_bounded_in_bytes() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let items = (0..12).map(|id| {
        let mut item = submit_item(PEER, [id; 16], &[(1, 1)], fixture.now());
        item.ciphertexts[0].ciphertext = vec![id; 128 * 1024].into();
        item
    });
    fixture.submit(items.collect()).await;
    let mut receiving = Receiving::start(&fixture, &device).await;
    let page = receiving.page().await.unwrap();
    assert_eq!(ids(&page), [0, 1, 2, 3]);
    assert_eq!(receiving.take(8).await.len(), 8);
}

#[tokio::test]
async fn a_device_neither_reads_nor_acknowledges_anothers_messages() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let mine = fixture.register(PEER, 1, 1).await;
    let other = fixture.register(OTHER, 2, 1).await;
    send(&fixture, &mine, 1, 1..3).await;
    let taken = Receiving::start(&fixture, &mine).await.take(2).await;

    let mut theirs = Receiving::start(&fixture, &other).await;
    assert!(theirs.is_quiet().await);
    theirs.acknowledge(&taken).await;
    send(&fixture, &other, 2, 3..4).await;
    assert_eq!(ids(&theirs.take(1).await), [3]);
    assert_eq!(
        ids(&Receiving::start(&fixture, &mine).await.take(2).await),
        [1, 2]
    );
}

#[tokio::test]
async fn a_call_without_a_device_is_unauthenticated() {
    let fixture = Fixture::new().await;
    let answer = fixture
        .device
        .get_prekey_count(Request::new(wire::GetPrekeyCountRequest {}))
        .await;
    assert_eq!(
        refused(answer),
        (GrpcCode::Unauthenticated, "DEVICE_UNKNOWN".into())
    );
    let answer = fixture
        .device
        .send_receipts(Request::new(wire::SendReceiptsRequest::default()))
        .await;
    assert_eq!(refused(answer).1, "DEVICE_UNKNOWN");
}

fn receipt(message_id: u8, kind: wire::ReceiptKind) -> wire::SendReceiptsRequest {
    wire::SendReceiptsRequest {
        receipts: vec![wire::DeviceReceipt {
            phone_number_id: NUMBER.into(),
            message_id: vec![message_id; 16].into(),
            kind: kind.into(),
            time_ms: 1,
        }],
    }
}

#[tokio::test]
async fn a_device_speaks_only_of_messages_that_it_was_sent() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let mine = fixture.register(PEER, 1, 1).await;
    let other = fixture.register(OTHER, 2, 1).await;
    send(&fixture, &mine, 1, 1..2).await;

    let foreign = fixture
        .device
        .send_receipts(of(&other, receipt(1, wire::ReceiptKind::Read)))
        .await;
    assert_eq!(
        refused(foreign),
        (GrpcCode::NotFound, "MESSAGE_UNKNOWN".into())
    );
    let retry = |failed_attempt| wire::RequestRetryRequest {
        phone_number_id: NUMBER.into(),
        message_id: vec![1; 16].into(),
        failed_attempt,
    };
    let foreign = fixture.device.request_retry(of(&other, retry(0))).await;
    assert_eq!(refused(foreign).1, "MESSAGE_UNKNOWN");
    let never_sent = fixture.device.request_retry(of(&mine, retry(1))).await;
    assert_eq!(refused(never_sent).1, "MESSAGE_UNKNOWN");
    assert_eq!(
        fixture
            .relay
            .datastore
            .collected(0, 10, fixture.now())
            .await
            .unwrap()
            .len(),
        0
    );

    for _ in 0..2 {
        fixture
            .device
            .request_retry(of(&mine, retry(0)))
            .await
            .unwrap();
    }
    assert_eq!(
        fixture
            .relay
            .datastore
            .collected(0, 10, fixture.now())
            .await
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn receipts_go_forward_once_each() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    send(&fixture, &device, 1, 1..3).await;
    use wire::ReceiptKind::{Delivered, Read};
    for (message, kind) in [
        (1, Delivered),
        (1, Delivered),
        (1, Read),
        (1, Delivered),
        (1, Read),
        (2, Read),
        (2, Delivered),
    ] {
        fixture
            .device
            .send_receipts(of(&device, receipt(message, kind)))
            .await
            .unwrap();
    }
    let passed = fixture
        .relay
        .datastore
        .collected(0, 10, fixture.now())
        .await
        .unwrap();
    let kinds = passed.iter().map(|one| match &one.inbound.item {
        Some(wire::inbound::Item::Receipt(receipt)) => (receipt.message_id[0], receipt.kind()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [(1, Delivered), (1, Read), (2, Read)]
    );
}

fn message(envelope_id: u8) -> wire::DeviceMessage {
    wire::DeviceMessage {
        envelope_id: vec![envelope_id; 16].into(),
        phone_number_id: NUMBER.into(),
        r#type: 3,
        ciphertext: vec![envelope_id; 40].into(),
    }
}

#[tokio::test]
async fn a_message_handed_over_twice_is_kept_once() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let messages = || wire::SubmitMessagesRequest {
        messages: vec![message(1), message(1), message(2)],
    };
    for _ in 0..2 {
        let answer = fixture
            .device
            .submit_messages(of(&device, messages()))
            .await
            .unwrap()
            .into_inner();
        assert!(
            answer
                .outcomes()
                .all(|outcome| outcome == wire::SubmitMessageOutcome::Accepted)
        );
    }
    let kept = fixture
        .relay
        .datastore
        .collected(0, 10, fixture.now())
        .await
        .unwrap();
    assert_eq!(kept.len(), 2);
    let Some(wire::inbound::Item::Envelope(envelope)) = &kept[0].inbound.item else {
        panic!("{kept:?}");
    };
    assert_eq!((envelope.peer.as_str(), envelope.device_id), (PEER, 1));
    // Another device may well choose the same id.
    let other = fixture.register(OTHER, 2, 1).await;
    let request = wire::SubmitMessagesRequest {
        messages: vec![message(1)],
    };
    fixture
        .device
        .submit_messages(of(&other, request))
        .await
        .unwrap();
    assert_eq!(
        fixture
            .relay
            .datastore
            .collected(0, 10, fixture.now())
            .await
            .unwrap()
            .len(),
        3
    );
}

#[tokio::test]
async fn a_full_queue_and_an_unknown_number_are_outcomes() {
    let limits = LimitsConfig {
        number_queue: 1,
        ..LimitsConfig::default()
    };
    let fixture = Fixture::with_limits(limits).await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let elsewhere = wire::DeviceMessage {
        phone_number_id: "1".into(),
        ..message(3)
    };
    let request = wire::SubmitMessagesRequest {
        messages: vec![message(1), message(2), elsewhere],
    };
    let answer = fixture
        .device
        .submit_messages(of(&device, request))
        .await
        .unwrap()
        .into_inner();
    use wire::SubmitMessageOutcome::{Accepted, NumberUnknown, QueueFull};
    assert_eq!(
        answer.outcomes().collect::<Vec<_>>(),
        [Accepted, QueueFull, NumberUnknown]
    );
}

#[tokio::test]
async fn garbage_is_answered_with_the_name_of_the_field() {
    let fixture = Fixture::new().await;
    let device = fixture.register(PEER, 1, 1).await;
    let request = wire::RequestCodeRequest {
        phone_number: "+4915112345678".into(),
    };
    assert_eq!(
        field_of(fixture.device.request_code(Request::new(request)).await),
        "phone_number"
    );
    assert_eq!(field_of(try_code(&fixture, PEER, "12345").await), "code");

    type Spoil = fn(&mut wire::DeviceMessage);
    let cases: [(&str, Spoil); 4] = [
        ("messages[1].envelope_id", |m| {
            m.envelope_id = vec![1; 17].into();
        }),
        ("messages[1].phone_number_id", |m| m.phone_number_id.clear()),
        ("messages[1].type", |m| m.r#type = 7),
        ("messages[1].ciphertext", |m| {
            m.ciphertext = vec![0; 128 * 1024 + 1].into();
        }),
    ];
    for (field, spoil) in cases {
        let mut request = wire::SubmitMessagesRequest {
            messages: vec![message(1), message(2)],
        };
        spoil(&mut request.messages[1]);
        assert_eq!(
            field_of(fixture.device.submit_messages(of(&device, request)).await),
            field
        );
    }
    let many = wire::SubmitMessagesRequest {
        messages: vec![message(1); 257],
    };
    assert_eq!(
        field_of(fixture.device.submit_messages(of(&device, many)).await),
        "messages"
    );

    let unspecified = receipt(1, wire::ReceiptKind::Unspecified);
    let answer = fixture.device.send_receipts(of(&device, unspecified)).await;
    assert_eq!(field_of(answer), "receipts[0].kind");
    let retry = wire::RequestRetryRequest {
        failed_attempt: 5,
        ..Default::default()
    };
    assert_eq!(
        field_of(fixture.device.request_retry(of(&device, retry)).await),
        "failed_attempt"
    );

    let mut receiving = Receiving::start(&fixture, &device).await;
    receiving.said.send(Ok(vec![u64::MAX])).await.unwrap();
    assert_eq!(field_of(receiving.page().await), "acknowledge");
}
