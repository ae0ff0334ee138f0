//! Orders to the marks in the services' code: at which point a process dies, or a step fails (`lib/failpoints`).
//!
//! Only a suite that was booted with [`Options::failpoints`](crate::Options) has marks to order.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::ensure;
use tokio::time::sleep;

/// What a process reads the folder's name from.
pub const FOLDER: &str = "SEALPOST_FAILPOINTS";

/// The folder of orders of one suite.
#[derive(Clone, Debug)]
pub struct Orders(PathBuf);

/// What is to happen at a point.
#[derive(Clone, Debug)]
pub enum Order {
    /// The process dies when it comes there for the nth time, and these with it at the same moment.
    Kill(u32, Vec<u32>),
    /// The step fails when it is done for the nth time.
    Fail(u32),
    /// The step fails until the order is taken back.
    FailEach,
}

impl Orders {
    /// In this folder, which need not exist.
    #[must_use]
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// Gives an order to a service, by its name, or to `sealpost` itself (a chat).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn give(&self, service: &str, point: &str, order: &Order) -> anyhow::Result<()> {
        let folder = self.0.join(service);
        fs::create_dir_all(&folder)?;
        let line = match order {
            Order::Kill(nth, others) => {
                let others: Vec<_> = others.iter().map(u32::to_string).collect();
                format!("{nth} kill {}", others.join(" "))
            }
            Order::Fail(nth) => format!("{nth} fail"),
            Order::FailEach => "each fail".to_owned(),
        };
        remove(&folder.join(format!("{point}.reached")))?;
        // Whole or not at all: services read at any moment.
        let draft = self.0.join("draft");
        fs::write(&draft, line)?;
        Ok(fs::rename(draft, folder.join(point))?)
    }

    /// Takes an order back.
    ///
    /// # Errors
    /// When the file stays.
    pub fn take_back(&self, service: &str, point: &str) -> anyhow::Result<()> {
        remove(&self.0.join(service).join(point))
    }

    /// Whether the point was reached since the order was given.
    #[must_use]
    pub fn is_reached(&self, service: &str, point: &str) -> bool {
        let done = format!("{point}.reached");
        self.0.join(service).join(done).exists()
    }

    /// Waits until the point is reached.
    ///
    /// # Errors
    /// When nothing ever came there.
    pub async fn reached(&self, service: &str, point: &str, limit: Duration) -> anyhow::Result<()> {
        let start = Instant::now();
        while !self.is_reached(service, point) {
            ensure!(
                start.elapsed() < limit,
                "{service} never came to {point} in {limit:?}"
            );
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}
