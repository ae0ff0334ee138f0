//! `sealpost-retention`: reads its configuration, builds the jobs, runs and serves them.

use anyhow::Context;
use clap::Parser;
use sealpost_database::DatabaseCommand;
use sealpost_proto::FILE_DESCRIPTOR_SET;
use sealpost_retention::{
    MIGRATIONS, access::ACCESS, config::Config, datastore::Datastore, jobs::Jobs, moves::Moves,
    peers::Peers, schedule, service::Retention,
};
use sealpost_runtime::{
    Clock,
    args::ServiceArgs,
    config::{self, Replicas},
    process,
    server::{Listener, MetricsServer, Server, Services},
    shutdown, telemetry,
    tls::{self, ServiceTls, TlsError},
};
use tonic::transport::Channel;

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

/// The jobs that make retention promises true.
#[derive(Parser)]
#[command(
    name = "sealpost-retention",
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
    let config: Config = config::load("retention", &service)?;
    config.check()?;
    if config::only_checked(&service) {
        return Ok(());
    }
    telemetry::init("retention", &config.log, &service)?;
    tokio::runtime::Runtime::new()?.block_on(serve(config))
}

async fn serve(config: Config) -> anyhow::Result<()> {
    let stop = shutdown::on_signals()?;
    if let Some(metrics) = &config.metrics {
        tokio::spawn(MetricsServer::bind(metrics).await?.serve(stop.clone()));
    }
    let clock = Clock::from_config(&config.clock());
    let tls = ServiceTls::load(&config.server.tls)?;
    let peers = Peers::new(
        tls::connect(&config.peers.vault, &tls)?,
        channels(&config.peers.stores, &tls)?,
        channels(&config.peers.relays, &tls)?,
    );
    let moves = match &config.peers.directory {
        Some(directory) => {
            let stores = channels(&config.peers.stores, &tls)?;
            let moves = Moves::new(tls::connect(directory, &tls)?, stores);
            Some(tokio::spawn(moves.keep(stop.clone())))
        }
        None => None,
    };
    let datastore = Datastore::open(config.database.clone(), config.receipt_key()?).await?;
    let jobs = Jobs::new(datastore.clone(), peers, clock, config.batch_limit);
    let schedule = tokio::spawn(schedule::keep(
        jobs.clone(),
        config.interval(),
        stop.clone(),
    ));

    let retention = Retention::new(jobs, datastore.clone());
    let services = Services::new(FILE_DESCRIPTOR_SET)?.add(retention.into_server());
    let listener = Listener::bind(config.server.listen).await?;
    tracing::info!(address = %listener.local_addr(), "listening");
    let served = Server::mutual(listener, services, &config.server, tls, &ACCESS)
        .serve(stop.clone())
        .await;

    stop.cancel();
    schedule.await?;
    if let Some(moves) = moves {
        moves.await?;
    }
    datastore.close().await?;
    Ok(served?)
}

fn channels(peers: &[Replicas], tls: &ServiceTls) -> Result<Vec<Channel>, TlsError> {
    peers.iter().map(|peer| tls::connect(peer, tls)).collect()
}
