//! A wire that can be cut: TCP between a client and a server, in the middle of whatever they say.
//!
//! It knows nothing of TLS and cannot change a byte; it can only stop carrying.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the other direction still carries when one was cut: what was asked is answered, or what was answered asked again.
const HALF_DEAD: Duration = Duration::from_millis(150);

/// What is cut first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing: both directions at once.
    Both,
    /// What the client says is dropped, while answers still arrive.
    Requests,
    /// What the server says is dropped, while requests still arrive.
    Responses,
}

/// A running proxy; its end cuts every connection.
pub struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<(u64, Cut)>,
    connections: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port and carries to `target` (`host:port`).
    ///
    /// # Errors
    /// When no port is free.
    pub async fn to(target: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (cut, cuts) = watch::channel((0, Cut::Both));
        let connections = Arc::<AtomicUsize>::default();
        let (target, counted) = (target.to_owned(), connections.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (target, mut cuts) = (target.clone(), cuts.clone());
                let counted = counted.clone();
                tokio::spawn(async move {
                    // Cuts of earlier connections are none of this one's.
                    cuts.mark_unchanged();
                    if let Ok(server) = TcpStream::connect(&target).await {
                        counted.fetch_add(1, Ordering::SeqCst);
                        carry(client, server, cuts).await;
                    }
                });
            }
        });
        Ok(Self {
            address,
            cut,
            connections,
            accepting,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections carried so far.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Cuts every connection that stands.
    pub fn cut(&self, how: Cut) {
        self.cut.send_modify(|(count, last)| {
            *count += 1;
            *last = how;
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut(Cut::Both);
    }
}

/// Carries both ways until an end closes, or it is cut.
async fn carry(client: TcpStream, server: TcpStream, mut cuts: watch::Receiver<(u64, Cut)>) {
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = tokio::spawn(pump(from_client, to_server));
    let responses = tokio::spawn(pump(from_server, to_client));
    let ends = [requests.abort_handle(), responses.abort_handle()];
    tokio::select! {
        _ = requests => {}
        _ = responses => {}
        _ = cuts.changed() => {
            match cuts.borrow_and_update().1 {
                Cut::Both => {}
                Cut::Requests => ends[0].abort(),
                Cut::Responses => ends[1].abort(),
            }
            tokio::time::sleep(HALF_DEAD).await;
        }
    }
    for end in ends {
        end.abort();
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
