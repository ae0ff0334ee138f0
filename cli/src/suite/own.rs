//! A suite made for one run of a command: `sealpost up` in a temporary folder, gone afterwards.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

/// How long it may take until it runs.
const UP_TIME: Duration = Duration::from_secs(180);
/// And until it has ended.
const DOWN_TIME: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(100);

/// A running suite.
pub struct OwnSuite {
    folder: TempDir,
    up: Child,
}

impl OwnSuite {
    /// Boots it for the command of that name with these options of `up`, and its databases there, when a URL is given.
    pub async fn up(
        command: &str,
        options: &[String],
        database: Option<&str>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix(&format!("sealpost-{command}-"))
            .tempdir()?;
        let mut up = Command::new(std::env::current_exe()?);
        if let Some(url) = database {
            // Not an argument: it can hold a password, and a command line is everybody's to read.
            up.env("SEALPOST_UP_DATABASE", url);
        }
        let up = up
            .arg("up")
            .arg("--dir")
            .arg(folder.path())
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // Ctrl-C is for the command: it stops the suite at its end.
            .process_group(0)
            .spawn()
            .context("sealpost up cannot be started")?;
        let mut suite = Self { folder, up };
        let begun = Instant::now();
        while !suite.dir().join("run.json").exists() {
            if let Some(status) = suite.up.try_wait()? {
                bail!("sealpost up ended ({status})");
            }
            if begun.elapsed() > UP_TIME {
                suite.down().await?;
                bail!("no suite after {} s", UP_TIME.as_secs());
            }
            sleep(LOOK).await;
        }
        Ok(suite)
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Stops it in order and takes its folder away.
    pub async fn down(self) -> anyhow::Result<()> {
        self.stop().await.map(drop)
    }

    /// Stops it in order; its folder is gone when the answer is dropped.
    pub async fn stop(mut self) -> anyhow::Result<TempDir> {
        let pid = self.up.id().and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            kill_process(pid, Signal::TERM)?;
        }
        let status = timeout(DOWN_TIME, self.up.wait()).await;
        let status = status.context("the suite did not stop in time")??;
        ensure!(status.success(), "sealpost up ended with {status}");
        Ok(self.folder)
    }
}
