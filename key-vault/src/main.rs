//! Reads configuration, builds, serves.

use clap::Parser;
use sealpost_database::DatabaseCommand;
use sealpost_key_vault::{Config, MIGRATIONS, Vault, access::ACCESS, custody::init::init, grpc};
use sealpost_runtime::{
    Clock,
    args::ServiceArgs,
    config, process,
    server::{Listener, MetricsServer, Server, Services},
    shutdown, telemetry,
    tls::ServiceTls,
};
use tokio_util::sync::CancellationToken;

const SERVICE: &str = "key-vault";

/// The one process that touches Signal keys.
#[derive(Parser)]
#[command(
    name = "sealpost-key-vault",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,

    #[command(flatten)]
    service: ServiceArgs,

    /// Make root key, keyring and database where they are absent, and stop.
    #[arg(long)]
    init: bool,
}

fn main() -> anyhow::Result<()> {
    process::harden()?;
    let arguments = Arguments::parse();
    if let Some(command) = arguments.command {
        return Ok(tokio::runtime::Runtime::new()?.block_on(command.run(MIGRATIONS))?);
    }
    let config: Config = config::load(SERVICE, &arguments.service)?;
    let clock = Clock::from_config(&config.clock()?);
    if config::only_checked(&arguments.service) {
        return Ok(());
    }
    telemetry::init(SERVICE, &config.log, &arguments.service)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if arguments.init {
        return Ok(runtime.block_on(init(&config, &clock))?);
    }
    runtime.block_on(serve(config, clock))
}

async fn serve(mut config: Config, clock: Clock) -> anyhow::Result<()> {
    let asked_to_stop = shutdown::on_signals()?;
    let shutdown = CancellationToken::new();
    let tls = ServiceTls::load(&config.server.tls)?;
    config.name = config.name.or_else(|| tls.identity().name);
    if let Some(metrics) = &config.metrics {
        tokio::spawn(MetricsServer::bind(metrics).await?.serve(shutdown.clone()));
    }
    let vault = Vault::open(&config, clock).await?;
    let house = tokio::spawn(vault.clone().keep_house(shutdown.clone()));
    // Its shards go first, so that others serve them before this one stops listening.
    let shards = tokio::spawn({
        let (vault, shutdown, stopping) = (vault.clone(), shutdown.clone(), asked_to_stop.clone());
        async move {
            let _stops = shutdown.drop_guard();
            vault.keep_shards(stopping).await;
        }
    });
    let listener = Listener::bind(config.server.listen).await?;
    let services =
        Services::new(sealpost_proto::FILE_DESCRIPTOR_SET)?.add(grpc::server(vault.clone()));
    let served = Server::mutual(listener, services, &config.server, tls, &ACCESS)
        .serve(shutdown.clone())
        .await;
    shutdown.cancel();
    asked_to_stop.cancel();
    shards.await?;
    house.await?;
    vault.close().await?;
    Ok(served?)
}
