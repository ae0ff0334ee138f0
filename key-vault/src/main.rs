//! Reads configuration, builds, serves.

use std::io::{self, Write};

use anyhow::bail;
use clap::{Parser, ValueEnum};
use sealpost_database::DatabaseCommand;
use sealpost_key_vault::{
    Config, Keeper, MIGRATIONS,
    access::ACCESS,
    containment::{contain, missing},
    custody::{init::init, unseal::NewSeal},
    grpc,
};
use sealpost_runtime::{
    Allocator, Clock,
    args::ServiceArgs,
    config, process,
    server::{Listener, MetricsServer, Server, Services},
    shutdown, telemetry,
    tls::ServiceTls,
};
use tokio_util::sync::CancellationToken;
use zeroizing_alloc::ZeroAlloc;

const SERVICE: &str = "key-vault";

/// Wipes what is freed: keys and plaintext pass through libraries that do not.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<Allocator> = ZeroAlloc(Allocator);

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

    /// Make root key, keyring and database where they are absent, and stop. Only with a provider that unseals by itself; a vault that
    /// persons unseal is started without, and initialised with `sealpost admin vault init`.
    #[arg(long)]
    init: bool,

    /// Print the layers of containment that this machine has not got, one on each line, and stop.
    #[arg(long, conflicts_with = "init")]
    check_containment: bool,

    /// With --init: what is to seal the root key [default: the one that [unseal] names]
    #[arg(long, requires = "init")]
    provider: Option<Provider>,
}

/// Providers that need nobody.
#[derive(Clone, Copy, ValueEnum)]
enum Provider {
    /// A key in a file: `[unseal.key-file]`
    KeyFile,
    /// A key in a PKCS#11 token: `[unseal.pkcs11]`
    Pkcs11,
    /// No secret at all, for development
    Development,
}

/// What seals the root key of a vault that is made now.
fn provider_of(config: &Config, chosen: Option<Provider>) -> anyhow::Result<NewSeal> {
    let unseal = &config.unseal;
    Ok(
        match (chosen, unseal.key_file.is_some(), unseal.pkcs11.is_some()) {
            (Some(Provider::KeyFile), _, _) | (None, true, false) => NewSeal::KeyFile,
            (Some(Provider::Pkcs11), _, _) | (None, false, true) => NewSeal::Pkcs11,
            (Some(Provider::Development), _, _) => NewSeal::Development,
            (None, true, true) => bail!("[unseal] names two providers: choose one with --provider"),
            (None, false, false) => bail!(
                "[unseal] names no provider that unseals by itself: add [unseal.key-file] or [unseal.pkcs11], or start \
                 the vault and run `sealpost admin vault init`"
            ),
        },
    )
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
    if arguments.check_containment {
        for layer in missing(&config) {
            writeln!(io::stdout(), "{}", layer.layer)?;
        }
        return Ok(());
    }
    telemetry::init(SERVICE, &config.log, &arguments.service)?;
    if !arguments.init {
        contain(&config)?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    if arguments.init {
        let provider = provider_of(&config, arguments.provider)?;
        runtime.block_on(init(&config, &clock, &provider))?;
        return Ok(());
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
    let services = Services::new(sealpost_proto::FILE_DESCRIPTOR_SET)?;
    let keeper = Keeper::new(
        config.clone(),
        clock,
        services.health(),
        asked_to_stop.clone(),
    );
    keeper.start().await?;
    // Its shards go first, so that others serve them before this one stops listening.
    let retiring = tokio::spawn({
        let (keeper, shutdown, stopping) =
            (keeper.clone(), shutdown.clone(), asked_to_stop.clone());
        async move {
            let _stops = shutdown.drop_guard();
            stopping.cancelled().await;
            keeper.retire().await;
        }
    });
    let listener = Listener::bind(config.server.listen).await?;
    let services = services
        .add(grpc::server(keeper.clone()))
        .add(grpc::seal::server(keeper.clone()))
        .regardless::<grpc::seal::Server>();
    let served = Server::mutual(listener, services, &config.server, tls, &ACCESS)
        .serve(shutdown.clone())
        .await;
    shutdown.cancel();
    asked_to_stop.cancel();
    retiring.await?;
    keeper.close().await?;
    Ok(served?)
}
