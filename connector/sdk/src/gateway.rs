//! The gateway's gRPC client, with the business's token on every call.

use std::path::Path;

use sealpost_proto::gateway::v1::gateway_service_client::GatewayServiceClient;
use sealpost_runtime::{MAX_MESSAGE_BYTES, config::HostPorts, tls};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use zeroize::Zeroizing;

use crate::{SdkError, files::read_text};

pub(crate) type Gateway = GatewayServiceClient<InterceptedService<Channel, Bearer>>;

/// The token that says which business calls. Never prints.
pub struct Token(Zeroizing<String>);

impl Token {
    /// The token itself.
    #[must_use]
    pub fn new(token: String) -> Self {
        Self(Zeroizing::new(token))
    }

    /// From a file that only its owner may read.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn read(path: &Path) -> Result<Self, SdkError> {
        Ok(Self(read_text(path)?))
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

/// Puts `authorization: Bearer …` on every call.
#[derive(Clone)]
pub(crate) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

/// A lazy connection.
pub(crate) fn gateway(address: &HostPorts, ca: &Path, token: &Token) -> Result<Gateway, SdkError> {
    let header = Zeroizing::new(format!("Bearer {}", token.0.as_str()));
    let mut header: MetadataValue<Ascii> = header.parse().map_err(|_| SdkError::Token)?;
    // Keeps it out of HTTP/2's header table and of any Debug.
    header.set_sensitive(true);
    let channel = tls::connect_public(address, ca)?;
    Ok(
        GatewayServiceClient::with_interceptor(channel, Bearer(header))
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES),
    )
}
