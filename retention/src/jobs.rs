//! The jobs: destroy what is due, delete what is unreadable, remember that it was done.
//!
//! Invariants: one run at a time; a run that was begun is finished whoever asked for it; whatever a run could not delete is taken
//! up again by the next one; one silent service does not keep the others' rows.

mod collection;
mod counting;
mod deletion;

use std::sync::Arc;

use sealpost_failpoints::failpoint;
use sealpost_proto::vault::v1::Receipt;
use sealpost_runtime::{Clock, Timestamp};
use tokio::sync::Mutex;

use crate::{
    datastore::Datastore,
    error::RetentionError,
    findings::{Failure, Findings},
    peers::Peers,
    receipt::{Destroyed, ReceiptError, Statement},
    tables::runs::Run,
};

use deletion::{Deleted, Deletion};

/// Receipts taken up at a time.
const PAGE: u64 = 100;

/// The jobs and all that they need. Clones share the run that is under way.
#[derive(Clone, Debug)]
pub struct Jobs {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    datastore: Datastore,
    peers: Peers,
    clock: Clock,
    batch_limit: u32,
    one_at_a_time: Mutex<()>,
}

impl Jobs {
    /// Jobs that delete at most `batch_limit` rows a call.
    #[must_use]
    pub fn new(datastore: Datastore, peers: Peers, clock: Clock, batch_limit: u32) -> Self {
        Self {
            inner: Arc::new(Inner {
                datastore,
                peers,
                clock,
                batch_limit,
                one_at_a_time: Mutex::new(()),
            }),
        }
    }

    /// Runs every job, after the run that may be under way. A dry run counts and changes nothing but the list of runs.
    ///
    /// # Errors
    /// When the run could not be recorded. What went wrong within it stands in the [`Run`].
    pub async fn run(&self, dry_run: bool) -> Result<(Run, Findings), RetentionError> {
        let inner = self.inner.clone();
        // In a task of its own: a caller that goes away does not leave half a run.
        let task = tokio::spawn(async move {
            let _turn = inner.one_at_a_time.lock().await;
            inner.run(dry_run).await
        });
        task.await.map_err(|_| RetentionError::Lost)?
    }

    /// Has the next run delete the rows of every receipt of the last weeks once more: a store may have been restored.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_up_again(&self) -> Result<(), RetentionError> {
        let now = self.inner.clock.now();
        self.inner.datastore.receipts_reopen(now).await
    }

    /// Keeps the vault's receipt of a person's erasure or a number's removal and deletes the rows of that in every store; answers
    /// how many.
    ///
    /// # Errors
    /// When the receipt is not believed or about an epoch; [`RetentionError::StoreUnavailable`] when a store keeps rows for now:
    /// the receipt is kept, and runs go on with it.
    pub async fn forget(&self, receipt: Receipt) -> Result<u64, RetentionError> {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move { inner.forget_receipted(receipt).await });
        task.await.map_err(|_| RetentionError::Lost)?
    }
}

impl Inner {
    async fn run(&self, dry_run: bool) -> Result<(Run, Findings), RetentionError> {
        let started_at = self.clock.now();
        let run_id = self.datastore.run_begin(started_at, dry_run).await?;
        let mut findings = Findings::default();
        if dry_run {
            self.count(&mut findings).await;
        } else {
            self.work(&mut findings).await;
        }
        let run = Run {
            run_id,
            started_at,
            finished_at: self.clock.now(),
            epochs_destroyed: findings.epochs.len() as u64,
            store_rows_deleted: findings.store_rows,
            relay_rows_deleted: findings.relay_rows,
            failure: findings.failure.map_or("", Failure::code).to_owned(),
            dry_run,
        };
        self.datastore.run_finish(run.clone()).await?;
        if !dry_run {
            self.measure(&run, &findings).await;
        }
        Ok((run, findings))
    }

    async fn work(&self, findings: &mut Findings) {
        let destroyed = self.peers.destroy_expired(false).await;
        failpoint!("run.destroyed");
        match destroyed {
            Ok(receipts) => self.keep_destroyed(receipts, findings).await,
            Err(status) => findings.fail(Failure::of_vault(&status)),
        }
        self.collect(findings).await;
        if self.delete_open(findings).await.is_err() {
            findings.fail(Failure::Database);
        }
        for (at, relay) in self.peers.relays.iter().enumerate() {
            let deleted = self.deletion().expired(relay).await;
            tally_relay(&self.relay_name(at), &deleted, findings);
        }
        if self.forget_old().await.is_err() {
            findings.fail(Failure::Database);
        }
    }

    /// Deletes the rows of every open receipt, those of earlier runs included.
    async fn delete_open(&self, findings: &mut Findings) -> Result<(), RetentionError> {
        let now = self.clock.now();
        let mut after = 0;
        loop {
            let page = self.datastore.receipts_open(after, now, PAGE).await?;
            let Some(last) = page.last() else {
                return Ok(());
            };
            after = last.receipt_id;
            let (mut epochs, mut epoch_ids) = (Vec::new(), Vec::new());
            for open in page {
                match open.destroyed {
                    Destroyed::Epoch(epoch) => {
                        epochs.push(epoch);
                        epoch_ids.push(open.receipt_id);
                    }
                    person_or_number => {
                        let gone = self.delete_named(&person_or_number, findings).await;
                        self.note_deleted(gone, vec![open.receipt_id], now).await?;
                    }
                }
            }
            let mut gone = true;
            for (at, store) in self.peers.stores.iter().enumerate() {
                if epochs.is_empty() {
                    break;
                }
                let deleted = self.deletion().epochs(store, &epochs).await;
                gone &= tally(&self.store_name(at), &deleted, findings);
            }
            failpoint!("run.deleted");
            self.note_deleted(gone, epoch_ids, now).await?;
        }
    }

    /// Deletes a person's or a number's rows in every store; answers whether all are gone.
    async fn delete_named(&self, destroyed: &Destroyed, findings: &mut Findings) -> bool {
        let mut gone = true;
        for (at, store) in self.peers.stores.iter().enumerate() {
            let deleted = match destroyed {
                Destroyed::Epoch(_) => break,
                Destroyed::Subject(subject) => self.deletion().subject(store, subject).await,
                Destroyed::Number(number) => self.deletion().number(store, number).await,
            };
            gone &= tally(&self.store_name(at), &deleted, findings);
        }
        gone
    }

    async fn note_deleted(
        &self,
        gone: bool,
        ids: Vec<i64>,
        now: Timestamp,
    ) -> Result<(), RetentionError> {
        if gone && !ids.is_empty() {
            self.datastore.receipts_deleted(ids, now).await?;
        }
        Ok(())
    }

    async fn forget_receipted(&self, receipt: Receipt) -> Result<u64, RetentionError> {
        let destroyed = Statement::parse(&receipt.statement)?.destroyed;
        if matches!(destroyed, Destroyed::Epoch(_)) {
            return Err(ReceiptError::Statement.into());
        }
        let now = self.clock.now();
        let (id, _verified) = self.datastore.receipt_keep(receipt, now).await?;
        let mut findings = Findings::default();
        if !self.delete_named(&destroyed, &mut findings).await {
            return Err(RetentionError::StoreUnavailable);
        }
        self.datastore.receipts_deleted(vec![id], now).await?;
        count_rows(&findings);
        Ok(findings.store_rows)
    }

    async fn forget_old(&self) -> Result<(), RetentionError> {
        while self
            .datastore
            .forget(self.batch_limit.into(), self.clock.now())
            .await?
        {}
        Ok(())
    }

    fn deletion(&self) -> Deletion {
        Deletion::new(self.batch_limit)
    }

    fn store_name(&self, at: usize) -> String {
        name("store", at, self.peers.stores.len())
    }

    fn relay_name(&self, at: usize) -> String {
        name("relay", at, self.peers.relays.len())
    }

    async fn measure(&self, run: &Run, findings: &Findings) {
        let outcome = if run.failure.is_empty() {
            "done"
        } else {
            "failed"
        };
        metrics::counter!("sealpost_retention_runs_total", "outcome" => outcome).increment(1);
        metrics::counter!("sealpost_retention_epochs_destroyed_total")
            .increment(run.epochs_destroyed);
        count_rows(findings);
        if !findings.rows.is_empty() {
            let rows = run.store_rows_deleted + run.relay_rows_deleted;
            tracing::info!(count = rows, "a run deleted rows");
        }
        if run.failure.is_empty() {
            let seconds = run.finished_at.as_millis() as f64 / 1_000.0;
            metrics::gauge!("sealpost_retention_last_success_timestamp_seconds").set(seconds);
        } else {
            tracing::warn!(
                code = run.failure.as_str(),
                "a run failed in part; the next one goes on with it"
            );
        }
        if let Ok((open, ended)) = self.datastore.backlog().await {
            metrics::gauge!("sealpost_retention_open_receipts").set(open as f64);
            // How long the rows of the oldest dead epoch have been lying about; nothing opens them meanwhile.
            let age = ended.map_or(0, |ended| run.finished_at.since(ended).as_secs());
            metrics::gauge!("sealpost_retention_oldest_expired_epoch_seconds").set(age as f64);
        }
    }
}

/// Adds what a store did; answers whether all is gone there.
fn tally(place: &str, deleted: &Deleted, findings: &mut Findings) -> bool {
    findings.store_rows += deleted.rows;
    for rows in &deleted.tables {
        findings.add(place, &rows.table, rows.rows);
    }
    if deleted.tables.is_empty() {
        findings.add(place, "", deleted.rows);
    }
    if let Some(status) = &deleted.refused {
        findings.fail(Failure::of_store(status));
    }
    deleted.refused.is_none()
}

fn tally_relay(place: &str, deleted: &Deleted, findings: &mut Findings) {
    findings.relay_rows += deleted.rows;
    findings.add(place, "", deleted.rows);
    if let Some(status) = &deleted.refused {
        findings.fail(Failure::of_relay(status));
    }
}

/// A place's name: its kind, and when there are several, which.
fn name(kind: &str, at: usize, of: usize) -> String {
    if of == 1 {
        kind.to_owned()
    } else {
        format!("{kind} {}", at + 1)
    }
}

fn count_rows(findings: &Findings) {
    for ((room, table), rows) in &findings.rows {
        metrics::counter!(
            "sealpost_retention_rows_deleted_total", "room" => room.clone(), "table" => table.clone()
        )
        .increment(*rows);
    }
}
