//! Death in the middle of a key's birth and of its destruction: the key is whole or absent, what was due is destroyed by the
//! next run, and every destruction has its receipt.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use sealpost_proto::record::v1::Record;
use sealpost_tests::chat::Chat;
use sealpost_tests::failpoints::Order;
use sealpost_tests::rest::Rest;
use sealpost_tests::{Options, Suite, progress};
use serde_json::Value;
use tokio::time::sleep;

use crate::LATER;
use crate::at_rest::{all_receipted, epoch_files, records};

/// In the order in which a run comes by them: each run of a row dies a step later than the one before.
const DESTRUCTION: [&[(&str, &str)]; 5] = [
    &[
        ("retention", "run_begin.committed"),
        ("key-vault", "destructions_begin.worked"),
        ("key-vault", "destructions_begin.committed"),
    ],
    &[
        ("key-vault", "file.overwritten"),
        ("key-vault", "file.removed"),
        ("key-vault", "file.gone"),
    ],
    &[
        ("key-vault", "destructions_finish.worked"),
        ("key-vault", "destructions_finish.committed"),
        ("retention", "receipt_keep.committed"),
    ],
    &[
        ("retention", "collected_to.worked"),
        ("store", "delete_epochs.worked"),
        ("retention", "run.deleted"),
    ],
    &[
        ("store", "delete_epochs.committed"),
        ("retention", "receipts_deleted.worked"),
        ("retention", "receipts_deleted.committed"),
        ("retention", "run_finish.worked"),
    ],
];
/// Of a key's birth.
const BIRTH: [(&str, &str); 5] = [
    ("key-vault", "file.written"),
    ("key-vault", "file.synced"),
    ("key-vault", "file.linked"),
    ("key-vault", "hpke_key_make.worked"),
    ("key-vault", "hpke_key_make.committed"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_destruction_that_death_interrupts_is_finished_by_the_next_run() -> anyhow::Result<()> {
    let suite = an_hour().await?;
    let mut chat = Chat::start(&suite, 0)?;
    for (turn, deaths) in DESTRUCTION.into_iter().enumerate() {
        // Every row finds something to destroy.
        talk(&suite, &mut chat, turn + 1).await?;
        let aged = records(&suite, 0).await?;
        let keys = epoch_files(&suite)?;
        ensure!(!aged.is_empty(), "there is something to destroy");
        order(&suite, deaths.first())?;
        advance(&suite).await?;
        for (step, (service, point)) in deaths.iter().enumerate() {
            let begun = Instant::now();
            while !suite.orders().is_reached(service, point) {
                ensure!(begun.elapsed() < LATER, "{service} never came to {point}");
                // It fails, or does not: who dies is not always who is asked.
                let _ = run(&suite).await;
            }
            // Before it rises: retention begins a run when it starts.
            let next = deaths.get(step + 1);
            order(&suite, next)?;
            let risen = rise(&suite, service).await;
            let again = next.is_some_and(|(other, point)| {
                other == service && suite.orders().is_reached(other, point)
            });
            // What a start does at once may be the next death.
            if !again {
                risen?;
            }
            progress(&format!("{service} died at {point}"));
        }
        run_to_the_end(&suite).await?;
        gone(&suite, &aged, &keys).await?;
    }
    talk(&suite, &mut chat, DESTRUCTION.len() + 1).await?;
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_whole_or_absent_wherever_its_making_dies() -> anyhow::Result<()> {
    let suite = an_hour().await?;
    let mut chat = Chat::start(&suite, 0)?;
    for (turn, (service, point)) in BIRTH.iter().enumerate() {
        // A new hour has new keys.
        advance(&suite).await?;
        suite
            .orders()
            .give(service, point, &Order::Kill(1, vec![]))?;
        let reborn = async {
            suite.orders().reached(service, point, LATER).await?;
            rise(&suite, service).await
        };
        let talked = talk(&suite, &mut chat, turn + 1);
        tokio::try_join!(reborn, talked)?;
        progress(&format!("{service} died at {point}"));
    }
    suite.check_no_panic()
}

/// A suite whose number keeps messages for an hour.
async fn an_hour() -> anyhow::Result<Suite> {
    let suite = Suite::up(Options {
        clock_file: true,
        failpoints: true,
        ..Options::default()
    })
    .await?;
    let number = suite.number(0).to_owned();
    suite
        .sealpost(&["admin", "number", "set-retention", &number, "1h"])
        .await?;
    Ok(suite)
}

/// Says something both ways, through whatever restarts meanwhile.
async fn talk(suite: &Suite, chat: &mut Chat, turn: usize) -> anyhow::Result<()> {
    let (out, back) = (format!("out-{turn}"), format!("back-{turn}"));
    Rest::of(suite)?
        .text_until_accepted(suite.number(0), &chat.phone, &out, &out, LATER)
        .await?;
    chat.wait_for_text(&out, LATER).await?;
    chat.text(&back).await?;
    let heard = suite
        .webhook
        .wait_for_messages(&chat.phone, turn, LATER)
        .await?;
    ensure!(heard[turn - 1].object["text"]["body"] == back.as_str());
    Ok(())
}

async fn advance(suite: &Suite) -> anyhow::Result<()> {
    suite
        .sealpost(&["admin", "clock", "advance", "61m"])
        .await
        .map(drop)
}

fn order(suite: &Suite, death: Option<&(&str, &str)>) -> anyhow::Result<()> {
    match death {
        Some((service, point)) => suite.orders().give(service, point, &Order::Kill(1, vec![])),
        None => Ok(()),
    }
}

async fn rise(suite: &Suite, service: &str) -> anyhow::Result<()> {
    while suite.is_running(service)? {
        sleep(Duration::from_millis(5)).await;
    }
    suite.start(service).await
}

async fn run(suite: &Suite) -> anyhow::Result<Value> {
    let said = suite
        .sealpost(&["--json", "admin", "retention", "run"])
        .await?;
    Ok(serde_json::from_str(&said)?)
}

/// Channels to who just rose come back within a few runs.
async fn run_to_the_end(suite: &Suite) -> anyhow::Result<()> {
    let mut last = None;
    for _ in 0..20 {
        match run(suite).await {
            Ok(run) if run["failure"] == "" => return Ok(()),
            other => last = Some(other),
        }
        sleep(Duration::from_millis(500)).await;
    }
    last.context("a run")?
        .map(|run| panic!("every run fails: {run}"))
}

async fn gone(suite: &Suite, aged: &[Record], keys: &[std::path::PathBuf]) -> anyhow::Result<()> {
    all_receipted(suite, aged).await?;
    ensure!(records(suite, 0).await?.is_empty(), "rows stayed");
    for key in keys {
        ensure!(!key.exists(), "{} stayed", key.display());
    }
    Ok(())
}
