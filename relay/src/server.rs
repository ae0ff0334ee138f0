//! Puts the relay on its two faces and keeps it there until told to stop.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Context;
use sealpost_proto::{
    FILE_DESCRIPTOR_SET,
    relay::v1::{
        device_service_server::DeviceServiceServer, platform_service_server::PlatformServiceServer,
    },
};
use sealpost_runtime::{
    Clock, MAX_MESSAGE_BYTES,
    server::{Listener, MetricsServer, Server, ServerError, Services},
    tls::{PublicTls, ServiceTls},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ACCESS, BundleKey, CodeSender, CodesConfig, CommandSender, Config, Datastore, DeviceFace,
    FileSender, PlatformFace, Relay, auth::TokenLayer, upkeep, wakes,
};

/// The relay, with both faces bound and nobody served yet.
pub struct BoundRelay {
    platform: (SocketAddr, Server),
    device: (SocketAddr, Server),
    metrics: Option<MetricsServer>,
    relay: Arc<Relay>,
}

impl BoundRelay {
    /// Opens what the configuration names.
    ///
    /// # Errors
    /// When the bundle key, the database, the certificates or an address cannot be used.
    pub async fn bind(config: Config) -> anyhow::Result<Self> {
        let metrics = match &config.metrics {
            Some(metrics) => Some(MetricsServer::bind(metrics).await.context("metrics")?),
            None => None,
        };
        let key = BundleKey::load(&config.bundle_key)
            .context("no usable bundle key; `sealpost-relay --init` makes one")?;
        let service_tls = ServiceTls::load(&config.server.tls).context("server.tls")?;
        let public_tls = PublicTls::load(&config.public.tls).context("public.tls")?;
        let platform_listener = Listener::bind(config.server.listen)
            .await
            .context("server.listen")?;
        let device_listener = Listener::bind(config.public.listen)
            .await
            .context("public.listen")?;

        let datastore = Datastore::open(config.database).await.context("database")?;
        let clock = Clock::from_config(&config.clock);
        let sender = sender(&config.codes);
        let relay = Relay::new(datastore, clock, key, sender, config.limits);
        let relay = Arc::new(relay);

        let platform = PlatformServiceServer::new(PlatformFace::new(relay.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let device = DeviceServiceServer::new(DeviceFace::new(relay.clone()))
            .max_decoding_message_size(MAX_MESSAGE_BYTES);
        let platform = Services::new(FILE_DESCRIPTOR_SET)?.add(platform);
        let device = Services::new(FILE_DESCRIPTOR_SET)?.add(device);
        Ok(Self {
            platform: (
                platform_listener.local_addr(),
                Server::mutual(
                    platform_listener,
                    platform,
                    &config.server,
                    service_tls,
                    &ACCESS,
                ),
            ),
            device: (
                device_listener.local_addr(),
                Server::public(device_listener, device, &config.public, public_tls)
                    .layer(TokenLayer::new(relay.clone())),
            ),
            metrics,
            relay,
        })
    }

    /// Where services call.
    #[must_use]
    pub fn platform_address(&self) -> SocketAddr {
        self.platform.0
    }

    /// Where devices call.
    #[must_use]
    pub fn device_address(&self) -> SocketAddr {
        self.device.0
    }

    /// Serves until `shutdown`, then lets calls end and closes the database.
    ///
    /// # Errors
    /// When a transport fails or the database cannot be closed.
    pub async fn serve(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        tracing::info!(address = %self.platform.0, name = "platform", "listening");
        tracing::info!(address = %self.device.0, name = "device", "listening");
        if let Some(metrics) = self.metrics {
            tokio::spawn(metrics.serve(shutdown.clone()));
        }
        wakes::start(&self.relay, &shutdown).await?;
        tokio::spawn(upkeep::keep(self.relay.clone(), shutdown.clone()));
        let served = tokio::join!(
            until_one_ends(self.platform.1, &shutdown),
            until_one_ends(self.device.1, &shutdown)
        );
        // Close even after a failed transport, so that the log is emptied into the database.
        let closed = self.relay.datastore.close().await;
        served.0?;
        served.1?;
        closed.context("database")
    }
}

/// A face that fails takes the other one with it: half a relay helps nobody.
async fn until_one_ends(face: Server, shutdown: &CancellationToken) -> Result<(), ServerError> {
    let ended = face.serve(shutdown.clone()).await;
    shutdown.cancel();
    ended
}

/// The configuration was checked when it was read: there is either a file or a command.
fn sender(config: &CodesConfig) -> Arc<dyn CodeSender> {
    match (&config.file, config.command.split_first()) {
        (None, Some((program, arguments))) => {
            Arc::new(CommandSender::new(program.into(), arguments.to_vec()))
        }
        (file, _) => Arc::new(FileSender::new(file.clone().unwrap_or_default())),
    }
}
