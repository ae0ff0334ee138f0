//! The socket between the two drivers: each tells the other how many messages it decrypted, and so opens the other's window.
//!
//! Four bytes each time, little-endian; what is decrypted meanwhile goes with the next.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::sleep;

/// Between two looks whether the other has its end open.
const AGAIN: Duration = Duration::from_millis(20);

/// What was decrypted and not told yet.
#[derive(Default)]
pub struct Released {
    count: AtomicU32,
    more: Notify,
}

impl Released {
    /// So many more.
    pub fn add(&self, count: u32) {
        if count > 0 {
            self.count.fetch_add(count, Ordering::Relaxed);
            self.more.notify_one();
        }
    }

    async fn take(&self) -> u32 {
        loop {
            let count = self.count.swap(0, Ordering::Relaxed);
            if count > 0 {
                return count;
            }
            self.more.notified().await;
        }
    }
}

/// The end that the other connects to.
pub async fn listen(path: &Path) -> io::Result<UnixStream> {
    let (stream, _) = UnixListener::bind(path)?.accept().await?;
    Ok(stream)
}

/// The end that connects, as soon as there is one to connect to.
pub async fn connect(path: &Path) -> UnixStream {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return stream,
            Err(_) => sleep(AGAIN).await,
        }
    }
}

/// Tells what was released here, and opens the window by what was released there, until the other is gone.
pub async fn run(stream: UnixStream, released: Arc<Released>, window: Arc<Semaphore>) {
    let (mut read, mut write) = stream.into_split();
    let telling = async {
        loop {
            let count = released.take().await;
            if write.write_all(&count.to_le_bytes()).await.is_err() {
                return;
            }
        }
    };
    let hearing = async {
        while let Ok(count) = read.read_u32_le().await {
            window.add_permits(count as usize);
        }
    };
    tokio::join!(telling, hearing);
}
