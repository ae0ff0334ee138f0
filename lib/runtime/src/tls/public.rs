//! TLS towards the public: the server presents a certificate, the caller a token inside.

use std::{path::PathBuf, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{ServerConfig, version::TLS13};

use super::{
    TlsError, material, provider,
    reload::{self, Reload},
    service::refuse_resumption,
};
use crate::config::PublicTlsConfig;

/// A public face's certificate as it now is; clones share it, and it reloads like [`super::ServiceTls`].
#[derive(Clone)]
pub struct PublicTls {
    inner: Arc<Inner>,
}

struct Inner {
    config: PublicTlsConfig,
    current: ArcSwap<ServerConfig>,
}

impl PublicTls {
    /// Reads the files and starts watching them.
    ///
    /// # Errors
    /// When they cannot be read or do not fit together.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn load(config: &PublicTlsConfig) -> Result<Self, TlsError> {
        let inner = Arc::new(Inner {
            config: config.clone(),
            current: ArcSwap::from_pointee(read(config)?),
        });
        reload::watch(&inner);
        Ok(Self { inner })
    }

    /// Reads the files again now.
    ///
    /// # Errors
    /// When they cannot be used; the old ones then stay.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.inner.reload()
    }

    /// For the accepting side of a handshake.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.inner.current.load_full()
    }
}

impl Reload for Inner {
    fn files(&self) -> Vec<PathBuf> {
        let PublicTlsConfig {
            certificate,
            private_key,
        } = &self.config;
        vec![certificate.clone(), private_key.clone()]
    }

    fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(read(&self.config)?));
        Ok(())
    }
}

fn read(config: &PublicTlsConfig) -> Result<ServerConfig, TlsError> {
    let mut server = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(
            material::certificates(&config.certificate)?,
            material::private_key(&config.private_key)?,
        )?;
    refuse_resumption(&mut server);
    Ok(server)
}
