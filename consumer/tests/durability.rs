//! What a crash may take, and what lies on the disk.
#![allow(clippy::unwrap_used)]

mod double;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use double::{BUSINESS, CONSUMER, NUMBER, World, event, message, soon, text, text_of};
use sealpost_consumer::{EventKind, PhoneNumber, PhoneNumberId, State, content};

fn shop() -> PhoneNumber {
    BUSINESS.parse().unwrap()
}

fn number() -> PhoneNumberId {
    NUMBER.parse().unwrap()
}

/// The disk as a crash would leave it now.
fn image(path: &Path, to: &Path) -> PathBuf {
    fs::create_dir_all(to).unwrap();
    fs::copy(path, to.join("state")).unwrap();
    fs::copy(path.with_file_name("state.key"), to.join("state.key")).unwrap();
    to.join("state")
}

#[tokio::test]
async fn a_conversation_goes_on_after_the_state_was_reopened() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let mut state = world.registered(State::open(&path).unwrap()).await;
    for round in 0..4u8 {
        let client = world.connect(state);
        client
            .send(shop(), &content::text(format!("question {round}")))
            .await
            .unwrap();
        assert_eq!(world.heard(1).await, [format!("question {round}")]);
        world.say(round + 1, &format!("answer {round}"));
        assert_eq!(text(&client).await, format!("answer {round}"));
        drop(client.close().await.unwrap());
        state = State::open(&path).unwrap();
    }
}

#[tokio::test]
async fn an_unconfirmed_event_comes_again_and_a_confirmed_one_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let client = world.connect(world.registered(State::open(&path).unwrap()).await);
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    world.say(1, "confirmed");
    world.say(2, "only looked at");
    assert_eq!(text(&client).await, "confirmed");
    let looked_at = soon(client.receive()).await.unwrap();
    assert!(!looked_at.redelivered);
    drop(client.close().await.unwrap());

    let client = world.connect(State::open(&path).unwrap());
    let again = event(&client).await;
    assert!(again.redelivered);
    assert_eq!(again.sequence, looked_at.sequence);
    let EventKind::Message(message) = again.kind else {
        panic!()
    };
    assert_eq!(text_of(&message), "only looked at");
    world.say(3, "new");
    let new = event(&client).await;
    assert!(!new.redelivered && new.sequence > looked_at.sequence);
}

#[tokio::test]
async fn a_message_is_durable_with_its_session_before_the_relay_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let client = world.connect(world.registered(State::open(&path).unwrap()).await);
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();

    let images = Arc::new(Mutex::new(Vec::new()));
    let taken = images.clone();
    let (from, to) = (path.clone(), folder.path().to_owned());
    world.relay.inner().on_ack = Some(Box::new(move || {
        let mut images = taken.lock().unwrap();
        let place = to.join(format!("image-{}", images.len()));
        images.push(image(&from, &place));
    }));
    for id in 1..=3 {
        world.say(id, &format!("line {id}"));
        // Not confirmed: each image holds all of them.
        soon(client.receive()).await.unwrap();
    }
    world
        .relay
        .until(|relay| relay.acknowledged.len() == 3)
        .await;
    let next = world.business.write_text(4, "line 4");
    drop(client);

    let images = images.lock().unwrap().clone();
    assert_eq!(images.len(), 3);
    world.relay.inner().on_ack = None;
    for (place, image) in images.iter().enumerate() {
        // A device that crashed right after that acknowledgement.
        let client = world.connect(State::open(image).unwrap());
        for id in 1..=place + 1 {
            assert_eq!(text(&client).await, format!("line {id}"));
        }
        world.relay.enqueue(next.clone());
        assert_eq!(text(&client).await, "line 4");
        world.relay.until(|relay| relay.queue.is_empty()).await;
        drop(client.close().await.unwrap());
    }
}

#[tokio::test]
async fn sealed_messages_survive_a_restart_and_go_out_as_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let client = world.connect(world.registered(State::open(&path).unwrap()).await);
    client.send(shop(), &content::text("first")).await.unwrap();
    assert_eq!(world.heard(1).await, ["first"]);

    // The relay keeps the next ones, but the device never hears so; the double compares the bytes of every repeat.
    world.relay.inner().lose_answers = usize::MAX;
    for words in ["second", "third"] {
        client.send(number(), &content::text(words)).await.unwrap();
    }
    world
        .relay
        .until(|relay| relay.inbound.len() == 2 && relay.submitted > 3)
        .await;
    drop(client.close().await.unwrap());
    world.relay.inner().lose_answers = 0;

    let client = world.connect(State::open(&path).unwrap());
    soon(client.flush()).await.unwrap();
    client
        .send(number(), &content::text("fourth"))
        .await
        .unwrap();
    assert_eq!(world.heard(3).await, ["second", "third", "fourth"]);
}

#[tokio::test]
async fn receipts_and_retry_requests_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let client = world.connect(world.registered(State::open(&path).unwrap()).await);
    client.send(shop(), &content::text("hello")).await.unwrap();
    world.heard(1).await;
    soon(client.flush()).await.unwrap();
    world.relay.inner().down = true;
    let mut broken = world.business.write_text(2, "broken");
    broken.ciphertext = broken.ciphertext.slice(..broken.ciphertext.len() - 1);
    world.say(1, "good");
    world.relay.enqueue(broken);
    assert_eq!(text(&client).await, "good");
    assert!(matches!(
        event(&client).await.kind,
        EventKind::Undecryptable { .. }
    ));
    world.relay.until(|relay| relay.queue.is_empty()).await;
    drop(client.close().await.unwrap());
    world.relay.inner().down = false;

    let client = world.connect(State::open(&path).unwrap());
    soon(client.flush()).await.unwrap();
    let inner = world.relay.inner();
    assert_eq!(inner.receipts.len(), 1);
    assert_eq!(inner.retries.len(), 1);
    drop(inner);
    drop(client);
}

#[tokio::test]
async fn the_disk_shows_neither_words_nor_numbers_nor_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state");
    let mut world = World::new().await;
    let client = world.connect(world.registered(State::open(&path).unwrap()).await);
    world.relay.inner().lose_answers = usize::MAX;
    client
        .send(shop(), &content::text("sixteen horses"))
        .await
        .unwrap();
    world.heard(1).await;
    world.say(1, "ninety violins");
    message(&client).await;
    drop(client.close().await.unwrap());
    let mut looked = 0;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for secret in [
            "sixteen horses",
            "ninety violins",
            CONSUMER,
            BUSINESS,
            NUMBER,
            "token-of-the-device",
        ] {
            assert!(
                !bytes
                    .windows(secret.len())
                    .any(|window| window == secret.as_bytes()),
                "{secret}"
            );
        }
        looked += bytes.len();
    }
    assert!(looked > 100_000);
}
