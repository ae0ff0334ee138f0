//! A whole suite of real processes in a folder of its own, on free ports.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::Signal;
use tokio::sync::{Mutex, OnceCell};
use tokio::time::sleep;

use crate::boot::{Options, boot, explain};
use crate::database::Kind;
use crate::failpoints::{self, Orders};
use crate::process::{runs_as, signal};
use crate::progress;
use crate::run_file::RunFile;
use crate::webhook::Webhook;

/// How long it may take to end.
const DOWN_TIME: Duration = Duration::from_secs(60);

/// A running suite. Dropping it stops every process, also on a panic.
pub struct Suite {
    /// Where webhooks arrive.
    pub webhook: Webhook,
    up: Option<Child>,
    folder: PathBuf,
    dir: PathBuf,
    server: Option<String>,
    program: PathBuf,
    orders: Orders,
    first: RunFile,
    free_consumer: AtomicUsize,
    pub(crate) pki: Mutex<()>,
}

impl Suite {
    /// Boots a suite and waits until it is healthy.
    ///
    /// # Errors
    /// When a binary is missing or old, or a service does not come up; the text has what they said.
    pub async fn up(options: Options) -> anyhow::Result<Self> {
        let webhook = Webhook::start()?;
        let booted = boot(&options, webhook.url()).await?;
        webhook.trust(&booted.run.connector.app_secret);
        Ok(Self {
            webhook,
            up: Some(booted.up),
            folder: booted.folder,
            dir: booted.dir,
            server: booted.server,
            program: booted.program,
            orders: booted.orders,
            first: booted.run,
            free_consumer: AtomicUsize::new(0),
            pki: Mutex::new(()),
        })
    }

    /// The suite that tests share which do not disturb each other: two numbers, and a consumer for each test that asks
    /// ([`Suite::free_consumer`]).
    ///
    /// # Errors
    /// As [`Suite::up`].
    pub async fn shared() -> anyhow::Result<&'static Self> {
        static SHARED: OnceCell<Suite> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| {
                Self::up(Options {
                    numbers: 2,
                    consumers: 32,
                    ..Options::default()
                })
            })
            .await
    }

    /// `run.json` as it was when the suite came up: everything but pids stays so.
    #[must_use]
    pub fn facts(&self) -> &RunFile {
        &self.first
    }

    /// `run.json` as it is now.
    ///
    /// # Errors
    /// When it does not read.
    pub fn run_file(&self) -> anyhow::Result<RunFile> {
        RunFile::load(&self.dir.join("run.json"))
    }

    /// What its failpoints are told, when booted with `failpoints`.
    #[must_use]
    pub fn orders(&self) -> &Orders {
        &self.orders
    }

    /// The `sealpost` command that belongs to this suite, as a process to start.
    #[must_use]
    pub fn program(&self) -> tokio::process::Command {
        let mut command = tokio::process::Command::new(&self.program);
        command.env(failpoints::FOLDER, self.orders.folder());
        command
    }

    /// The suite's folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What it keeps its data in.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.server {
            Some(_) => Kind::Postgres,
            None => Kind::Sqlite,
        }
    }

    /// A superuser of the server that it is on, when it is on one.
    pub(crate) fn server(&self) -> Option<&str> {
        self.server.as_deref()
    }

    /// The id of the number at `index`.
    #[must_use]
    pub fn number(&self, index: usize) -> &str {
        &self.first.numbers[index].phone_number_id
    }

    /// The index of a consumer that no other test of this suite has.
    ///
    /// # Errors
    /// When all are taken.
    pub fn free_consumer(&self) -> anyhow::Result<usize> {
        let index = self.free_consumer.fetch_add(1, Ordering::SeqCst);
        ensure!(
            index < self.first.consumers.len(),
            "the suite has no more consumers: boot it with more"
        );
        Ok(index)
    }

    /// Seconds that every clock is ahead, when booted with `clock_file`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn set_clock(&self, seconds: i64) -> anyhow::Result<()> {
        let fresh = self.dir.join("clock.new");
        fs::write(&fresh, format!("{seconds}\n"))?;
        fs::rename(fresh, self.dir.join("clock"))?;
        // Processes read it once a second.
        sleep(Duration::from_millis(2500)).await;
        Ok(())
    }

    /// `sealpost stop`.
    ///
    /// # Errors
    /// When it does not stop in order.
    pub async fn stop(&self, name: &str) -> anyhow::Result<()> {
        let said = self.sealpost(&["--json", "stop", name]).await?;
        let killed = said.contains("killed");
        ensure!(!killed, "{name} did not stop by itself");
        Ok(())
    }

    /// `sealpost start`: returns when it serves.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(&self, name: &str) -> anyhow::Result<()> {
        self.sealpost(&["start", name]).await.map(drop)
    }

    /// `sealpost restart`.
    ///
    /// # Errors
    /// As [`Suite::start`].
    pub async fn restart(&self, name: &str) -> anyhow::Result<()> {
        self.sealpost(&["restart", name]).await.map(drop)
    }

    /// Kills a service at once (SIGKILL), as a crash would.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn kill9(&self, name: &str) -> anyhow::Result<()> {
        let run = self.run_file()?;
        let service = run.service(name)?;
        let pid = service
            .pid
            .with_context(|| format!("{name} does not run"))?;
        ensure!(runs_as(pid, &service.argv), "pid {pid} is not {name}");
        signal(pid, Signal::KILL)?;
        while runs_as(pid, &service.argv) {
            sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Whether a service's process runs now.
    ///
    /// # Errors
    /// When `run.json` does not read.
    pub fn is_running(&self, name: &str) -> anyhow::Result<bool> {
        let run = self.run_file()?;
        let service = run.service(name)?;
        Ok(service.pid.is_some_and(|pid| runs_as(pid, &service.argv)))
    }

    /// Runs a `sealpost` command on this suite. Answers its standard output.
    ///
    /// # Errors
    /// When it ends with anything but 0.
    pub async fn sealpost(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.program();
        command.args(arguments);
        if !arguments.contains(&"--dir") {
            command.arg("--dir").arg(&self.dir);
        }
        let output = command.stdin(Stdio::null()).output().await?;
        ensure!(
            output.status.success(),
            "sealpost {} ended with {}: {}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Everything that a service logged.
    ///
    /// # Errors
    /// When its log does not read.
    pub fn log(&self, name: &str) -> anyhow::Result<String> {
        let bytes = fs::read(&self.first.service(name)?.log)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Names of every process of the suite.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.first.services.keys().map(String::as_str)
    }

    /// That every service runs as the process that it was at `before`, and that none ever panicked.
    ///
    /// # Errors
    /// Which one does not, or did.
    pub fn check_unharmed(&self, before: &RunFile) -> anyhow::Result<()> {
        for name in self.names() {
            let pid = before.service(name)?.pid;
            ensure!(
                self.run_file()?.service(name)?.pid == pid,
                "{name} is another process now"
            );
            ensure!(self.is_running(name)?, "{name} does not run any more");
        }
        self.check_no_panic()
    }

    /// That no service ever panicked.
    ///
    /// # Errors
    /// Which one did, and what it said.
    pub fn check_no_panic(&self) -> anyhow::Result<()> {
        for name in self.names() {
            let log = self.log(name)?;
            let line = log
                .lines()
                .find(|line| line.contains("panicked at") || line.contains("RUST_BACKTRACE"));
            ensure!(
                line.is_none(),
                "{name} panicked: {}",
                line.unwrap_or_default()
            );
        }
        Ok(())
    }
}

impl Drop for Suite {
    fn drop(&mut self) {
        let Some(mut up) = self.up.take() else { return };
        // Shown with a test that failed.
        progress(&explain(&self.folder));
        // The end of its input is what stops it.
        drop(up.stdin.take());
        let start = Instant::now();
        while !matches!(up.try_wait(), Ok(Some(_))) {
            if start.elapsed() > DOWN_TIME {
                progress("the suite did not stop in time");
                let _ = up.kill();
                let _ = up.wait();
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if self.folder.exists() {
            progress(&format!("kept: {}", self.folder.display()));
        }
    }
}
