//! Measures whole suites through `sealpost bench` and writes what came of it into `docs/`: tables, plots, results.json.
//!
//! A program, not a test: `make bench`, `make growth` and `make overload` run it. Invariant: no figure in the pages is written by
//! hand; `render` makes them all anew from results.json. `SEALPOST_BINARIES` names another folder of binaries to measure.

mod call;
mod fairness;
mod fill;
mod growth;
mod machine;
mod overload;
mod pages;
mod plot;
mod results;
mod scaling;
mod server;
mod standard;
mod suite;
mod value;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use self::call::Bench;
use self::results::Results;

/// Measures whole suites and writes docs/performance.md
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
    /// Where the pages are
    #[arg(long, global = true, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs"))]
    docs: PathBuf,
}

#[derive(Subcommand)]
enum What {
    /// The standard set: both databases, both directions, windows and rates
    Standard(standard::Standard),
    /// What grows: sessions, records, numbers, and what is past its retention
    Growth(growth::Growth),
    /// Twice of what a suite can take, and neighbours that misbehave
    Overload(overload::Overload),
    /// Only the pages, from results.json
    Render,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let mut results = Results::open(&arguments.docs)?;
    let outcome = match arguments.what {
        What::Standard(set) => set.run(&Bench::find()?, &mut results).await,
        What::Growth(set) => set.run(&Bench::find()?, &mut results).await,
        What::Overload(set) => set.run(&Bench::find()?, &mut results).await,
        What::Render => Ok(()),
    };
    // What was measured before something went wrong is shown too.
    pages::render(&results, &arguments.docs)?;
    outcome
}
