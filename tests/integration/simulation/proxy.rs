//! A way to a service that can be cut: every connection through it at once, in the middle of whatever it carries.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Forwards until dropped.
pub struct Proxy {
    address: String,
    line: Arc<Mutex<CancellationToken>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// To a service at `target`, `host:port`.
    pub async fn to(target: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?.to_string();
        let line = Arc::<Mutex<CancellationToken>>::default();
        let (target, current) = (target.to_owned(), line.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, line) = (target.clone(), held(&current).clone());
                tokio::spawn(async move {
                    tokio::select! {
                        () = forward(near, &target) => {}
                        () = line.cancelled() => {}
                    }
                });
            }
        });
        Ok(Self {
            address,
            line,
            accepting,
        })
    }

    /// Where it listens, `host:port`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Cuts every connection; new ones pass.
    pub fn cut(&self) {
        std::mem::take(&mut *held(&self.line)).cancel();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

fn held(line: &Mutex<CancellationToken>) -> std::sync::MutexGuard<'_, CancellationToken> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn forward(mut near: TcpStream, target: &str) {
    // Whoever calls tries again: that the service is away is its business.
    if let Ok(mut far) = TcpStream::connect(target).await {
        let _ = near.set_nodelay(true);
        let _ = far.set_nodelay(true);
        let _ = copy_bidirectional(&mut near, &mut far).await;
    }
}
