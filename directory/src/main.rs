//! `sealpost-directory`: reads its settings and serves.

use clap::Parser;
use sealpost_database::DatabaseCommand;
use sealpost_directory::{Config, MIGRATIONS, serve};
use sealpost_runtime::{
    args::ServiceArgs,
    config::{load, only_checked},
    process, shutdown, telemetry,
};

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

/// Businesses, their numbers, regions and access tokens.
#[derive(Parser)]
#[command(
    name = "sealpost-directory",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,

    #[command(flatten)]
    service: ServiceArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::harden()?;
    let Arguments { command, service } = Arguments::parse();
    if let Some(command) = command {
        return Ok(command.run(MIGRATIONS).await?);
    }
    let config: Config = load("directory", &service)?;
    if only_checked(&service) {
        return Ok(());
    }
    telemetry::init("directory", &config.log, &service)?;
    serve(config, shutdown::on_signals()?).await
}
