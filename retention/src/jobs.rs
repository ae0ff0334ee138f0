//! The jobs: destroy what is due, delete what is unreadable, remember that it was done.
//!
//! Invariants: one run at a time; a run that was begun is finished whoever asked for it; whatever a run could not delete is taken
//! up again by the next one; one silent service does not keep the others' rows.

mod counting;
mod deletion;

use std::sync::Arc;

use sealpost_proto::vault::v1::Receipt;
use sealpost_runtime::{Clock, Timestamp};
use tokio::sync::Mutex;

use crate::{
    datastore::Datastore,
    error::RetentionError,
    findings::{Failure, Findings},
    peers::Peers,
    receipt::{Destroyed, ReceiptError, Statement, Subject},
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
    pub async fn run(&self, dry_run: bool) -> Result<Run, RetentionError> {
        let inner = self.inner.clone();
        // In a task of its own: a caller that goes away does not leave half a run.
        let task = tokio::spawn(async move {
            let _turn = inner.one_at_a_time.lock().await;
            inner.run(dry_run).await
        });
        task.await.map_err(|_| RetentionError::Lost)?
    }

    /// Keeps the vault's receipt of a person's erasure and deletes the person's rows in every store; answers how many.
    ///
    /// # Errors
    /// When the receipt is not believed or not about a person; [`RetentionError::StoreUnavailable`] when a store keeps rows
    /// for now: the receipt is kept, and runs go on with it.
    pub async fn forget_subject(&self, receipt: Receipt) -> Result<u64, RetentionError> {
        let inner = self.inner.clone();
        let task = tokio::spawn(async move { inner.forget_subject(receipt).await });
        task.await.map_err(|_| RetentionError::Lost)?
    }
}

impl Inner {
    async fn run(&self, dry_run: bool) -> Result<Run, RetentionError> {
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
            epochs_destroyed: findings.epochs_destroyed,
            store_rows_deleted: findings.store_rows,
            relay_rows_deleted: findings.relay_rows,
            failure: findings.failure.map_or("", Failure::code).to_owned(),
            dry_run,
        };
        self.datastore.run_finish(run.clone()).await?;
        if !dry_run {
            self.measure(&run).await;
        }
        Ok(run)
    }

    async fn work(&self, findings: &mut Findings) {
        match self.peers.destroy_expired(false).await {
            Ok(receipts) => self.keep_receipts(receipts, findings).await,
            Err(status) => findings.fail(Failure::of_vault(&status)),
        }
        if self.delete_open(findings).await.is_err() {
            findings.fail(Failure::Database);
        }
        for relay in &self.peers.relays {
            let deleted = self.deletion().expired(relay).await;
            findings.relay_rows += deleted.rows;
            if let Some(status) = deleted.refused {
                findings.fail(Failure::of_relay(&status));
            }
        }
        if self.forget().await.is_err() {
            findings.fail(Failure::Database);
        }
    }

    async fn keep_receipts(&self, receipts: Vec<Receipt>, findings: &mut Findings) {
        for receipt in receipts {
            match self.datastore.receipt_keep(receipt, self.clock.now()).await {
                Ok(_) => findings.epochs_destroyed += 1,
                Err(RetentionError::Receipt(_)) => {
                    tracing::error!(reason = "RECEIPT_INVALID", "a receipt was not believed");
                    findings.fail(Failure::ReceiptInvalid);
                }
                Err(_) => findings.fail(Failure::Database),
            }
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
                    Destroyed::Subject(subject) => {
                        let gone = self.delete_subject(&subject, findings).await;
                        self.note_deleted(gone, vec![open.receipt_id], now).await?;
                    }
                }
            }
            let mut gone = true;
            for store in &self.peers.stores {
                if epochs.is_empty() {
                    break;
                }
                let deleted = self.deletion().epochs(store, &epochs).await;
                gone &= tally(&deleted, findings);
            }
            self.note_deleted(gone, epoch_ids, now).await?;
        }
    }

    /// Deletes a person's rows in every store; answers whether all are gone.
    async fn delete_subject(&self, subject: &Subject, findings: &mut Findings) -> bool {
        let mut gone = true;
        for store in &self.peers.stores {
            let deleted = self.deletion().subject(store, subject).await;
            gone &= tally(&deleted, findings);
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

    async fn forget_subject(&self, receipt: Receipt) -> Result<u64, RetentionError> {
        let statement = Statement::parse(&receipt.statement)?;
        let Destroyed::Subject(subject) = statement.destroyed else {
            return Err(ReceiptError::Statement.into());
        };
        let now = self.clock.now();
        let (id, _verified) = self.datastore.receipt_keep(receipt, now).await?;
        let mut findings = Findings::default();
        if !self.delete_subject(&subject, &mut findings).await {
            return Err(RetentionError::StoreUnavailable);
        }
        self.datastore.receipts_deleted(vec![id], now).await?;
        count_rows("store", findings.store_rows);
        Ok(findings.store_rows)
    }

    async fn forget(&self) -> Result<(), RetentionError> {
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

    async fn measure(&self, run: &Run) {
        let outcome = if run.failure.is_empty() {
            "done"
        } else {
            "failed"
        };
        metrics::counter!("sealpost_retention_runs_total", "outcome" => outcome).increment(1);
        metrics::counter!("sealpost_retention_epochs_destroyed_total")
            .increment(run.epochs_destroyed);
        count_rows("store", run.store_rows_deleted);
        count_rows("relay", run.relay_rows_deleted);
        if run.failure.is_empty() {
            let seconds = run.finished_at.as_millis() as f64 / 1_000.0;
            metrics::gauge!("sealpost_retention_last_success_timestamp_seconds").set(seconds);
        } else {
            tracing::warn!(
                code = run.failure.as_str(),
                "a run failed in part; the next one goes on with it"
            );
        }
        if let Ok(open) = self.datastore.receipts_count_open().await {
            metrics::gauge!("sealpost_retention_open_receipts").set(open as f64);
        }
    }
}

/// Adds what a store did; answers whether all is gone there.
fn tally(deleted: &Deleted, findings: &mut Findings) -> bool {
    findings.store_rows += deleted.rows;
    if let Some(status) = &deleted.refused {
        findings.fail(Failure::of_store(status));
    }
    deleted.refused.is_none()
}

fn count_rows(room: &'static str, rows: u64) {
    metrics::counter!("sealpost_retention_rows_deleted_total", "room" => room).increment(rows);
}
