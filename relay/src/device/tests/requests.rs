//! Messages of devices that their business asks for again.

use sealpost_proto::relay::v1::{
    EnvelopeState::{Taken, Unknown, Waiting},
    platform_service_server::PlatformService,
};

use super::{handover::message, *};
use crate::ids::{CollectorName, StreamToken};

async fn hand_over(fixture: &Fixture, device: &DeviceIdentity, id: u8, attempt: u32) {
    let message = wire::DeviceMessage {
        attempt,
        ciphertext: vec![id, u8::try_from(attempt).unwrap()].into(),
        ..message(id)
    };
    let request = wire::SubmitMessagesRequest {
        messages: vec![message],
    };
    let answer = fixture.device.submit_messages(of(device, request)).await;
    let outcomes: Vec<_> = answer.unwrap().into_inner().outcomes().collect();
    assert_eq!(outcomes, [wire::SubmitMessageOutcome::Accepted]);
}

async fn ask(fixture: &Fixture, peer: &str, id: u8, failed_attempt: u32) -> Result<bool, Status> {
    let request = wire::RequestEnvelopeRequest {
        phone_number_id: NUMBER.into(),
        peer: peer.into(),
        device_id: 1,
        envelope_id: vec![id; 16].into(),
        failed_attempt,
    };
    let answer = fixture.platform.request_envelope(Request::new(request));
    Ok(answer.await?.into_inner().given_up)
}

/// The gateway takes everything, and answers what it took: envelope, attempt.
async fn collect(fixture: &Fixture) -> Vec<(u8, u32)> {
    let datastore = &fixture.relay.datastore;
    let (name, stream) = (CollectorName::parse("a").unwrap(), StreamToken(1));
    let now = fixture.now();
    let opened = datastore.collector_open(name.clone(), stream, now);
    opened.await.unwrap();
    let found = datastore.collect(name.clone(), stream, 100, now);
    let found = found.await.unwrap();
    let ids = found.0.iter().map(|one| one.queue_id).collect();
    let done = found.0.iter().map(|one| one.conversation.clone()).collect();
    let told = datastore.forget_collected(ids, done, name, stream, 0, now);
    told.await.unwrap();
    let read = |one: &crate::datastore::Collected| match &one.inbound.item {
        Some(wire::inbound::Item::Envelope(envelope)) => {
            assert_eq!(envelope.ciphertext[1], envelope.attempt as u8);
            (envelope.envelope_id[0], envelope.attempt)
        }
        other => panic!("{other:?}"),
    };
    found.0.iter().map(read).collect()
}

async fn states(
    fixture: &Fixture,
    device: &DeviceIdentity,
    ids: &[u8],
) -> Vec<wire::EnvelopeState> {
    let request = wire::CheckEnvelopesRequest {
        envelope_ids: ids.iter().map(|id| vec![*id; 16].into()).collect(),
    };
    let answer = fixture.device.check_envelopes(of(device, request)).await;
    answer.unwrap().into_inner().states().collect()
}

#[tokio::test]
async fn a_message_is_asked_for_again_attempt_by_attempt_and_five_times_at_most() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let (said, hears) = mpsc::channel(8);
    let stream = receive::start(
        fixture.relay.clone(),
        device.clone(),
        ReceiverStream::new(hears),
        CancellationToken::new(),
    );
    let mut pages = stream.await.unwrap();

    for attempt in 0..=5 {
        hand_over(&fixture, &device, 7, attempt).await;
        hand_over(&fixture, &device, 7, attempt).await;
        assert_eq!(collect(&fixture).await, [(7, attempt)]);
        for _ in 0..2 {
            let given_up = ask(&fixture, PEER, 7, attempt).await.unwrap();
            assert_eq!(given_up, attempt == 5);
        }
        let page = timeout(Duration::from_secs(10), pages.next()).await;
        let page = page.unwrap().unwrap().unwrap();
        assert!(page.envelopes.is_empty());
        let [request] = page.requests.as_slice() else {
            panic!("{page:?}");
        };
        assert_eq!(request.phone_number_id, NUMBER);
        assert_eq!(
            (request.envelope_id[0], request.failed_attempt),
            (7, attempt)
        );
        said.send(Ok(wire::ReceiveRequest {
            acknowledge: vec![request.queue_id],
            receipts: Vec::new(),
        }))
        .await
        .unwrap();
    }
    // An attempt that another one followed was answered long ago.
    assert!(!ask(&fixture, PEER, 7, 3).await.unwrap());
    let more = timeout(Duration::from_millis(200), pages.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn only_what_a_device_handed_over_for_the_number_can_be_asked_of_it() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    fixture.register(OTHER, 2, 1).await;
    hand_over(&fixture, &device, 7, 0).await;
    let unknown = (GrpcCode::NotFound, "MESSAGE_UNKNOWN".into());
    for (peer, id, attempt) in [
        (OTHER, 7, 0),
        (PEER, 8, 0),
        (PEER, 7, 1),
        ("4915100000000", 7, 0),
    ] {
        assert_eq!(refused(ask(&fixture, peer, id, attempt).await), unknown);
    }
    let elsewhere = wire::RequestEnvelopeRequest {
        phone_number_id: "1".into(),
        peer: PEER.into(),
        device_id: 1,
        envelope_id: vec![7; 16].into(),
        failed_attempt: 0,
    };
    let answer = fixture.platform.request_envelope(Request::new(elsewhere));
    assert_eq!(refused(answer.await), unknown);
    assert_eq!(field_of(ask(&fixture, PEER, 7, 6).await), "failed_attempt");
    // After the message's time nobody is asked for it.
    fixture.clock.advance(Duration::from_secs(30 * 24 * 3600));
    assert_eq!(refused(ask(&fixture, PEER, 7, 0).await), unknown);
}

#[tokio::test]
async fn a_device_learns_what_it_need_not_keep_any_more() {
    let fixture = Fixture::new().await;
    fixture.number(1, 1).await;
    let device = fixture.register(PEER, 1, 1).await;
    let other = fixture.register(OTHER, 2, 1).await;
    hand_over(&fixture, &device, 1, 0).await;
    assert_eq!(states(&fixture, &device, &[1, 9]).await, [Waiting, Unknown]);
    assert_eq!(states(&fixture, &other, &[1]).await, [Unknown]);
    // The gateway asks before it acknowledges: in between and after, the message is not taken.
    ask(&fixture, PEER, 1, 0).await.unwrap();
    assert_eq!(collect(&fixture).await, [(1, 0)]);
    assert_eq!(states(&fixture, &device, &[1]).await, [Waiting]);
    hand_over(&fixture, &device, 1, 1).await;
    assert_eq!(states(&fixture, &device, &[1]).await, [Waiting]);
    assert_eq!(collect(&fixture).await, [(1, 1)]);
    assert_eq!(states(&fixture, &device, &[1]).await, [Taken]);

    let many = wire::CheckEnvelopesRequest {
        envelope_ids: vec![vec![1; 16].into(); 257],
    };
    let answer = fixture.device.check_envelopes(of(&device, many)).await;
    assert_eq!(field_of(answer), "envelope_ids");
}
