//! The terminal chat, driven as a person and as a program would.
#![allow(clippy::unwrap_used)]

mod double;

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use double::{BUSINESS, World, soon};
use sealpost_consumer::{
    chat::{Form, chat, listen},
    content,
    content_v1::content::Body,
};
use sealpost_proto::relay::v1::ReceiptKind;
use tokio::io::{AsyncWriteExt, BufReader, DuplexStream};

/// An output that can be read while it is written.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Screen {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    async fn until(&self, wanted: &str) {
        soon(async {
            while !self.text().contains(wanted) {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

struct Stage {
    world: World,
    keyboard: DuplexStream,
    screen: Screen,
    chat: tokio::task::JoinHandle<()>,
}

async fn stage(form: Form) -> Stage {
    let world = World::new().await;
    let client = world.device().await;
    let (keyboard, input) = tokio::io::duplex(4096);
    let screen = Screen::default();
    let output = screen.clone();
    let chat = tokio::spawn(async move {
        let with = BUSINESS.parse().unwrap();
        chat(
            &client,
            &with,
            BufReader::new(input),
            output,
            form,
            std::future::pending(),
        )
        .await
        .unwrap();
        client.close().await.unwrap();
    });
    Stage {
        world,
        keyboard,
        screen,
        chat,
    }
}

impl Stage {
    async fn type_line(&mut self, line: &str) {
        self.keyboard.write_all(line.as_bytes()).await.unwrap();
        self.keyboard.write_all(b"\n").await.unwrap();
    }

    async fn heard(&mut self) -> Body {
        let messages = self.world.relay.take_inbound(1).await;
        self.world.business.read_content(&messages[0]).body.unwrap()
    }
}

#[tokio::test]
async fn a_person_talks_reads_and_reacts() {
    let mut stage = stage(Form::Text).await;
    stage.type_line("/react 👍").await;
    stage.screen.until("! there is no message yet").await;
    stage.type_line("  hello  ").await;
    assert!(matches!(stage.heard().await, Body::Text(text) if text.body == "hello"));
    stage.world.say(1, "good\u{1b}[31m morning");
    stage
        .screen
        .until("Corner Shop: good\u{fffd}[31m morning\n")
        .await;

    stage.type_line("/react 👍").await;
    let Body::Reaction(reaction) = stage.heard().await else {
        panic!()
    };
    assert_eq!(
        (&*reaction.message_id, &*reaction.emoji),
        (&[1; 16][..], "👍")
    );
    stage.type_line("/location 52.5 13.4").await;
    assert!(matches!(stage.heard().await, Body::Location(place) if place.latitude == 52.5));
    stage.type_line("/read").await;
    let read =
        |receipt: &sealpost_proto::relay::v1::DeviceReceipt| receipt.kind() == ReceiptKind::Read;
    stage
        .world
        .relay
        .until(|relay| relay.receipts.iter().any(read))
        .await;
    stage.type_line("/nonsense").await;
    stage.screen.until("! no such command").await;
    stage.type_line("/quit").await;
    soon(stage.chat).await.unwrap();
}

#[tokio::test]
async fn a_program_talks_in_json_lines() {
    let mut stage = stage(Form::JsonLines).await;
    stage.type_line(r#"{"do":"text","body":"{hello}"}"#).await;
    assert!(matches!(stage.heard().await, Body::Text(text) if text.body == "{hello}"));
    stage.world.say(1, "line\nbreak");
    stage.screen.until(r#""body":"line\nbreak""#).await;
    let id = "wamid.AQEBAQEBAQEBAQEBAQEBAQ";
    stage
        .type_line(&format!(
            r#"{{"do":"react","emoji":"👍","message_id":"{id}"}}"#
        ))
        .await;
    assert!(matches!(stage.heard().await, Body::Reaction(_)));
    stage.type_line("{nonsense").await;
    stage.screen.until(r#""event":"error""#).await;
    // The end of the input ends the conversation, after the last words are out.
    stage.type_line("bye").await;
    let Stage {
        mut world,
        keyboard,
        screen,
        chat,
    } = stage;
    drop(keyboard);
    soon(chat).await.unwrap();
    assert_eq!(world.heard(1).await, ["bye"]);
    let events: Vec<serde_json::Value> = screen
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["sent", "message", "sent", "error", "sent"]);
    assert_eq!(events[1]["message_id"], id);
}

#[tokio::test]
async fn a_listener_writes_so_many_events_and_ends() {
    let mut world = World::new().await;
    let client = world.device().await;
    client
        .send(
            BUSINESS.parse::<sealpost_consumer::PhoneNumber>().unwrap(),
            &content::text("hello"),
        )
        .await
        .unwrap();
    world.heard(1).await;
    world.say(1, "one");
    world.say(2, "two");
    let screen = Screen::default();
    soon(listen(
        &client,
        screen.clone(),
        Some(2),
        std::future::pending(),
    ))
    .await
    .unwrap();
    assert_eq!(screen.text().lines().count(), 2);
    soon(listen(&client, screen.clone(), None, async {}))
        .await
        .unwrap();
    let state = client.close().await.unwrap();
    let client = world.connect(state);
    world.say(3, "three");
    assert_eq!(double::text(&client).await, "three");
}
