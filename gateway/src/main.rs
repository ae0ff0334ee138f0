//! `sealpost-gateway`: reads its configuration, builds, serves.

use anyhow::{Context as _, Result};
use clap::Parser;
use sealpost_gateway::{
    access::ACCESS,
    config::Config,
    gateway::Gateway,
    layers::{Authenticate, Concurrency, Deadline},
    peers::Channels,
    vault::VaultChannels,
};
use sealpost_runtime::{
    Clock,
    args::ServiceArgs,
    config, process,
    server::{Listener, MetricsServer, Server, Services},
    shutdown, telemetry,
    tls::{PublicTls, ServiceTls, connect},
};
use std::time::Duration;

#[global_allocator]
static ALLOCATOR: sealpost_runtime::Allocator = sealpost_runtime::Allocator;

#[derive(Parser)]
#[command(
    name = "sealpost-gateway",
    version,
    about = "The API edge that businesses call."
)]
struct Arguments {
    #[command(flatten)]
    service: ServiceArgs,
}

#[tokio::main]
async fn main() -> Result<()> {
    process::harden()?;
    let arguments = Arguments::parse();
    let config: Config = config::load("gateway", &arguments.service)?;
    config.check()?;
    if config::only_checked(&arguments.service) {
        return Ok(());
    }
    telemetry::init("gateway", &config.log, &arguments.service)?;
    let stop = shutdown::on_signals()?;
    if let Some(metrics) = &config.metrics {
        let metrics = MetricsServer::bind(metrics).await?;
        tokio::spawn(metrics.serve(stop.clone()));
    }

    let tls = ServiceTls::load(&config.server.tls).context("server.tls")?;
    let public_tls = PublicTls::load(&config.public.tls).context("public.tls")?;
    let peers = &config.peers;
    let vaults = peers.vault.all().iter();
    let channels = Channels {
        vault: VaultChannels {
            any: connect(&peers.vault, &tls)?,
            each: vaults
                .map(|vault| {
                    Ok((
                        vault.name.clone().unwrap_or_default(),
                        connect(vault, &tls)?,
                    ))
                })
                .collect::<Result<_>>()?,
        },
        store: connect(&peers.store, &tls)?,
        stores: config
            .stores
            .iter()
            .map(|(region, store)| Ok((region.clone(), connect(store, &tls)?)))
            .collect::<Result<_>>()?,
        directory: connect(&peers.directory, &tls)?,
        relay: connect(&peers.relay, &tls)?,
    };
    let name = config
        .name
        .clone()
        .or_else(|| tls.identity().name)
        .unwrap_or_else(|| "gateway".to_owned());
    let clock = Clock::from_config(&config.clock());
    let gateway = Gateway::start(channels, &config.limits, &name, &clock, &stop);

    let public = Listener::bind(config.public.listen)
        .await
        .context("public.listen")?;
    let private = Listener::bind(config.server.listen)
        .await
        .context("server.listen")?;
    tracing::info!(address = %public.local_addr(), "serving businesses");
    tracing::info!(address = %private.local_addr(), "serving operators");

    let descriptors = sealpost_proto::FILE_DESCRIPTOR_SET;
    let offered = Services::new(descriptors)?.add(gateway.server());
    let watched = Services::new(descriptors)?;
    let faces = [offered.health(), watched.health()];
    let limits = &config.limits;
    let public = Server::public(public, offered, &config.public, public_tls)
        .layer(Authenticate::new(gateway.tokens()))
        .layer(Deadline(Duration::from_secs(limits.call_seconds)))
        .layer(Concurrency::new(limits.calls, limits.streams));
    let private = Server::mutual(private, watched, &config.server, tls, &ACCESS);

    let readiness = gateway.readiness();
    // A face that fails ends the other too.
    let (public, private, ()) = tokio::join!(
        async {
            let _guard = stop.clone().drop_guard();
            public.serve(stop.clone()).await
        },
        async {
            let _guard = stop.clone().drop_guard();
            private.serve(stop.clone()).await
        },
        readiness.report(&faces, stop.clone()),
    );
    gateway.drain().await;
    public?;
    private?;
    Ok(())
}
