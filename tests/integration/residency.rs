//! A number's records are in its region's store, and in no other's: looked for in the bytes of both. Moving a number to another
//! region moves all of them, and its conversations go on.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_proto::record::v1::Record;
use sealpost_proto::store::v1::ListEventsRequest;
use sealpost_proto::store::v1::store_service_client::StoreServiceClient;
use sealpost_runtime::Role;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::program::{Heard, Program};
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};
use serde_json::Value;

use super::at_rest::on_disk;
use super::{LATER, SOON};

const STORES: [&str; 2] = ["store-eu", "store-na"];

async fn suite() -> anyhow::Result<Suite> {
    Suite::up(Options {
        numbers: 2,
        regions: &["eu", "na"],
        ..Options::default()
    })
    .await
}

/// Every record that a store gives out of a number, once.
async fn records(suite: &Suite, store: &str, number: &str) -> anyhow::Result<Vec<Record>> {
    let mut store = StoreServiceClient::new(suite.as_role(Role::Gateway, store).await?);
    let request = ListEventsRequest {
        phone_number_id: number.to_owned(),
        after: 0,
        limit: 256,
        without_records: false,
    };
    let events = store.list_events(request).await?.into_inner().events;
    let mut found = Vec::<Record>::new();
    for record in events.into_iter().filter_map(|event| event.record) {
        if !found.contains(&record) {
            found.push(record);
        }
    }
    ensure!(!found.is_empty(), "no records");
    Ok(found)
}

/// Whether any trace of a number is on a store's disk: its name, its records' names, tags, or sealed bytes.
fn traces(
    suite: &Suite,
    store: &str,
    number: &str,
    records: &[Record],
) -> anyhow::Result<Vec<String>> {
    let mut found = Vec::new();
    if on_disk(suite, store, number.as_bytes())? {
        found.push("the number".to_owned());
    }
    for record in records {
        for (what, bytes) in [
            ("message id", &record.message_id),
            ("tag", &record.tag),
            ("sealed bytes", &record.sealed),
        ] {
            if on_disk(suite, store, bytes)? {
                found.push(format!("{what} of a {:?} record", record.direction()));
            }
        }
    }
    Ok(found)
}

/// A few messages each way; `so_far` counts the consumer's and the webhook's of this number.
async fn talk(
    suite: &Suite,
    consumer: &Consumer,
    index: usize,
    what: &str,
) -> anyhow::Result<Vec<String>> {
    let rest = Rest::of(suite)?;
    let number = suite.number(index);
    let mut back = Vec::new();
    for round in 1..=3 {
        let out = format!("{what} out {round}");
        let id = rest
            .send(number, &rest::text(&consumer.phone, &out))
            .await?;
        suite
            .webhook
            .wait_for_status(&id, "delivered", SOON)
            .await?;
        let text = format!("{what} back {round}");
        consumer.text(suite, index, &text).await?;
        wait_for_back(suite, consumer, number, &text).await?;
        back.push(text);
    }
    Ok(back)
}

async fn wait_for_back(
    suite: &Suite,
    consumer: &Consumer,
    number: &str,
    text: &str,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !heard_back(suite, consumer, number).contains(&text.to_owned()) {
        ensure!(start.elapsed() < LATER, "{text} did not come");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn heard_back(suite: &Suite, consumer: &Consumer, number: &str) -> Vec<String> {
    let messages = suite.webhook.messages_from(&consumer.phone);
    let here = messages.iter().filter(|message| message.number == number);
    here.filter_map(|message| Some(message.object["text"]["body"].as_str()?.to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_numbers_records_and_indexes_never_reach_the_other_regions_store() -> anyhow::Result<()> {
    let suite = suite().await?;
    let consumer = Consumer::online(&suite, 0)?;
    for index in [0, 1] {
        talk(&suite, &consumer, index, "resident").await?;
    }
    for (index, (own, other)) in [(0, (0, 1)), (1, (1, 0))] {
        let number = suite.number(index);
        let records = records(&suite, STORES[own], number).await?;
        assert_eq!(records.len(), 6);
        let found = traces(&suite, STORES[other], number, &records)?;
        ensure!(found.is_empty(), "in {}: {found:?}", STORES[other]);
        // The control: in its own store all of it is found.
        let found = traces(&suite, STORES[own], number, &records)?;
        assert_eq!(found.len(), 1 + 3 * records.len(), "{found:?}");
    }
    Ok(())
}

/// What the directory says of the number's last move.
async fn last_move(suite: &Suite, number: &str) -> anyhow::Result<Value> {
    let said = suite
        .sealpost(&["--json", "admin", "number", "moves", "--number", number])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    said["moves"].get(0).cloned().context("a move")
}

async fn ask_for_move(suite: &Suite, number: &str, to: &str) -> anyhow::Result<()> {
    let arguments = [
        "admin", "number", "move", "--number", number, "--to", to, "--wait", "0s",
    ];
    suite.sealpost(&arguments).await.map(drop)
}

async fn wait_until_done(suite: &Suite, number: &str) -> anyhow::Result<Value> {
    let start = Instant::now();
    loop {
        let last = last_move(suite, number).await?;
        if last["state"] == "done" {
            return Ok(last);
        }
        ensure!(start.elapsed() < LATER, "still {last}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_moves_with_all_its_records_and_its_conversations_go_on() -> anyhow::Result<()> {
    let suite = suite().await?;
    let consumer = Consumer::online(&suite, 0)?;
    let program = Program::start(&suite, "mover")?;
    let number = suite.number(0).to_owned();
    let mut expected = talk(&suite, &consumer, 0, "before").await?;
    let other = talk(&suite, &consumer, 1, "the other number").await?;
    let before = records(&suite, "store-eu", &number).await?;
    // An idempotency key of before the move is known after it.
    let rest = Rest::of(&suite)?;
    rest.text_until_accepted(&number, &consumer.phone, "once", "key-once", SOON)
        .await?;

    suite
        .sealpost(&["admin", "number", "move", "--number", &number, "--to", "na"])
        .await?;
    let done = last_move(&suite, &number).await?;
    assert_eq!((&done["from"], &done["to"]), (&"eu".into(), &"na".into()));
    assert_eq!(done["state"], "done");
    ensure!(done["rows"].as_u64() > Some(12), "{done}");
    ensure!(
        done["asked_by"]
            .as_str()
            .is_some_and(|who| who.contains("/operator")),
        "{done}"
    );
    assert_eq!(records(&suite, "store-na", &number).await?[..6], before[..]);

    // Now: everything goes on, nothing comes twice, and nothing is left behind.
    rest.text_until_accepted(&number, &consumer.phone, "once", "key-once", LATER)
        .await?;
    expected.extend(talk(&suite, &consumer, 0, "after").await?);
    assert_eq!(heard_back(&suite, &consumer, &number), expected);
    assert_eq!(heard_back(&suite, &consumer, suite.number(1)), other);
    let once = consumer.texts_from(&number);
    assert_eq!(once.iter().filter(|text| *text == "once").count(), 1);
    assert_eq!(once.len(), 7);
    assert_eq!(suite.webhook.repeats(), 0);
    let heard = program.texts_from(&number, &consumer.phone);
    assert_eq!(heard, expected);
    let warnings = program
        .heard()
        .pick(|heard| matches!(heard, Heard::Warning(_)).then_some(()));
    assert_eq!(warnings, []);
    for name in STORES {
        suite.restart(name).await?;
    }
    let found = traces(&suite, "store-eu", &number, &before)?;
    // Its name is: it is noted there that it departed.
    assert_eq!(found, ["the number"]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_survives_the_death_of_whoever_takes_part_in_it() -> anyhow::Result<()> {
    let suite = suite().await?;
    let consumer = Consumer::online(&suite, 0)?;
    let number = suite.number(0).to_owned();
    let rest = Rest::of(&suite)?;
    let mut expected = talk(&suite, &consumer, 0, "before").await?;
    let mut to = ["na", "eu"].into_iter().cycle();
    for name in ["retention", "store-eu", "store-na", "directory", "gateway"] {
        ask_for_move(&suite, &number, to.next().context("a region")?).await?;
        // What is said meanwhile waits, and is not lost.
        let (out, back) = (
            format!("out while {name} dies"),
            format!("back while {name} dies"),
        );
        consumer.text(&suite, 0, &back).await?;
        let key = format!("while-{name}-dies");
        let sending = rest.text_until_accepted(&number, &consumer.phone, &out, &key, LATER);
        let dying = async {
            // Somewhere on its way: the job looks every two seconds.
            let pause = 1_800 + 40 * u64::from(name.len() as u8);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            suite.kill9(name).await?;
            suite.start(name).await?;
            wait_until_done(&suite, &number).await
        };
        let (sent, done) = tokio::join!(sending, dying);
        sent?;
        done?;
        wait_for_back(&suite, &consumer, &number, &back).await?;
        expected.push(back);
        expected.extend(talk(&suite, &consumer, 0, &format!("after {name} died")).await?);
        assert_eq!(heard_back(&suite, &consumer, &number), expected);
    }
    let texts = consumer.texts_from(&number);
    assert_eq!(texts.len(), expected.len(), "{texts:?}");
    nothing_came_twice(&suite, texts)
}

fn nothing_came_twice(suite: &Suite, mut texts: Vec<String>) -> anyhow::Result<()> {
    let count = texts.len();
    texts.sort();
    texts.dedup();
    ensure!(texts.len() == count, "a text came twice to the consumer");
    ensure!(suite.webhook.repeats() == 0, "an event came twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_without_a_store_is_no_place_to_move_to() -> anyhow::Result<()> {
    let suite = suite().await?;
    let consumer = Consumer::online(&suite, 0)?;
    let number = suite.number(0).to_owned();
    let arguments = [
        "admin", "number", "move", "--number", &number, "--to", "moon",
    ];
    let refused = suite.sealpost(&arguments).await;
    ensure!(refused.is_err_and(|error| error.to_string().contains("moon")));
    assert_eq!(last_move(&suite, &number).await?["state"], "failed");
    talk(&suite, &consumer, 0, "still here").await.map(drop)
}
