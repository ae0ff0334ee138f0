//! Whole conversations between a device and a business, through a relay in memory.
#![allow(clippy::unwrap_used)]

mod double;

use double::{BUSINESS, NUMBER, World, event, message, soon, text};
use sealpost_consumer::{
    ConsumerError, EventKind, PhoneNumber, PhoneNumberId, SignalFault, State, content,
};
use sealpost_proto::relay::v1::{DeviceEnvelope, ReceiptKind};

fn shop() -> PhoneNumber {
    BUSINESS.parse().unwrap()
}

fn number() -> PhoneNumberId {
    NUMBER.parse().unwrap()
}

fn receipts(world: &World, kind: ReceiptKind) -> Vec<u8> {
    let inner = world.relay.inner();
    inner
        .receipts
        .iter()
        .filter(|receipt| receipt.kind() == kind)
        .map(|receipt| receipt.message_id[0])
        .collect()
}

#[tokio::test]
async fn words_go_both_ways_and_receipts_follow() {
    let mut world = World::new().await;
    let client = world.device().await;
    client
        .send(shop(), &content::text("are you open?"))
        .await
        .unwrap();
    assert_eq!(world.heard(1).await, ["are you open?"]);

    world.say(1, "until six");
    let answer = message(&client).await;
    assert_eq!(double::text_of(&answer), "until six");
    assert_eq!(answer.phone_number_id, number());
    assert_eq!(answer.category.name(), "utility");
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [1]);

    client
        .mark_read(&answer.phone_number_id, answer.message_id)
        .await
        .unwrap();
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Read), [1]);

    client
        .send(number(), &content::text("thanks"))
        .await
        .unwrap();
    assert_eq!(world.heard(1).await, ["thanks"]);
    world.relay.until(|relay| relay.acknowledged == [1]).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_business_may_write_first() {
    let mut world = World::new().await;
    let client = world.device().await;
    world.say_first(1, "your parcel is here");
    assert_eq!(text(&client).await, "your parcel is here");
    world.say(2, "come and get it");
    assert_eq!(text(&client).await, "come and get it");
    client
        .send(number(), &content::text("coming"))
        .await
        .unwrap();
    assert_eq!(world.heard(1).await, ["coming"]);
}

#[tokio::test]
async fn messages_that_change_places_are_all_shown() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    let written: Vec<_> = (1..=6)
        .map(|id| world.business.write_text(id, &format!("line {id}")))
        .collect();
    for place in [5, 0, 3, 1, 4, 2] {
        world.relay.enqueue(written[place].clone());
    }
    let mut shown = Vec::new();
    for _ in 0..6 {
        shown.push(text(&client).await);
    }
    assert_eq!(
        shown,
        ["line 6", "line 1", "line 4", "line 2", "line 5", "line 3"]
    );
}

#[tokio::test]
async fn both_may_start_at_once() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("mine 1")).await.unwrap();
    world.say_first(1, "theirs 1");
    assert_eq!(text(&client).await, "theirs 1");
    assert_eq!(world.heard(1).await, ["mine 1"]);
    for round in 2..6u8 {
        client
            .send(shop(), &content::text(format!("mine {round}")))
            .await
            .unwrap();
        world.say(round, &format!("theirs {round}"));
        assert_eq!(text(&client).await, format!("theirs {round}"));
        assert_eq!(world.heard(1).await, [format!("mine {round}")]);
    }
}

#[tokio::test]
async fn many_messages_of_one_call_arrive_in_order() {
    let mut world = World::new().await;
    let client = world.device().await;
    let contents: Vec<_> = (0..300).map(|n| content::text(format!("{n}"))).collect();
    let ids = client.send_many(shop(), &contents).await.unwrap();
    assert_eq!(ids.len(), 300);
    let heard = world.heard(300).await;
    assert_eq!(heard, (0..300).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_duplicate_is_acknowledged_and_receipted_but_not_shown() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    let envelope = world.business.write_text(1, "once");
    // The same words under a fresh message key: an attempt that the relay did not know to drop.
    let again = DeviceEnvelope {
        attempt: 1,
        ..world.business.write_text(1, "once")
    };
    for envelope in [envelope.clone(), envelope, again] {
        world.relay.enqueue(envelope);
        world.relay.until(|relay| relay.queue.is_empty()).await;
        soon(client.flush()).await.unwrap();
    }
    world.say(2, "next");
    assert_eq!(text(&client).await, "once");
    assert_eq!(text(&client).await, "next");
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [1, 1, 1, 2]);
    assert!(world.relay.inner().retries.is_empty());
}

#[tokio::test]
async fn lost_acknowledgements_bring_everything_again_and_show_nothing_twice() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    world.relay.inner().deaf = true;
    world.say(1, "one");
    world.say(2, "two");
    assert_eq!(text(&client).await, "one");
    assert_eq!(text(&client).await, "two");
    world.relay.inner().deaf = false;
    world.relay.kick();
    world.relay.until(|relay| relay.queue.is_empty()).await;
    world.say(3, "three");
    assert_eq!(text(&client).await, "three");
}

#[tokio::test]
async fn what_cannot_be_decrypted_is_asked_for_again() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    let mut broken = world.business.write_text(1, "lost words");
    let mut bytes = broken.ciphertext.to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    broken.ciphertext = bytes.into();
    world.relay.enqueue(broken);
    let told = event(&client).await;
    assert!(
        matches!(
            told.kind,
            EventKind::Undecryptable {
                attempt: 0,
                last: false,
                ..
            }
        ),
        "{told:?}"
    );
    world
        .relay
        .until(|relay| relay.retries.len() == 1 && relay.queue.is_empty())
        .await;
    let asked = world.relay.inner().retries[0].clone();
    assert_eq!(
        (
            &*asked.phone_number_id,
            &*asked.message_id,
            asked.failed_attempt
        ),
        (NUMBER, &[1; 16][..], 0)
    );
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [0u8; 0]);

    let again = DeviceEnvelope {
        attempt: 1,
        ..world.business.write_text(1, "lost words")
    };
    world.relay.enqueue(again);
    assert_eq!(text(&client).await, "lost words");
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [1]);
}

#[tokio::test]
async fn a_frame_that_speaks_of_another_message_leaves_the_session_unchanged() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    let right = world.business.write_text(1, "words");
    let wrong = DeviceEnvelope {
        message_id: vec![9; 16].into(),
        ..right.clone()
    };
    let wrong_number = DeviceEnvelope {
        phone_number_id: "999".into(),
        ..right.clone()
    };
    world.relay.enqueue(wrong);
    world.relay.enqueue(wrong_number);
    assert!(matches!(
        event(&client).await.kind,
        EventKind::Undecryptable { .. }
    ));
    assert!(matches!(
        event(&client).await.kind,
        EventKind::Undecryptable { .. }
    ));
    world.relay.enqueue(right);
    assert_eq!(text(&client).await, "words");
    world.relay.until(|relay| relay.retries.len() == 2).await;
}

#[tokio::test]
async fn a_changed_identity_is_told_before_its_first_message_and_pinned() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    world.say(1, "old key");
    assert_eq!(text(&client).await, "old key");
    let pinned = client.pinned_identity(&number()).await.unwrap();

    world.business = double::business::Business::new(2);
    world.relay.inner().bundles = world.business.bundles().into();
    world.say_first(2, "new key");
    let told = event(&client).await;
    let EventKind::IdentityChanged { identity_key, .. } = told.kind else {
        panic!("{told:?}")
    };
    assert_ne!(identity_key, pinned);
    assert_eq!(client.pinned_identity(&number()).await, Some(identity_key));
    assert_eq!(text(&client).await, "new key");
    client
        .send(number(), &content::text("who are you?"))
        .await
        .unwrap();
    assert_eq!(world.heard(1).await, ["who are you?"]);
}

#[tokio::test]
async fn an_unknown_business_is_an_error() {
    let world = World::new().await;
    let client = world.device().await;
    let nobody: PhoneNumber = "15551112222".parse().unwrap();
    let error = client
        .send(nobody, &content::text("hello"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            ConsumerError::Relay {
                code: tonic::Code::NotFound,
                ..
            }
        ),
        "{error:?}"
    );
    let stranger: PhoneNumberId = "42".parse().unwrap();
    let error = client
        .send(stranger, &content::text("hello"))
        .await
        .unwrap_err();
    assert!(matches!(error, ConsumerError::BusinessUnknown), "{error:?}");
}

#[tokio::test]
async fn a_bundle_with_a_key_of_low_order_is_refused() {
    use prost::Message;
    use sealpost_proto::signal::v1::BundleStatement;
    type Spoil = fn(&mut BundleStatement, bytes::Bytes);
    let spoils: [Spoil; 3] = [
        |statement, low| statement.identity_key = low,
        |statement, low| {
            statement.devices[0]
                .signed_prekey
                .as_mut()
                .unwrap()
                .public_key = low;
        },
        |statement, low| {
            statement.devices[0]
                .one_time_prekey
                .as_mut()
                .unwrap()
                .public_key = low;
        },
    ];
    for spoil in spoils {
        let world = World::new().await;
        let client = world.device().await;
        {
            let mut inner = world.relay.inner();
            let signed = inner.bundles[0].bundle.as_mut().unwrap();
            let mut statement = BundleStatement::decode(signed.statement.clone()).unwrap();
            let mut low = vec![0; 33];
            low[0] = 5;
            spoil(&mut statement, low.into());
            signed.statement = statement.encode_to_vec().into();
        }
        let error = client
            .send(shop(), &content::text("hello"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ConsumerError::Signal(SignalFault::LowOrderKey)),
            "{error:?}"
        );
        // The next bundle is good: nothing of the refused one stayed.
        client.send(shop(), &content::text("hello")).await.unwrap();
    }
}

#[tokio::test]
async fn a_bundle_for_somebody_else_or_past_its_time_is_refused() {
    use prost::Message;
    use sealpost_proto::signal::v1::BundleStatement;
    type Spoil = fn(&mut BundleStatement);
    let spoils: [Spoil; 5] = [
        |statement| statement.requester = "15550002222".into(),
        |statement| statement.peer = "42".into(),
        |statement| statement.expires_at_ms = 1_700_000_000_000,
        |statement| statement.domain = "other".into(),
        |statement| statement.devices[0].kem_prekey = None,
    ];
    for spoil in spoils {
        let world = World::new().await;
        let client = world.device().await;
        {
            let mut inner = world.relay.inner();
            let signed = inner.bundles[0].bundle.as_mut().unwrap();
            let mut statement = BundleStatement::decode(signed.statement.clone()).unwrap();
            spoil(&mut statement);
            signed.statement = statement.encode_to_vec().into();
        }
        let error = client
            .send(shop(), &content::text("hello"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, ConsumerError::Signal(SignalFault::Bundle)),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn prekeys_are_refilled_when_they_run_low() {
    let mut world = World::new().await;
    let state = world.registered(State::in_memory()).await;
    {
        let mut inner = world.relay.inner();
        let upload = inner.upload.as_mut().unwrap();
        assert_eq!(
            (upload.one_time_prekeys.len(), upload.kem_prekeys.len()),
            (100, 40)
        );
        upload.one_time_prekeys.truncate(20);
        upload.kem_prekeys.truncate(21);
    }
    let client = world.connect(state);
    // Each first message spends one of both kinds.
    world.say_first(1, "one");
    assert_eq!(text(&client).await, "one");
    world.relay.until(|relay| relay.refills.len() == 1).await;
    {
        let inner = world.relay.inner();
        assert_eq!(inner.refills[0].one_time_prekeys.first().unwrap().id, 101);
        assert_eq!(inner.refills[0].one_time_prekeys.len(), 81);
        assert!(inner.refills[0].kem_prekeys.is_empty());
        assert!(inner.refills[0].signed_prekey.is_none());
    }
    // A session from refilled prekeys opens.
    world
        .relay
        .inner()
        .upload
        .as_mut()
        .unwrap()
        .one_time_prekeys
        .drain(..19);
    world.business = double::business::Business::new(3);
    world.say_first(2, "two");
    assert!(matches!(
        event(&client).await.kind,
        EventKind::IdentityChanged { .. }
    ));
    assert_eq!(text(&client).await, "two");
}

#[tokio::test]
async fn signed_prekeys_are_renewed_after_a_week_and_the_old_ones_still_open() {
    let mut world = World::new().await;
    let state = world.registered(State::in_memory()).await;
    let old = world.relay.take_bundle();
    world
        .clock
        .advance(std::time::Duration::from_secs(8 * 24 * 3600));
    let client = world.connect(state);
    world.relay.until(|relay| relay.refills.len() == 1).await;
    {
        let inner = world.relay.inner();
        let refill = &inner.refills[0];
        assert_ne!(
            refill.signed_prekey.as_ref().unwrap().id,
            old.signed_prekey.as_ref().unwrap().id
        );
        assert_eq!(refill.last_resort_kem_prekey.as_ref().unwrap().id, 42);
    }
    world.business.start(&old);
    world.say(1, "from an old bundle");
    assert_eq!(text(&client).await, "from an old bundle");
}

#[tokio::test]
async fn a_device_whose_token_is_refused_stops() {
    let world = World::new().await;
    let state = world.registered(State::in_memory()).await;
    world.relay.inner().refuse = true;
    let client = world.connect(state);
    assert!(matches!(
        soon(client.receive()).await,
        Err(ConsumerError::Closed)
    ));
    assert_eq!(client.connection(), sealpost_consumer::Connection::Refused);
}

#[tokio::test]
async fn a_wrong_code_registers_nothing_and_the_next_try_keeps_the_keys() {
    let world = World::new().await;
    let mut state = State::in_memory();
    let phone: PhoneNumber = double::CONSUMER.parse().unwrap();
    let way = world.way();
    let refused = sealpost_consumer::register(&way, &mut state, &world.clock, &phone, async |_| {
        "000000".parse()
    });
    assert!(matches!(
        refused.await,
        Err(ConsumerError::Relay {
            code: tonic::Code::PermissionDenied,
            ..
        })
    ));
    assert!(state.registration().is_none());
    let key = state.identity_key();
    let state = world.registered(state).await;
    assert_eq!(state.identity_key(), key);
    assert_eq!(state.registration().unwrap().device_id, 1);
}

#[tokio::test]
async fn a_message_to_a_vanished_number_ends_as_an_event() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();
    world.relay.inner().vanished = true;
    let sent = client
        .send(number(), &content::text("still there?"))
        .await
        .unwrap();
    let told = event(&client).await;
    assert!(
        matches!(&told.kind, EventKind::SendFailed { message_id, .. } if *message_id == sent),
        "{told:?}"
    );
    soon(client.flush()).await.unwrap();
}

#[tokio::test]
async fn a_full_queue_holds_messages_back_and_nothing_else() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("first")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();
    world.relay.inner().full = 3;
    client
        .send(number(), &content::text("second"))
        .await
        .unwrap();
    world.relay.until(|relay| relay.full < 3).await;
    world.say(1, "meanwhile");
    assert_eq!(text(&client).await, "meanwhile");
    world.relay.until(|relay| relay.receipts.len() == 1).await;
    assert_eq!(world.heard(1).await, ["second"]);
}

#[tokio::test]
async fn a_receipt_that_the_relay_refuses_does_not_take_others_with_it() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();
    {
        let mut inner = world.relay.inner();
        inner.forgotten = vec![2];
        inner.down = true;
    }
    for id in 1..=3 {
        world.say(id, "words");
        text(&client).await;
    }
    world.relay.inner().down = false;
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [1, 3]);
}

#[tokio::test]
async fn receipts_go_with_acknowledgements_where_the_relay_takes_them_there() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();
    {
        let mut inner = world.relay.inner();
        inner.takes_receipts = true;
        inner.forgotten = vec![2];
    }
    for id in 1..=3 {
        world.say(id, "words");
        text(&client).await;
    }
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [1, 3]);
    assert_eq!(world.relay.inner().said_on_stream, 2);
}

#[tokio::test]
async fn a_receipt_of_which_the_relay_did_not_tell_is_said_again_when_the_stream_ended() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();
    {
        let mut inner = world.relay.inner();
        inner.takes_receipts = true;
        inner.deaf_to_receipts = true;
    }
    world.say(1, "words");
    text(&client).await;
    world.relay.until(|relay| relay.acknowledged == [1]).await;
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [0_u8; 0]);
    world.relay.inner().deaf_to_receipts = false;
    world.relay.kick();
    soon(client.flush()).await.unwrap();
    assert_eq!(receipts(&world, ReceiptKind::Delivered), [1]);
}

#[tokio::test]
async fn the_last_attempt_ends_it_and_the_business_is_told() {
    let mut world = World::new().await;
    let client = world.device().await;
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    for attempt in 0..=5 {
        let mut broken = world.business.write_text(1, "words");
        broken.attempt = attempt;
        broken.ciphertext = broken.ciphertext.slice(1..);
        world.relay.enqueue(broken);
        let told = event(&client).await;
        let EventKind::Undecryptable {
            attempt: failed,
            last,
            ..
        } = told.kind
        else {
            panic!("{told:?}")
        };
        assert_eq!((failed, last), (attempt, attempt == 5));
    }
    soon(client.flush()).await.unwrap();
    let asked: Vec<_> = world
        .relay
        .inner()
        .retries
        .iter()
        .map(|retry| retry.failed_attempt)
        .collect();
    assert_eq!(asked, [0, 1, 2, 3, 4, 5]);
    world.relay.until(|relay| relay.queue.is_empty()).await;
}
