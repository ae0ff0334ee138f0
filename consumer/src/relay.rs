//! The way to the relay's device face.

use std::path::Path;

use sealpost_proto::relay::v1::device_service_client::DeviceServiceClient;
use sealpost_runtime::{MAX_MESSAGE_BYTES, config::HostPorts, tls};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};

use crate::ConsumerError;

/// A channel to the relay's device face. It connects on the first call, and again after it broke.
#[derive(Clone, Debug)]
pub struct Relay {
    channel: Channel,
}

impl Relay {
    /// Over TLS 1.3, to one relay or whichever of its replicas answers; the certificate must be signed by the authority in the PEM file `ca` and name the host.
    ///
    /// # Errors
    /// When the address or the file cannot be used.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(address: &HostPorts, ca: &Path) -> Result<Self, ConsumerError> {
        Ok(Self {
            channel: tls::connect_public(address, ca)?,
        })
    }

    /// Over a channel that stands already: tests, and transports of one's own.
    #[must_use]
    pub fn over(channel: Channel) -> Self {
        Self { channel }
    }

    pub(crate) fn device(&self) -> DeviceServiceClient<Channel> {
        DeviceServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Calls in the name of a registered device.
#[derive(Clone)]
pub(crate) struct Session {
    relay: Relay,
    authorization: MetadataValue<Ascii>,
}

impl Session {
    pub(crate) fn new(relay: Relay, token: &str) -> Result<Self, ConsumerError> {
        let mut authorization: MetadataValue<Ascii> = format!("Bearer {token}")
            .parse()
            .map_err(|_| ConsumerError::Malformed("the device token is not printable"))?;
        authorization.set_sensitive(true);
        Ok(Self {
            relay,
            authorization,
        })
    }

    pub(crate) fn device(&self) -> DeviceServiceClient<Channel> {
        self.relay.device()
    }

    pub(crate) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert("authorization", self.authorization.clone());
        request
    }
}
