//! `sealpost-store`: reads its configuration, builds the store, serves it.

use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use sealpost_database::DatabaseCommand;
use sealpost_proto::FILE_DESCRIPTOR_SET;
use sealpost_runtime::{
    Clock,
    args::ServiceArgs,
    config, process,
    server::{Listener, MetricsServer, Server, Services},
    shutdown, telemetry,
    tls::{self, ServiceTls},
};
use sealpost_store::{
    MIGRATIONS, access::ACCESS, announce, config::Config, datastore::Datastore, service::Store,
    upkeep, vault_watch,
};
use tokio::sync::Notify;

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

/// The encrypted message store of one region.
#[derive(Parser)]
#[command(
    name = "sealpost-store",
    version,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,

    #[command(flatten)]
    service: ServiceArgs,
}

fn main() -> anyhow::Result<()> {
    process::harden().context("the process cannot be hardened")?;
    let Arguments { command, service } = Arguments::parse();
    if let Some(command) = command {
        return Ok(tokio::runtime::Runtime::new()?.block_on(command.run(MIGRATIONS))?);
    }
    let config: Config = config::load("store", &service)?;
    config.check()?;
    if config::only_checked(&service) {
        return Ok(());
    }
    telemetry::init("store", &config.log, &service)?;
    tokio::runtime::Runtime::new()?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signals()?;
    if let Some(metrics) = &config.metrics {
        tokio::spawn(MetricsServer::bind(metrics).await?.serve(stop.clone()));
    }
    let clock = Clock::from_config(&config.clock());
    let tls = ServiceTls::load(&config.server.tls)?;
    let vault = tls::connect(&config.peers.vault, &tls)?;
    let datastore = Datastore::open(config.database.clone()).await?;
    announce::start(&datastore, &stop).await?;

    let wake = Arc::new(Notify::new());
    let background = [
        tokio::spawn(vault_watch::follow(
            vault,
            datastore.clone(),
            clock.clone(),
            wake.clone(),
            stop.clone(),
        )),
        tokio::spawn(upkeep::keep(
            datastore.clone(),
            clock.clone(),
            wake.clone(),
            stop.clone(),
        )),
    ];

    let store = Store::new(datastore.clone(), clock, wake, config.region.clone());
    let services = Services::new(FILE_DESCRIPTOR_SET)?.add(store.into_server());
    let listener = Listener::bind(config.server.listen).await?;
    tracing::info!(address = %listener.local_addr(), "listening");
    let served = Server::mutual(listener, services, &config.server, tls, &ACCESS)
        .serve(stop.clone())
        .await;

    stop.cancel();
    for task in background {
        task.await?;
    }
    datastore.close().await?;
    Ok(served?)
}
