//! A driver as the coordinator has it: a process, orders in, reports out.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::timeout;

use super::driver::Part;
use super::plan::Plan;
use super::talk::{Order, Outcome, Progress, Report};

/// How long it may take to tell what came of it.
const FINISH_TIME: Duration = Duration::from_secs(20);

/// A driver.
pub struct Driver {
    part: Part,
    pid: u32,
    child: Child,
    input: ChildStdin,
    progress: watch::Receiver<Progress>,
    /// Everything that is no progress.
    others: mpsc::UnboundedReceiver<Report>,
}

impl Driver {
    /// Starts it, and tells it its plan.
    pub async fn start(part: Part, plan: &Plan) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["bench-driver", part.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C is for the coordinator.
            .process_group(0)
            .spawn()
            .context("a driver cannot be started")?;
        let input = child.stdin.take().context("a driver's input")?;
        let output = child.stdout.take().context("a driver's output")?;
        let (progress, seen) = watch::channel(Progress::default());
        let (other, others) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                match serde_json::from_str(&line) {
                    Ok(Report::Progress(now)) => drop(progress.send_replace(now)),
                    Ok(report) => drop(other.send(report)),
                    Err(_) => return,
                }
            }
        });
        let mut driver = Self {
            part,
            pid: child.id().context("a driver ended at once")?,
            child,
            input,
            progress: seen,
            others,
        };
        driver.write(&serde_json::to_vec(plan)?).await?;
        Ok(driver)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it is called.
    pub fn name(&self) -> &'static str {
        self.part.name()
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        *self.progress.borrow()
    }

    /// Waits until it is ready to go.
    pub async fn ready(&mut self) -> anyhow::Result<()> {
        match self.others.recv().await {
            Some(Report::Ready) => Ok(()),
            _ => self.ended(),
        }
    }

    /// Tells it to go, or to stop.
    pub async fn order(&mut self, order: Order) -> anyhow::Result<()> {
        self.write(&serde_json::to_vec(&order)?).await
    }

    /// Whether it is gone, though nobody asked it to.
    pub fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(_) => self.ended(),
            None => Ok(()),
        }
    }

    /// Asks what came of it.
    pub async fn finish(mut self) -> anyhow::Result<Outcome> {
        self.order(Order::Finish).await?;
        let told = timeout(FINISH_TIME, self.others.recv()).await;
        let Some(Report::Done(outcome)) = told.context("a driver does not end")? else {
            return self.ended();
        };
        timeout(FINISH_TIME, self.child.wait())
            .await
            .context("a driver does not end")??;
        Ok(*outcome)
    }

    fn ended<T>(&self) -> anyhow::Result<T> {
        bail!(
            "the driver of the {} ended: see what it says above",
            self.name()
        )
    }

    async fn write(&mut self, json: &[u8]) -> anyhow::Result<()> {
        let line = [json, b"\n"].concat();
        let written = async {
            self.input.write_all(&line).await?;
            self.input.flush().await
        };
        if written.await.is_err() {
            return self.ended();
        }
        Ok(())
    }
}
