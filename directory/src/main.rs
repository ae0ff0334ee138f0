//! `sealpost-directory`: reads its settings and serves.

use clap::Parser;
use sealpost_directory::{Config, serve};
use sealpost_runtime::{
    args::ServiceArgs,
    config::{load, only_checked},
    process, shutdown, telemetry,
};

/// Businesses, their numbers, regions and access tokens.
#[derive(Parser)]
#[command(name = "sealpost-directory", version)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::harden()?;
    let Arguments { service } = Arguments::parse();
    let config: Config = load("directory", &service)?;
    if only_checked(&service) {
        return Ok(());
    }
    telemetry::init("directory", &config.log, &service)?;
    serve(config, shutdown::on_signals()?).await
}
