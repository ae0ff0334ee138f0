//! A backup of day 1 in a thief's hands, after everything in it has passed its time: databases and root key, every clock set
//! back to day 1. Without the keyring nothing opens; with day 1's keyring everything does.

use std::fs;

use anyhow::ensure;
use sealpost_proto::vault::v1::Refusal;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::chat::Chat;
use sealpost_tests::database::Kind;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite};

use super::SOON;
use super::at_rest::{
    all_open, all_receipted, copy, epoch_files, keyring, none_opens, records, restore, snapshot,
};

/// What the thief needs to read: the store, and the vault that opens its records.
const NEEDED: [&str; 2] = ["key-vault", "store"];

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_backup_opens_nothing_without_the_keyring_though_every_clock_says_day_1()
-> anyhow::Result<()> {
    let suite = Suite::up(Options {
        clock_file: true,
        ..Options::default()
    })
    .await?;
    let mut chat = Chat::start(&suite, 0)?;
    for round in 1..=2 {
        let out = format!("out {round}");
        let id = Rest::of(&suite)?
            .send(suite.number(0), &rest::text(&chat.phone, &out))
            .await?;
        chat.wait_for_text(&out, SOON).await?;
        suite
            .webhook
            .wait_for_status(&id, "delivered", SOON)
            .await?;
        chat.text(&format!("back {round}")).await?;
        suite
            .webhook
            .wait_for_messages(&chat.phone, round, SOON)
            .await?;
    }
    chat.quit().await?;

    // Day 1: every database with its log, the root key and all else that services keep, as one snapshot. For the control
    // alone the keyring as well.
    let day_1 = records(&suite, 0).await?;
    assert_eq!(day_1.len(), 4);
    all_open(&suite, &day_1).await?;
    let backup = suite.dir().with_file_name("backup");
    let backup_of_keyring = suite.dir().with_file_name("backup-of-keyring");
    snapshot(&suite, "data", &backup)?;
    copy(&keyring(&suite), &backup_of_keyring, &|_| false)?;
    for file in ["root.json", "unseal.key"] {
        ensure!(backup.join("key-vault").join(file).exists());
    }
    ensure!(match suite.kind() {
        Kind::Sqlite => backup.join("store/store.db-wal").exists(),
        Kind::Postgres => backup.join("store/database.sql").exists(),
    });
    ensure!(!backup.join("key-vault/keyring").exists());
    let keys = epoch_files(&suite)?;
    ensure!(!keys.is_empty(), "an epoch has its key");

    // Day 32.
    suite
        .sealpost(&["admin", "clock", "advance", "31d"])
        .await?;
    suite.sealpost(&["admin", "retention", "run"]).await?;
    all_receipted(&suite, &day_1).await?;
    assert_eq!(records(&suite, 0).await?, []);
    for key in &keys {
        ensure!(!key.exists(), "{} is there", key.display());
    }

    // The theft: day 1 again, for databases, root key and clocks.
    for name in SERVICES.iter().rev() {
        suite.stop(name).await?;
    }
    let day_1_again = || -> anyhow::Result<()> {
        restore(&suite, "data", &backup)?;
        Ok(fs::write(suite.dir().join("clock"), "0\n")?)
    };
    day_1_again()?;
    start(&suite).await?;
    assert_eq!(records(&suite, 0).await?, day_1, "the store is day 1's");
    none_opens(&suite, &day_1, Refusal::EpochExpired).await?;

    // Even the epochs' files would not do, as long as the keyring's mark says what time it has been.
    stop(&suite).await?;
    day_1_again()?;
    for key in &keys {
        let name = key.file_name().unwrap_or_default();
        fs::copy(backup_of_keyring.join(name), key)?;
    }
    start(&suite).await?;
    none_opens(&suite, &day_1, Refusal::EpochExpired).await?;

    // The control: the same with day 1's whole keyring.
    stop(&suite).await?;
    day_1_again()?;
    fs::remove_dir_all(keyring(&suite))?;
    copy(&backup_of_keyring, &keyring(&suite), &|_| false)?;
    start(&suite).await?;
    assert_eq!(records(&suite, 0).await?, day_1);
    all_open(&suite, &day_1).await
}

async fn start(suite: &Suite) -> anyhow::Result<()> {
    for name in NEEDED {
        suite.start(name).await?;
    }
    Ok(())
}

async fn stop(suite: &Suite) -> anyhow::Result<()> {
    for name in NEEDED.iter().rev() {
        suite.stop(name).await?;
    }
    Ok(())
}
