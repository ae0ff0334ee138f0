//! What a call knows about the connection it came in on.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Status, transport::server::Connected};

use crate::{identity::PeerIdentity, status::reason_status, tls::Guarded};

/// Who is at the other end.
#[derive(Clone, Debug)]
pub enum Peer {
    /// A service or an operator, by certificate.
    Known(Arc<PeerIdentity>),
    /// A caller of a public face, who proves itself inside, if at all.
    Anonymous,
}

/// In every request's extensions.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Who is at the other end.
    pub peer: Peer,
    /// From where.
    pub remote: SocketAddr,
    /// Cancelled when the connection will end soon: long streams end at the next good moment.
    pub draining: CancellationToken,
}

/// The certified peer behind a request on a face between services.
///
/// # Errors
/// UNAUTHENTICATED on a public face.
pub fn peer_of<T>(request: &Request<T>) -> Result<Arc<PeerIdentity>, Status> {
    match request.extensions().get::<Connection>() {
        Some(Connection {
            peer: Peer::Known(identity),
            ..
        }) => Ok(identity.clone()),
        _ => Err(no_certificate()),
    }
}

/// The token that tells a long stream to end soon; one that is never cancelled where there is no connection, as in tests.
#[must_use]
pub fn draining<T>(request: &Request<T>) -> CancellationToken {
    request
        .extensions()
        .get::<Connection>()
        .map_or_else(CancellationToken::new, |connection| {
            connection.draining.clone()
        })
}

pub(super) fn no_certificate() -> Status {
    reason_status(
        Code::Unauthenticated,
        "NO_CLIENT_CERTIFICATE",
        "a client certificate is needed",
    )
}

/// An accepted connection, as tonic serves it.
pub(super) struct Accepted {
    pub(super) stream: Guarded<TlsStream<TcpStream>>,
    pub(super) info: Connection,
    /// Its place among the connections that may be open at one time.
    pub(super) _place: OwnedSemaphorePermit,
}

impl Connected for Accepted {
    type ConnectInfo = Connection;

    fn connect_info(&self) -> Connection {
        self.info.clone()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
