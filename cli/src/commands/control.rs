//! `sealpost stop`, `start` and `restart`: one service of a running suite.

use std::path::PathBuf;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use crate::operator::Operator;
use crate::output::Output;
use crate::suite::health;
use crate::suite::layout::Layout;
use crate::suite::process;
use crate::suite::run_file::RunFile;
use crate::suite::service::Service;

/// Which service of which suite.
#[derive(Args)]
pub struct Target {
    /// directory, key-vault, store, relay, retention, gateway or connector
    name: Service,
    /// Folder of the suite
    #[arg(long, default_value = "sealpost-dev")]
    dir: PathBuf,
}

impl Target {
    /// Stops it, in order; `run.json` then has no pid for it.
    pub fn stop(&self, output: Output) -> anyhow::Result<()> {
        let by_itself = self.end()?;
        let words = if by_itself {
            "stopped"
        } else {
            "killed: it did not end in time"
        };
        output.say(
            &format!("{} {words}", self.name),
            &json!({"service": self.name.name(), "pid": null}),
        )
    }

    /// Starts it and waits until it serves.
    pub async fn start(&self, output: Output) -> anyhow::Result<()> {
        let pid = self.begin().await?;
        output.say(
            &format!("{} serves (pid {pid})", self.name),
            &json!({"service": self.name.name(), "pid": pid}),
        )
    }

    /// Both.
    pub async fn restart(&self, output: Output) -> anyhow::Result<()> {
        self.end()?;
        self.start(output).await
    }

    fn end(&self) -> anyhow::Result<bool> {
        let layout = Layout::new(&self.dir)?;
        // The pid leaves run.json first, so that whoever watches the process sees that it ends on purpose.
        let (pid, argv) = RunFile::update(&layout.run_file(), |run| {
            let entry = run
                .services
                .get_mut(self.name.name())
                .with_context(|| format!("run.json does not name {}", self.name))?;
            Ok((entry.pid.take(), entry.argv.clone()))
        })?;
        pid.map_or(Ok(true), |pid| process::stop(pid, &argv))
    }

    async fn begin(&self) -> anyhow::Result<u32> {
        let layout = Layout::new(&self.dir)?;
        let run = RunFile::load(&layout.run_file())?;
        let entry = run.service(self.name.name())?;
        if let Some(pid) = entry.pid.filter(|pid| process::runs_as(*pid, &entry.argv)) {
            bail!("{} runs already (pid {pid})", self.name);
        }
        let pid = RunFile::update(&layout.run_file(), |run| {
            let entry = run
                .services
                .get_mut(self.name.name())
                .with_context(|| format!("run.json does not name {}", self.name))?;
            let child = process::spawn(&layout, self.name)?;
            entry.pid = Some(child.id());
            Ok(child.id())
        })?;
        let operator = Operator::of(&run)?;
        let address = match &entry.grpc {
            Some(address) => address.clone(),
            None => run.connector.url.trim_start_matches("http://").to_owned(),
        };
        health::until_serving(&operator, self.name, &address, pid, &entry.argv).await?;
        Ok(pid)
    }
}
