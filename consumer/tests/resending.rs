//! Messages that the business could not decrypt, and asks for again.
#![allow(clippy::unwrap_used)]

mod double;

use sealpost_consumer::{Client, EventKind, PhoneNumber, PhoneNumberId, State, content};
use sealpost_proto::relay::v1::DeviceMessage;

use double::{BUSINESS, NUMBER, World, business::Business, event, soon};

fn shop() -> PhoneNumber {
    BUSINESS.parse().unwrap()
}

fn number() -> PhoneNumberId {
    NUMBER.parse().unwrap()
}

/// One message that the business could not read, whatever it was.
async fn sent(world: &World, client: &Client, words: &str) -> DeviceMessage {
    let to = if world.relay.inner().envelopes.is_empty() {
        shop().into()
    } else {
        sealpost_consumer::Business::from(number())
    };
    client.send(to, &content::text(words)).await.unwrap();
    world.relay.take_inbound(1).await.remove(0)
}

async fn again(world: &World, failed: &DeviceMessage) -> DeviceMessage {
    world.relay.ask_again(failed);
    let again = world.relay.take_inbound(1).await.remove(0);
    assert_eq!(again.envelope_id, failed.envelope_id);
    assert_eq!(again.attempt, failed.attempt + 1);
    assert_ne!(again.ciphertext, failed.ciphertext);
    again
}

fn failed_of(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::SendFailed { message_id, .. } => Some(message_id.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn a_message_comes_again_under_its_id_and_from_the_second_try_on_by_a_fresh_session() {
    let mut world = World::new().await;
    let client = world.device().await;
    let first = sent(&world, &client, "hello").await;
    let id = world.business.read(&first).message_id;
    world.say(1, "so the session is answered");
    double::text(&client).await;

    let lost = sent(&world, &client, "lost words").await;
    assert_eq!(lost.r#type, 2);
    let second = again(&world, &lost).await;
    assert_eq!(second.r#type, 2, "the session may be well");
    let third = again(&world, &second).await;
    assert_eq!(third.r#type, 3, "a fresh session");
    let (before, after) = (world.business.read(&second), world.business.read(&third));
    assert_eq!(before.message_id, after.message_id);
    assert_ne!(after.message_id, id);
    assert_eq!(before.time, after.time);
    assert_eq!(
        world.business.read_text(&again(&world, &third).await),
        "lost words"
    );
    soon(client.flush()).await.unwrap();
}

#[tokio::test]
async fn messages_that_failed_under_one_session_share_the_fresh_one() {
    let mut world = World::new().await;
    let client = world.device().await;
    let first = sent(&world, &client, "hello").await;
    world.business.read(&first);
    let mut lost = Vec::new();
    for words in ["one", "two", "three"] {
        let message = sent(&world, &client, words).await;
        lost.push(again(&world, &message).await);
    }
    let bundles = world.relay.inner().bundles.len();
    for (failed, words) in lost.iter().zip(["one", "two", "three"]) {
        let resent = again(&world, failed).await;
        assert_eq!(world.business.read_text(&resent), words);
    }
    assert_eq!(world.relay.inner().bundles.len(), bundles - 1);
}

#[tokio::test]
async fn after_five_tries_the_person_learns_that_a_message_will_not_arrive() {
    let world = World::new().await;
    let client = world.device().await;
    let mut message = sent(&world, &client, "hello").await;
    for _ in 0..5 {
        message = again(&world, &message).await;
    }
    world.relay.ask_again(&message);
    let told = event(&client).await;
    assert!(failed_of(&told.kind).is_some(), "{told:?}");
    // It is not kept any more.
    world.relay.ask_again(&message);
    soon(client.flush()).await.unwrap();
    assert!(world.relay.inner().inbound.is_empty());
}

#[tokio::test]
async fn a_relay_that_hands_out_another_identity_key_gets_no_message_sealed_for_it() {
    let mut world = World::new().await;
    let client = world.device().await;
    let first = sent(&world, &client, "hello").await;
    world.business.read(&first);
    let secret = sent(&world, &client, "for the pinned key alone").await;
    let pinned = client.pinned_identity(&number()).await;
    let second = again(&world, &secret).await;
    world.relay.inner().bundles = Business::new(2).bundles().into();
    world.relay.ask_again(&second);
    let told = event(&client).await;
    assert!(failed_of(&told.kind).is_some(), "{told:?}");
    assert!(world.relay.inner().inbound.is_empty());
    assert_eq!(client.pinned_identity(&number()).await, pinned);

    // Nor when it gets the other key pinned first: the message was written to the former one.
    let secret = sent(&world, &client, "for the former key").await;
    let mut other = Business::new(2);
    let upload = world.relay.take_bundle();
    other.start(&upload);
    world
        .relay
        .enqueue(other.write_text(9, "hello from the other"));
    let told = event(&client).await;
    assert!(matches!(told.kind, EventKind::IdentityChanged { .. }));
    double::text(&client).await;
    world.relay.ask_again(&secret);
    let told = event(&client).await;
    assert!(failed_of(&told.kind).is_some(), "{told:?}");
    assert!(world.relay.inner().inbound.is_empty());
}

#[tokio::test]
async fn requests_out_of_turn_and_for_unknown_messages_change_nothing() {
    let mut world = World::new().await;
    let client = world.device().await;
    let message = sent(&world, &client, "hello").await;
    let second = again(&world, &message).await;
    let never_made = DeviceMessage {
        attempt: 3,
        ..message.clone()
    };
    let unknown = DeviceMessage {
        envelope_id: vec![9; 16].into(),
        ..message.clone()
    };
    let short = DeviceMessage {
        envelope_id: vec![9; 15].into(),
        ..message.clone()
    };
    for request in [&message, &never_made, &unknown, &short] {
        world.relay.ask_again(request);
    }
    world.relay.until(|relay| relay.requests.is_empty()).await;
    soon(client.flush()).await.unwrap();
    assert!(world.relay.inner().inbound.is_empty());
    assert_eq!(world.business.read_text(&second), "hello");
}

#[tokio::test]
async fn requests_survive_a_restart_and_what_was_taken_is_kept_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let client = world.connect(world.registered(State::open(&path).unwrap()).await);
    let message = sent(&world, &client, "hello").await;
    let second = again(&world, &message).await;
    // The fresh session cannot be begun yet: the request waits in the state.
    world.relay.inner().down = true;
    world.relay.ask_again(&second);
    world.relay.until(|relay| relay.requests.is_empty()).await;
    drop(client.close().await.unwrap());
    world.relay.inner().down = false;
    let client = world.connect(State::open(&path).unwrap());
    let third = world.relay.take_inbound(1).await.remove(0);
    assert_eq!(third.attempt, 2);
    assert_eq!(world.business.read_text(&third), "hello");

    let id = third.envelope_id.to_vec();
    world.relay.inner().taken.insert(id);
    // The device asks by itself soon after it handed something over.
    soon(async {
        let mut failed = third.clone();
        loop {
            world.relay.ask_again(&failed);
            world.relay.until(|relay| relay.requests.is_empty()).await;
            soon(client.flush()).await.unwrap();
            match world.relay.inner().inbound.pop_front() {
                None => break,
                Some(next) => failed = next,
            }
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        }
    })
    .await;
}
