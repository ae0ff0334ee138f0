//! What grows with use: throughput and latency with full tables, with many numbers, and while a million records are deleted.

use std::time::Instant;

use anyhow::Context;
use clap::{Args, ValueEnum};
use sealpost_tests::progress;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::call::{Bench, words};
use crate::fill::Filling;
use crate::results::Results;
use crate::server::{Database, Server};
use crate::suite::Place;

const SET: &str = "growth";
/// What a record of the usual size takes on disk with its events and all indices, in bytes: measured, rounded up.
const RECORD_BYTES: u64 = 2_600;
/// What a consumer of the vault takes with a session.
const SESSION_BYTES: u64 = 9_000;
/// Longer than the longest retention class of a suite's numbers, 30 days, and an epoch of an hour.
const PAST: &str = "31d";

/// A part of the set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// More and more sessions in the vault
    Sessions,
    /// More and more records in the store
    Records,
    /// More and more numbers
    Numbers,
    /// Records past their retention are deleted while messages flow
    Deletion,
}

/// Options of the growth set.
#[derive(Args)]
pub struct Growth {
    /// How long each run is measured
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// Sessions in the vault
    #[arg(long, value_delimiter = ',', default_values = ["1000", "100000", "1000000"])]
    sessions: Vec<u64>,
    /// Records in the store
    #[arg(long, value_delimiter = ',', default_values = ["0", "1000000", "10000000"])]
    records: Vec<u64>,
    /// Numbers of the business
    #[arg(long, value_delimiter = ',', default_values = ["1", "100", "10000"])]
    numbers: Vec<u64>,
    /// Only these parts [default: all]
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Records past their retention that are deleted while messages flow
    #[arg(long, default_value_t = 1_000_000)]
    expired: u64,
    /// Characters of each text, and so the size of the records
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// On what
    #[arg(long, value_enum, default_value_t = Database::Sqlite)]
    database: Database,
}

impl Growth {
    /// Runs it.
    pub async fn run(&self, bench: &Bench, results: &mut Results) -> anyhow::Result<()> {
        let server = Server::start(self.database).await?;
        results.begin(SET, &format!("make growth SECONDS={}", self.seconds));
        let has = |part| self.only.is_empty() || self.only.contains(&part);
        if has(Part::Sessions) {
            self.tables(bench, &server, results, "sessions", &self.sessions)
                .await?;
        }
        if has(Part::Records) {
            self.tables(bench, &server, results, "records", &self.records)
                .await?;
        }
        if has(Part::Numbers) {
            self.many_numbers(bench, &server, results).await?;
        }
        if has(Part::Deletion) {
            self.deletion(bench, &server, results).await?;
        }
        Ok(())
    }

    /// The same suite again and again, with more and more rows.
    async fn tables(
        &self,
        bench: &Bench,
        server: &Server,
        results: &mut Results,
        what: &str,
        sizes: &[u64],
    ) -> anyhow::Result<()> {
        let place = Place::new(bench, server, &[])?;
        self.traffic_before(bench, &place).await?;
        for size in sizes {
            let a_row = match what {
                "sessions" => SESSION_BYTES,
                _ => RECORD_BYTES,
            };
            let (needs, free) = (size * a_row, place.free()?);
            if needs > free {
                // Loud, and in the page: a curve with a point less must not look whole.
                progress(&format!(
                    "LEFT OUT: {size} {what} need {needs} bytes of disk, and {free} are free"
                ));
                results.add(SET, "left_out", json!({"what": what, "size": size}))?;
                continue;
            }
            self.fill(&place, what, *size).await?;
            let suite = place.up().await?;
            let note = format!("{size} {what}, all but the newest of them synthetic rows");
            let report = self.measure(bench, &place, 1, &note).await?;
            suite.down().await?;
            results.add(SET, what, json!({"size": size, "report": report}))?;
        }
        Ok(())
    }

    /// Leaves rows to copy.
    async fn traffic_before(&self, bench: &Bench, place: &Place<'_>) -> anyhow::Result<()> {
        let suite = place.up().await?;
        let arguments = format!("--seconds 1 --warm-up 0.5 --size {}", self.size);
        bench
            .run(&place.arguments(&words(&arguments)), None)
            .await?;
        suite.down().await
    }

    async fn fill(&self, place: &Place<'_>, what: &str, size: u64) -> anyhow::Result<()> {
        let service = match what {
            "sessions" => "key-vault",
            _ => "store",
        };
        let mut filling = Filling::open(&place.database_of(service)?).await?;
        match what {
            "sessions" => filling.sessions(size).await?,
            _ => filling.records(size).await?,
        }
        filling.close().await
    }

    async fn measure(
        &self,
        bench: &Bench,
        place: &Place<'_>,
        numbers: u64,
        note: &str,
    ) -> anyhow::Result<Value> {
        let mut arguments = words(&self.how(numbers));
        arguments.extend(["--note".to_owned(), note.to_owned()]);
        bench.run(&place.arguments(&arguments), None).await
    }

    fn how(&self, numbers: u64) -> String {
        format!(
            "--in-flight 64 --consumers 64 --seconds {} --size {} --numbers {numbers}",
            self.seconds, self.size
        )
    }

    async fn many_numbers(
        &self,
        bench: &Bench,
        server: &Server,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        for numbers in &self.numbers {
            let place = Place::new(bench, server, &[format!("--numbers={numbers}")])?;
            let suite = place.up().await?;
            let note = format!("{numbers} numbers, every one of which takes part");
            let report = self.measure(bench, &place, *numbers, &note).await?;
            suite.down().await?;
            results.add(SET, "numbers", json!({"size": numbers, "report": report}))?;
        }
        Ok(())
    }

    /// Retention deletes what a destroyed epoch left, as after a store was restored, while messages flow.
    async fn deletion(
        &self,
        bench: &Bench,
        server: &Server,
        results: &mut Results,
    ) -> anyhow::Result<()> {
        let place = Place::new(bench, server, &["--clock-file".to_owned()])?;
        self.traffic_before(bench, &place).await?;
        let suite = place.up().await?;
        place.admin(&["clock", "advance", PAST]).await?;
        let run = place.admin(&["retention", "run"]).await?;
        anyhow::ensure!(
            run["epochs_destroyed"].as_u64() > Some(0),
            "no epoch was destroyed: {run}"
        );
        let note = "before: nothing is past its retention";
        let without = self.measure(bench, &place, 1, note).await?;
        suite.down().await?;

        let mut receipts = Filling::open(&place.database_of("retention")?).await?;
        let epoch = receipts.destroyed_epoch().await?;
        receipts.close().await?;
        let mut filling = Filling::open(&place.database_of("store")?).await?;
        filling.expired(self.expired, epoch).await?;
        filling.close().await?;

        let suite = place.up().await?;
        let mut arguments = words(&self.how(1));
        let note = format!(
            "meanwhile {} synthetic records past their retention are deleted",
            self.expired
        );
        arguments.extend(["--note".to_owned(), note]);
        let (tell, flowing) = oneshot::channel();
        let arguments = place.arguments(&arguments);
        let deleting = async {
            flowing.await.context("messages never flowed")?;
            // The start's own run may have begun already: this one follows it, and ends when all is gone.
            let begun = Instant::now();
            place.admin(&["retention", "run", "--again"]).await?;
            anyhow::Ok(begun.elapsed())
        };
        let (with, took) =
            tokio::try_join!(bench.run_and_tell(&arguments, None, Some(tell)), deleting)?;
        suite.down().await?;
        let mut filling = Filling::open(&place.database_of("store")?).await?;
        let left = filling.of_epoch(epoch).await?;
        filling.close().await?;
        anyhow::ensure!(left == 0, "{left} rows past their retention are left");
        results.add(
            SET,
            "deletion",
            json!({
                "expired": self.expired,
                "without": without,
                "with": with,
                "deleted_rows": 3 * self.expired,
                "gone_after_s": took.as_secs_f64(),
            }),
        )
    }
}
