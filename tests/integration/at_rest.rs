//! Records as they lie in the store, whether anything opens them, and copies of what lies on disk.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sealpost_proto::record::v1::{Direction, Record};
use sealpost_proto::store::v1::ListEventsRequest;
use sealpost_proto::store::v1::store_service_client::StoreServiceClient;
use sealpost_proto::vault::v1::key_vault_service_client::KeyVaultServiceClient;
use sealpost_proto::vault::v1::{
    CheckRequest, DeliverItem, DeliverRequest, EncryptItem, EncryptRequest, Refusal,
    deliver_outcome, encrypt_outcome,
};
use sealpost_runtime::Role;
use sealpost_tests::Suite;
use sealpost_tests::binaries::SERVICES;
use sealpost_tests::database::Kind;
use sealpost_tests::search::{holders, rows_of};
use serde_json::Value;

/// Every record that the store gives out for the number at `index`, once.
pub async fn records(suite: &Suite, index: usize) -> anyhow::Result<Vec<Record>> {
    let mut store = StoreServiceClient::new(suite.as_role(Role::Gateway, "store").await?);
    let mut found = Vec::<Record>::new();
    let mut after = 0;
    loop {
        let request = ListEventsRequest {
            phone_number_id: suite.number(index).to_owned(),
            after,
            limit: 256,
            without_records: false,
        };
        let events = store.list_events(request).await?.into_inner().events;
        let Some(last) = events.last() else {
            return Ok(found);
        };
        after = last.cursor;
        for record in events.into_iter().filter_map(|event| event.record) {
            if !found.contains(&record) {
                found.push(record);
            }
        }
    }
}

/// Tries everything that opens a record, on each: the scrub's Check, delivery to the business, and for an outbound one
/// encryption for the consumer again. Answers each attempt's refusal; `None`: it opened.
pub async fn attempts(suite: &Suite, records: &[Record]) -> anyhow::Result<Vec<Option<Refusal>>> {
    let mut store = KeyVaultServiceClient::new(suite.as_role(Role::Store, "key-vault").await?);
    let mut gateway = KeyVaultServiceClient::new(suite.as_role(Role::Gateway, "key-vault").await?);
    let outbound = |record: &Record| record.direction() == Direction::Outbound;
    ensure!(
        records.iter().any(outbound) && !records.iter().all(outbound),
        "records of both directions: {}",
        records.len()
    );

    let request = CheckRequest {
        records: records.to_vec(),
    };
    let checked = store.check(request).await?.into_inner();
    let mut refusals: Vec<_> = checked
        .findings()
        .map(|finding| (finding != Refusal::Unspecified).then_some(finding))
        .collect();

    let request = DeliverRequest {
        batch_id: 1,
        items: records
            .iter()
            .map(|record| DeliverItem {
                record: Some(record.clone()),
                header_only: outbound(record),
                with_wrap: true,
            })
            .collect(),
    };
    let mut answers = gateway
        .deliver(tokio_stream::iter([request]))
        .await?
        .into_inner();
    for item in answers.message().await?.context("an answer")?.outcomes {
        refusals.push(match item.outcome.context("an outcome")? {
            deliver_outcome::Outcome::Delivered(_) => None,
            deliver_outcome::Outcome::Refused(refusal) => Some(refusal.try_into()?),
        });
    }

    let request = EncryptRequest {
        batch_id: 1,
        items: records
            .iter()
            .filter(|record| outbound(record))
            .map(|record| EncryptItem {
                record: Some(record.clone()),
                bundle: None,
                attempt: 1,
                only_device_id: 0,
            })
            .collect(),
    };
    let mut answers = gateway
        .encrypt(tokio_stream::iter([request]))
        .await?
        .into_inner();
    for item in answers.message().await?.context("an answer")?.outcomes {
        refusals.push(match item.outcome.context("an outcome")? {
            encrypt_outcome::Outcome::Refused(refusal) => Some(refusal.try_into()?),
            _ => None,
        });
    }
    let expected = records.len() * 2 + records.iter().filter(|record| outbound(record)).count();
    ensure!(refusals.len() == expected, "an answer to every attempt");
    Ok(refusals)
}

/// That every attempt on these records succeeds.
pub async fn all_open(suite: &Suite, records: &[Record]) -> anyhow::Result<()> {
    let refusals = attempts(suite, records).await?;
    ensure!(
        refusals.iter().all(Option::is_none),
        "these should open: {refusals:?}"
    );
    Ok(())
}

/// That every attempt on these records is refused, for this reason.
pub async fn none_opens(suite: &Suite, records: &[Record], why: Refusal) -> anyhow::Result<()> {
    let refusals = attempts(suite, records).await?;
    ensure!(
        refusals.iter().all(|refusal| *refusal == Some(why)),
        "these should be refused with {why:?}: {refusals:?}"
    );
    Ok(())
}

/// The vault's folder of epoch keys.
pub fn keyring(suite: &Suite) -> PathBuf {
    suite.dir().join("data/key-vault/keyring")
}

/// Files of epoch keys that are there now.
pub fn epoch_files(suite: &Suite) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(keyring(suite))? {
        let path = entry?.path();
        if path.extension().is_some_and(|name| name == "epoch") {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether what a service keeps has these bytes, in any form.
pub fn on_disk(suite: &Suite, service: &str, bytes: &[u8]) -> anyhow::Result<bool> {
    Ok(!holders(&rows_of(suite, service)?, bytes).is_empty())
}

/// Receipts that retention keeps, as `sealpost admin retention receipts` shows them.
pub async fn receipts(suite: &Suite) -> anyhow::Result<Vec<Value>> {
    let said = suite
        .sealpost(&["--json", "admin", "retention", "receipts"])
        .await?;
    let said: Value = serde_json::from_str(&said)?;
    Ok(said["receipts"].as_array().context("receipts")?.clone())
}

/// That there is a receipt whose signature is good, for every epoch of these records, and that their rows are gone.
pub async fn all_receipted(suite: &Suite, records: &[Record]) -> anyhow::Result<()> {
    let receipts = receipts(suite).await?;
    for record in records {
        let epoch = record.epoch.as_ref().context("an epoch")?;
        let receipt = receipts.iter().find(|receipt| {
            let said = &receipt["destroyed"]["epoch"];
            said["start_seconds"] == epoch.start_seconds
                && said["retention_seconds"] == epoch.retention_seconds
        });
        let receipt = receipt.with_context(|| format!("no receipt of {epoch:?}: {receipts:?}"))?;
        ensure!(receipt["signature_is_good"] == true, "signed: {receipt}");
        ensure!(receipt["rows_deleted_at_ms"] != 0, "rows gone: {receipt}");
    }
    Ok(())
}

/// A database's dump, in the copy of its service's folder.
const DUMP: &str = "database.sql";

/// Copies `below` of the suite's folder as a disk's snapshot would, and what it has on a server as an operator's backup would:
/// every process stands still meanwhile. Leaves out what no backup has: shared memory, and the keyring.
pub fn snapshot(suite: &Suite, below: &str, to: &Path) -> anyhow::Result<()> {
    let _still = Still::all(suite)?;
    copy(&suite.dir().join(below), to, &|path| {
        path.ends_with("key-vault/keyring") || path.extension().is_some_and(|name| name == "db-shm")
    })?;
    for (name, folder) in on_server(suite, below) {
        fs::write(to.join(folder).join(DUMP), suite.dump(name)?)?;
    }
    Ok(())
}

/// Puts a copy back: what lies at `below` is deleted first, but for what no backup has.
pub fn restore(suite: &Suite, below: &str, from: &Path) -> anyhow::Result<()> {
    let there = suite.dir().join(below);
    delete(&there)?;
    copy(from, &there, &|path| path.ends_with(DUMP))?;
    for (name, folder) in on_server(suite, below) {
        suite.put_back(name, &from.join(folder).join(DUMP))?;
    }
    Ok(())
}

/// Services whose folders are `below` and whose databases are on a server; each with its folder's place below that.
fn on_server(suite: &Suite, below: &str) -> Vec<(&'static str, PathBuf)> {
    let place = |name| {
        Some((
            name,
            Path::new("data")
                .join(name)
                .strip_prefix(below)
                .ok()?
                .to_owned(),
        ))
    };
    let is_there = |(name, _): &(&str, _)| suite.database_url(name).is_ok();
    match suite.kind() {
        Kind::Sqlite => Vec::new(),
        Kind::Postgres => SERVICES
            .into_iter()
            .filter_map(place)
            .filter(is_there)
            .collect(),
    }
}

/// Copies a folder, but for the paths that `without` names.
pub fn copy(from: &Path, to: &Path, without: &dyn Fn(&Path) -> bool) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if without(&path) {
            continue;
        }
        if path.is_dir() {
            copy(&path, &target, without)?;
        } else {
            fs::copy(&path, &target).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn delete(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.ends_with("key-vault/keyring") {
            continue;
        }
        if path.is_dir() {
            delete(&path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Processes that stand still until this is dropped.
struct Still(Vec<Pid>);

impl Still {
    fn all(suite: &Suite) -> anyhow::Result<Self> {
        let run = suite.run_file()?;
        let mut still = Self(Vec::new());
        for name in SERVICES {
            let pid = run.service(name)?.pid.context("it runs")?;
            let pid = Pid::from_raw(i32::try_from(pid)?).context("a pid")?;
            kill_process(pid, Signal::STOP)?;
            still.0.push(pid);
        }
        Ok(still)
    }
}

impl Drop for Still {
    fn drop(&mut self) {
        for pid in &self.0 {
            let _ = kill_process(*pid, Signal::CONT);
        }
    }
}
