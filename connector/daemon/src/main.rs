//! `sealpost-connector`: reads its configuration, builds the connector, serves it.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use sealpost_connector::{config::Config, connector::Connector, open_export, queue::MIGRATIONS};
use sealpost_database::DatabaseCommand;
use sealpost_runtime::{
    args::ServiceArgs, config, process, server::MetricsServer, shutdown, telemetry,
};

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

/// A business's own end of Sealpost: a Cloud-API-compatible REST face and webhooks.
#[derive(Parser)]
#[command(
    name = "sealpost-connector",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,

    #[command(flatten)]
    service: ServiceArgs,

    /// Print the messages of an export of `sealpost admin export`, opened with the business's keys, and stop.
    #[arg(long, value_name = "FILE")]
    open_export: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    process::harden().context("the process cannot be hardened")?;
    let Arguments {
        command,
        service,
        open_export: export,
    } = Arguments::parse();
    if let Some(command) = command {
        return Ok(tokio::runtime::Runtime::new()?.block_on(command.run(MIGRATIONS))?);
    }
    let config: Config = config::load("connector", &service)?;
    config.check()?;
    if config::only_checked(&service) {
        return Ok(());
    }
    if let Some(file) = export {
        return open_export::open(&config, &file, &mut std::io::stdout().lock());
    }
    telemetry::init("connector", &config.log, &service)?;
    tokio::runtime::Runtime::new()?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signals()?;
    if let Some(metrics) = &config.metrics {
        tokio::spawn(MetricsServer::bind(metrics).await?.serve(stop.clone()));
    }
    Connector::build(&config).await?.serve(stop).await
}
