//! `sealpost stop`, `start` and `restart`: one process of a running suite.

use std::path::PathBuf;

use anyhow::bail;
use clap::Args;
use serde_json::json;

use crate::commands::admin::seal::is_sealed;
use crate::operator::Operator;
use crate::output::Output;
use crate::suite::health::{self, Health, Started};
use crate::suite::instance::Instance;
use crate::suite::layout::Layout;
use crate::suite::process;
use crate::suite::run_file::{RunFile, RunningService};
use crate::suite::service::Service;

/// Which process of which suite.
#[derive(Args)]
pub struct Target {
    /// directory, key-vault, store, relay, retention, gateway or connector; of a suite with replicas or regions also
    /// key-vault-2, store-eu, store-eu-2, …
    name: Instance,
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

    /// Starts it and waits until it serves, or until it answers when a service that it needs is down.
    pub async fn start(&self, output: Output) -> anyhow::Result<()> {
        let layout = Layout::new(&self.dir)?;
        let pid = self.begin(&layout)?;
        let run = RunFile::load(&layout.run_file())?;
        let missing = missing(&run, &self.name);
        let is_vault = self.name.service() == Service::KeyVault;
        let enough = if missing.is_empty() && !is_vault {
            Health::Serving
        } else {
            Health::Waiting
        };
        let entry = run.service(&self.name.name())?;
        let started = Started {
            instance: &self.name,
            address: address(&run, entry),
            pid,
            argv: &entry.argv,
        };
        let operator = Operator::of(&run)?;
        let mut health = health::wait(&operator, &started, enough).await?;
        let sealed = health == Health::Waiting && is_vault && {
            let mut seal = operator.seal(started.address)?;
            is_sealed(&mut seal).await?
        };
        if is_vault && !sealed {
            health = health::wait(&operator, &started, Health::Serving).await?;
        }
        let serves = health == Health::Serving;
        let words = if serves {
            format!("{} serves (pid {pid})", self.name)
        } else if sealed {
            format!(
                "{} runs (pid {pid}) and is sealed: unseal it with `sealpost admin vault unseal`",
                self.name
            )
        } else {
            let missing = missing.join(", ");
            format!("{} runs (pid {pid}) and waits for {missing}", self.name)
        };
        output.say(
            &words,
            &json!({"service": self.name.name(), "pid": pid, "serves": serves}),
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
            let entry = run.service_mut(&self.name.name())?;
            Ok((entry.pid.take(), entry.argv.clone()))
        })?;
        pid.map_or(Ok(true), |pid| process::stop(pid, &argv))
    }

    fn begin(&self, layout: &Layout) -> anyhow::Result<u32> {
        RunFile::update(&layout.run_file(), |run| {
            let entry = run.service_mut(&self.name.name())?;
            if let Some(pid) = entry.running() {
                bail!("{} runs already (pid {pid})", self.name);
            }
            let child = process::spawn(layout, &self.name)?;
            entry.pid = Some(child.id());
            Ok(child.id())
        })
    }
}

/// Where a process is asked about its health.
fn address<'a>(run: &'a RunFile, entry: &'a RunningService) -> &'a str {
    entry
        .grpc
        .as_deref()
        .unwrap_or_else(|| run.connector.url.trim_start_matches("http://"))
}

/// Services that this instance needs and of which nothing runs, by name; of a service with regions one for each.
fn missing(run: &RunFile, instance: &Instance) -> Vec<String> {
    let all = run.instances();
    let mut missing = Vec::new();
    for needed in instance.service().needs() {
        let mut groups: Vec<_> = all
            .iter()
            .filter(|other| other.service() == *needed)
            .map(|other| other.group.clone())
            .collect();
        groups.dedup();
        let runs = |other: &Instance| {
            let entry = run.services.get(&other.name());
            entry.is_some_and(|entry| entry.running().is_some())
        };
        for group in groups {
            if !all.iter().any(|other| other.group == group && runs(other)) {
                missing.push(group.to_string());
            }
        }
    }
    missing
}
