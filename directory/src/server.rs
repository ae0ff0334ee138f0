//! Puts the directory on its mTLS face and keeps it there until told to stop.

use anyhow::Context;
use sealpost_proto::{
    FILE_DESCRIPTOR_SET, directory::v1::directory_service_server::DirectoryServiceServer,
};
use sealpost_runtime::{
    Clock, MAX_MESSAGE_BYTES,
    server::{Listener, MetricsServer, Server, Services},
    tls::ServiceTls,
};
use tokio_util::sync::CancellationToken;

use crate::{ACCESS, Config, Datastore, Directory, upkeep};

/// Serves until `shutdown`, then lets calls end and closes the database.
///
/// # Errors
/// When the database, the certificates or an address cannot be used, or the transport fails.
pub async fn serve(config: Config, shutdown: CancellationToken) -> anyhow::Result<()> {
    let metrics = match &config.metrics {
        Some(metrics) => Some(MetricsServer::bind(metrics).await.context("metrics")?),
        None => None,
    };
    let tls = ServiceTls::load(&config.server.tls).context("server.tls")?;
    let datastore = Datastore::open(config.database.clone())
        .await
        .context("database")?;
    let clock = Clock::from_config(&config.clock);
    let directory = Directory::new(datastore.clone(), clock.clone());
    let service =
        DirectoryServiceServer::new(directory).max_decoding_message_size(MAX_MESSAGE_BYTES);
    let services = Services::new(FILE_DESCRIPTOR_SET)?.add(service);

    let listener = Listener::bind(config.server.listen)
        .await
        .context("server.listen")?;
    tracing::info!(address = %listener.local_addr(), "listening");
    if let Some(metrics) = metrics {
        tokio::spawn(metrics.serve(shutdown.clone()));
    }
    let upkeep = tokio::spawn(upkeep::keep(datastore.clone(), clock, shutdown.clone()));
    let served = Server::mutual(listener, services, &config.server, tls, &ACCESS)
        .serve(shutdown.clone())
        .await;
    shutdown.cancel();
    upkeep.await?;
    // Close even after a failed transport, so that the log is emptied into the database.
    let closed = datastore.close().await;
    served?;
    closed.context("database")
}
