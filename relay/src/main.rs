//! `sealpost-relay`: reads its settings and serves, or makes its bundle key.

use std::io::{self, Write};

use clap::Parser;
use sealpost_database::DatabaseCommand;
use sealpost_relay::{BoundRelay, BundleKey, Config, MIGRATIONS};
use sealpost_runtime::{
    args::ServiceArgs,
    config::{load, only_checked},
    process, shutdown, telemetry,
};

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

/// Forwards ciphertext between consumers' devices and the gateway.
#[derive(Parser)]
#[command(
    name = "sealpost-relay",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,

    #[command(flatten)]
    service: ServiceArgs,

    /// Make the bundle key when there is none, write its public half beside it (.pub) and to standard output, and stop.
    #[arg(long)]
    init: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::harden()?;
    let Arguments {
        command,
        service,
        init,
    } = Arguments::parse();
    if let Some(command) = command {
        return Ok(command.run(MIGRATIONS).await?);
    }
    let config: Config = load("relay", &service)?;
    if only_checked(&service) {
        return Ok(());
    }
    if init {
        let public = BundleKey::init(&config.bundle_key)?.public_key();
        writeln!(io::stdout(), "{}", hex::encode(public))?;
        return Ok(());
    }
    telemetry::init("relay", &config.log, &service)?;
    let relay = BoundRelay::bind(config).await?;
    relay.serve(shutdown::on_signals()?).await
}
