//! A connection that can be ended from outside: by age, by revocation, by the end of a drain.
//!
//! A long-lived stream never asks again who its peer is, so a task beside each connection does.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::ServiceTls;
use crate::identity::PeerIdentity;

/// How often a standing connection is looked at again, even when no file changed: time alone ends lists and certificates.
const RECHECK: Duration = Duration::from_secs(15);

/// How long a refused peer's calls get to end by themselves; new ones are refused meanwhile.
const REFUSED_GRACE: Duration = Duration::from_secs(2);

/// The two ways to end one connection.
#[derive(Clone, Debug)]
pub(crate) struct Leash {
    /// Streams should end at the next good moment.
    pub(crate) drain: CancellationToken,
    /// Reads and writes fail from now on.
    pub(crate) cut: CancellationToken,
}

impl Leash {
    /// A leash that drains when `parent` is cancelled.
    pub(crate) fn under(parent: &CancellationToken) -> Self {
        Self {
            drain: parent.child_token(),
            cut: CancellationToken::new(),
        }
    }

    /// Watches one connection until it is cut. At `age` it drains, and `grace` after any drain it is cut.
    pub(crate) async fn watch(
        self,
        peer: Option<(ServiceTls, PeerIdentity)>,
        age: Duration,
        grace: Duration,
    ) {
        let refused = async {
            match &peer {
                Some((tls, peer)) => refused(tls, peer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.cut.cancelled() => return,
            () = refused => {
                self.drain.cancel();
                sleep(REFUSED_GRACE.min(grace)).await;
            }
            () = async {
                tokio::select! {
                    () = sleep(age) => self.drain.cancel(),
                    () = self.drain.cancelled() => {}
                }
                sleep(grace).await;
            } => {}
        }
        self.cut.cancel();
    }
}

/// Returns when `peer` no longer stands.
async fn refused(tls: &ServiceTls, peer: &PeerIdentity) {
    let mut reloads = tls.reloads();
    loop {
        if let Err(refusal) = tls.check(peer) {
            let (role, reason) = (peer.role.as_str(), refusal.reason());
            tracing::warn!(role, reason, "connection ended");
            return;
        }
        let next = Instant::now() + RECHECK;
        if let Ok(Err(_)) = timeout_at(next, reloads.changed()).await {
            // No more reloads: only time can refuse it.
            sleep_until(next).await;
        }
    }
}

/// A stream that fails once its leash is cut, and cuts it when dropped, so that the watching task ends with it.
pub(crate) struct Guarded<S> {
    stream: S,
    leash: Leash,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<S> Guarded<S> {
    pub(crate) fn new(stream: S, leash: Leash) -> Self {
        Self {
            stream,
            cut: Box::pin(leash.cut.clone().cancelled_owned()),
            leash,
        }
    }

    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        self.cut
            .as_mut()
            .poll(context)
            .map(|()| io::ErrorKind::ConnectionAborted.into())
    }
}

impl<S> Drop for Guarded<S> {
    fn drop(&mut self) {
        self.leash.cut.cancel();
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.poll_cut(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.leash.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write(context, buffer)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.leash.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
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
        if self.leash.cut.is_cancelled() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
