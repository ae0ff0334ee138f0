//! `sealpost admin retention`.

use clap::Subcommand;
use sealpost_proto::record::v1::EpochId;
use sealpost_proto::retention::v1::{
    ListReceiptsRequest, ListRunsRequest, Run, RunNowRequest, ServiceRows, StoredReceipt,
};
use serde_json::{Value, json};

use super::access::{Access, failed};
use super::receipt::ReadReceipt;
use crate::output::Output;
use crate::suite::service::Service;
use crate::table::table;

#[derive(Subcommand)]
pub enum Retention {
    /// Run every job now
    Run {
        /// Only say what would go
        #[arg(long, conflicts_with = "again")]
        dry_run: bool,
        /// Delete once more what was destroyed in the last 35 days: after a store was restored from a backup
        #[arg(long)]
        again: bool,
    },
    /// List earlier runs, newest first
    Runs {
        /// At most this many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// List receipts of destruction, newest first
    Receipts {
        /// At most this many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
}

impl Retention {
    /// Does it.
    pub async fn run(self, access: &Access, output: Output) -> anyhow::Result<()> {
        match self {
            Self::Run { dry_run, again } => run(access, output, dry_run, again).await,
            Self::Runs { limit } => runs(access, output, limit).await,
            Self::Receipts { limit } => receipts(access, output, limit).await,
        }
    }
}

async fn run(access: &Access, output: Output, dry_run: bool, again: bool) -> anyhow::Result<()> {
    let said = access
        .retention()?
        .run_now(RunNowRequest { dry_run, again })
        .await
        .map_err(failed(Service::Retention))?
        .into_inner();
    let ran = said.run.unwrap_or_default();
    let verb = if ran.dry_run { "would be" } else { "were" };
    let mut words = format!(
        "run {}: {} epoch keys {verb} destroyed, {} rows in stores and {} in the relay {verb} deleted",
        ran.run_id, ran.epochs_destroyed, ran.store_rows_deleted, ran.relay_rows_deleted
    );
    for rows in &said.rows {
        let table = if rows.table.is_empty() {
            "all tables"
        } else {
            &rows.table
        };
        words.push_str(&format!("\n  {}, {table}: {}", rows.service, rows.rows));
    }
    let mut whole = describe(&ran);
    let rows = |rows: &ServiceRows| json!({"service": rows.service, "table": rows.table, "rows": rows.rows});
    whole["rows"] = said.rows.iter().map(rows).collect();
    let epoch = |epoch: &EpochId| json!({"retention_seconds": epoch.retention_seconds, "start_seconds": epoch.start_seconds});
    whole["epochs"] = said.epochs.iter().map(epoch).collect();
    output.say(&words, &whole)?;
    anyhow::ensure!(
        ran.failure.is_empty(),
        "the run failed with {}: mend that and run it again{}",
        ran.failure,
        if ran.failure.contains("CLOCK") {
            " (`sealpost admin vault confirm-clock`)"
        } else {
            ""
        }
    );
    Ok(())
}

async fn runs(access: &Access, output: Output, limit: u32) -> anyhow::Result<()> {
    let request = ListRunsRequest {
        page_size: limit,
        before: 0,
    };
    let runs = access
        .retention()?
        .list_runs(request)
        .await
        .map_err(failed(Service::Retention))?
        .into_inner()
        .runs;
    let rows: Vec<_> = runs
        .iter()
        .map(|run| {
            [
                run.run_id.to_string(),
                run.started_at_ms.to_string(),
                run.epochs_destroyed.to_string(),
                run.store_rows_deleted.to_string(),
                run.relay_rows_deleted.to_string(),
                match (run.failure.as_str(), run.dry_run) {
                    ("", true) => "dry run".to_owned(),
                    ("", false) => "done".to_owned(),
                    (failure, _) => failure.to_owned(),
                },
            ]
        })
        .collect();
    let headings = [
        "run",
        "started (ms)",
        "epochs",
        "store rows",
        "relay rows",
        "outcome",
    ];
    let all: Vec<_> = runs.iter().map(describe).collect();
    output.say(&table(headings, &rows), &json!({"runs": all}))
}

async fn receipts(access: &Access, output: Output, limit: u32) -> anyhow::Result<()> {
    let request = ListReceiptsRequest {
        page_size: limit,
        before: 0,
    };
    let kept = access
        .retention()?
        .list_receipts(request)
        .await
        .map_err(failed(Service::Retention))?
        .into_inner()
        .receipts;
    let mut rows = Vec::new();
    let mut all = Vec::new();
    for stored in &kept {
        let receipt = stored.receipt.clone().unwrap_or_default();
        let read = ReadReceipt::new(&receipt)?;
        rows.push([
            stored.receipt_id.to_string(),
            read.destroyed_at_ms().to_string(),
            if read.is_signed() { "good" } else { "BAD" }.to_owned(),
            if stored.rows_deleted_at_ms == 0 {
                "not yet"
            } else {
                "gone"
            }
            .to_owned(),
            read.what(),
        ]);
        all.push(with_storage(read.json(), stored));
    }
    let headings = ["receipt", "destroyed (ms)", "signature", "rows", "what"];
    output.say(&table(headings, &rows), &json!({"receipts": all}))
}

fn with_storage(mut receipt: Value, stored: &StoredReceipt) -> Value {
    receipt["receipt_id"] = stored.receipt_id.into();
    receipt["rows_deleted_at_ms"] = stored.rows_deleted_at_ms.into();
    receipt
}

fn describe(run: &Run) -> Value {
    json!({
        "run_id": run.run_id,
        "started_at_ms": run.started_at_ms,
        "finished_at_ms": run.finished_at_ms,
        "epochs_destroyed": run.epochs_destroyed,
        "store_rows_deleted": run.store_rows_deleted,
        "relay_rows_deleted": run.relay_rows_deleted,
        "failure": run.failure,
        "dry_run": run.dry_run,
    })
}
