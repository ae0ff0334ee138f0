//! What devices hand over, and say about messages.

use super::*;

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
            .all_inbound(fixture.now())
            .await
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
            .all_inbound(fixture.now())
            .await
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
    let passed = fixture.relay.datastore.all_inbound(fixture.now()).await;
    let kinds = passed.iter().map(|one| match &one.item {
        Some(wire::inbound::Item::Receipt(receipt)) => (receipt.message_id[0], receipt.kind()),
        other => panic!("{other:?}"),
    });
    assert_eq!(
        kinds.collect::<Vec<_>>(),
        [(1, Delivered), (1, Read), (2, Read)]
    );
}

pub(super) fn message(envelope_id: u8) -> wire::DeviceMessage {
    wire::DeviceMessage {
        envelope_id: vec![envelope_id; 16].into(),
        phone_number_id: NUMBER.into(),
        r#type: 3,
        ciphertext: vec![envelope_id; 40].into(),
        attempt: 0,
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
    let kept = fixture.relay.datastore.all_inbound(fixture.now()).await;
    assert_eq!(kept.len(), 2);
    let Some(wire::inbound::Item::Envelope(envelope)) = &kept[0].item else {
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
            .all_inbound(fixture.now())
            .await
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
        failed_attempt: 6,
        ..Default::default()
    };
    assert_eq!(
        field_of(fixture.device.request_retry(of(&device, retry)).await),
        "failed_attempt"
    );

    let mut receiving = Receiving::start(&fixture, &device).await;
    let request = wire::ReceiveRequest {
        acknowledge: vec![u64::MAX],
        receipts: Vec::new(),
    };
    receiving.say(request).await;
    assert_eq!(field_of(receiving.page().await), "acknowledge");
}
