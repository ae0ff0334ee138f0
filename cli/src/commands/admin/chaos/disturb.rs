//! Doing to a running suite what the plan says, and undoing it.
//!
//! Invariant: whatever ends a disturbance early, [`Disturber::heal`] leaves no service paused and none away.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;
use tokio::time::sleep;

use super::plan::{Disturbance, Kind};
use crate::suite::process::runs_as;
use crate::suite::run_file::RunFile;

/// Disturbs one suite.
pub struct Disturber {
    folder: PathBuf,
    run_file: PathBuf,
}

impl Disturber {
    /// Of the suite in that folder.
    pub fn new(folder: PathBuf, run_file: PathBuf) -> Self {
        Self { folder, run_file }
    }

    /// Does one; when it returns, every service serves again.
    pub async fn disturb(&self, one: &Disturbance) -> anyhow::Result<()> {
        match one.kind {
            Kind::Kill => {
                for name in &one.who {
                    self.kill(name)?;
                }
                sleep(one.lasting).await;
                self.each("start", &one.who).await
            }
            Kind::Pause => {
                for name in &one.who {
                    self.signal(name, Signal::STOP)?;
                }
                sleep(one.lasting).await;
                one.who
                    .iter()
                    .try_for_each(|name| self.signal(name, Signal::CONT))
            }
            Kind::Restart => self.each("restart", &one.who).await,
            Kind::Clock => {
                let by = format!("{}s", one.lasting.as_secs());
                self.sealpost(&["admin", "clock", "advance", &by]).await
            }
        }
    }

    /// Lets paused services go on and starts those that are away.
    pub async fn heal(&self) -> anyhow::Result<()> {
        let run = RunFile::load(&self.run_file)?;
        for (name, service) in &run.services {
            if service.pid.is_some_and(|pid| runs_as(pid, &service.argv)) {
                self.signal(name, Signal::CONT)?;
            } else if let Err(error) = self.sealpost(&["start", name]).await {
                // A start that was cut off may have got so far.
                self.signal(name, Signal::CONT).map_err(|_| error)?;
            }
        }
        Ok(())
    }

    /// Its pid leaves `run.json` first: whoever watches the process then leaves starting it again to us.
    fn kill(&self, name: &str) -> anyhow::Result<()> {
        let (pid, argv) = RunFile::update(&self.run_file, |run| {
            let service = run.services.get_mut(name);
            let service = service.with_context(|| format!("run.json does not name {name}"))?;
            Ok((service.pid.take(), service.argv.clone()))
        })?;
        match pid {
            Some(pid) if runs_as(pid, &argv) => send(pid, Signal::KILL),
            _ => bail!("{name} ended by itself: its log says why"),
        }
    }

    fn signal(&self, name: &str, signal: Signal) -> anyhow::Result<()> {
        let run = RunFile::load(&self.run_file)?;
        let service = run.service(name)?;
        match service.pid {
            Some(pid) if runs_as(pid, &service.argv) => send(pid, signal),
            _ => bail!("{name} ended by itself: its log says why"),
        }
    }

    /// All at once: a start returns when the service serves, and one may need the other for that.
    async fn each(&self, what: &str, who: &[String]) -> anyhow::Result<()> {
        let mut running = Vec::new();
        for name in who {
            running.push(self.begin(&[what, name])?);
        }
        for command in running {
            finish(command).await?;
        }
        Ok(())
    }

    async fn sealpost(&self, words: &[&str]) -> anyhow::Result<()> {
        finish(self.begin(words)?).await
    }

    fn begin(&self, words: &[&str]) -> anyhow::Result<tokio::process::Child> {
        Command::new(std::env::current_exe()?)
            .args(words)
            .arg("--dir")
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            // Ctrl-C ends the chaos in order; what it is about to mend is not to be cut off.
            .process_group(0)
            .spawn()
            .context("sealpost cannot be started")
    }
}

async fn finish(command: tokio::process::Child) -> anyhow::Result<()> {
    let ended = command.wait_with_output().await?;
    let complaint = String::from_utf8_lossy(&ended.stderr);
    ensure!(ended.status.success(), "{}", complaint.trim());
    Ok(())
}

fn send(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(kill_process(id.context("not a pid")?, signal)?)
}
