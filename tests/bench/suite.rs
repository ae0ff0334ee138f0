//! A suite in a folder that outlives its processes, so that rows can be written between two runs.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sealpost_tests::progress;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::call::Bench;
use crate::server::Server;

/// Ten thousand numbers are provisioned one after the other.
const UP_TIME: Duration = Duration::from_secs(3600);
const DOWN_TIME: Duration = Duration::from_secs(180);

/// Ends `sealpost up` when its standard input ends: with this program, whatever becomes of that.
const LIFELINE: &str = r#"
exec 3<&0
"$@" </dev/null &
up=$!
{ cat <&3 >/dev/null; kill -TERM "$up" 2>/dev/null; } &
line=$!
wait "$up"; code=$?
kill "$line" 2>/dev/null
exit "$code"
"#;

/// A suite's folder and what `up` is told.
pub struct Place<'a> {
    bench: &'a Bench,
    server: &'a Server,
    folder: TempDir,
    options: Vec<String>,
}

/// A running suite.
pub struct Suite {
    up: Child,
}

impl<'a> Place<'a> {
    /// A new one, with these options of `sealpost up`.
    pub fn new(bench: &'a Bench, server: &'a Server, options: &[String]) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sealpost-set-").tempdir()?;
        Ok(Self {
            bench,
            server,
            folder,
            options: options.to_vec(),
        })
    }

    /// The suite's folder.
    pub fn dir(&self) -> PathBuf {
        self.folder.path().join("suite")
    }

    /// Arguments for `sealpost bench` on it.
    pub fn arguments(&self, rest: &[String]) -> Vec<String> {
        let dir = ["--dir".to_owned(), self.dir().display().to_string()];
        [&dir[..], rest].concat()
    }

    /// Starts it and waits until everything serves.
    pub async fn up(&self) -> anyhow::Result<Suite> {
        let begun = Instant::now();
        let mut command = Command::new("sh");
        match self.server.url() {
            Some(url) => command.env("SEALPOST_UP_DATABASE", url),
            None => command.env_remove("SEALPOST_UP_DATABASE"),
        };
        let mut up = command
            .args(["-c", LIFELINE, "lifeline"])
            .arg(&self.bench.program)
            .args(["--json", "up", "--consumers", "0", "--dir"])
            .arg(self.dir())
            .args(&self.options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .context("sh starts sealpost up")?;
        let mut said = BufReader::new(up.stdout.take().context("what it says")?).lines();
        let line = timeout(UP_TIME, said.next_line()).await;
        if line.context("no suite in time")??.is_none() {
            bail!("sealpost up ended ({})", up.wait().await?);
        }
        progress(&format!(
            "a suite is up after {:.1} s",
            begun.elapsed().as_secs_f32()
        ));
        Ok(Suite { up })
    }

    /// Where a service keeps its database. The suite must have been up once.
    pub fn database_of(&self, service: &str) -> anyhow::Result<String> {
        let config = self.dir().join(format!("config/{service}.toml"));
        let text = std::fs::read_to_string(&config)
            .with_context(|| format!("{} cannot be read", config.display()))?;
        let mut lines = text.lines();
        let url = lines.find_map(|line| line.strip_prefix("database = "));
        let url = url.with_context(|| format!("{} names no database", config.display()))?;
        Ok(url.trim_matches('"').to_owned())
    }

    /// Runs one administrator's command.
    pub async fn admin(&self, arguments: &[&str]) -> anyhow::Result<serde_json::Value> {
        let dir = self.dir().display().to_string();
        let all = [&["admin", "--dir", &dir], arguments].concat();
        self.bench.command(&all).await
    }

    /// Free bytes on the disk that it is on.
    pub fn free(&self) -> anyhow::Result<u64> {
        free(self.folder.path())
    }
}

impl Suite {
    /// Stops it in order.
    pub async fn down(mut self) -> anyhow::Result<()> {
        drop(self.up.stdin.take());
        let status = timeout(DOWN_TIME, self.up.wait()).await;
        let status = status.context("the suite did not stop in time")??;
        ensure!(status.success(), "sealpost up ended with {status}");
        Ok(())
    }
}

fn free(path: &Path) -> anyhow::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail * stat.f_frsize)
}
