//! One `sealpost bench`, its progress passed on, its report read.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, ensure};
use sealpost_tests::{binaries, progress};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;
use tokio::sync::oneshot;

/// What the bench says when the first message leaves.
const FLOWING: &str = "messages flow";

/// The program under measurement.
pub struct Bench {
    /// The `sealpost` command, its services beside it.
    pub program: PathBuf,
}

impl Bench {
    /// Finds the binaries, of this program's own profile unless `SEALPOST_BINARIES` names others.
    pub fn find() -> anyhow::Result<Self> {
        Ok(Self {
            program: binaries::sealpost()?,
        })
    }

    /// Runs it with these arguments, on that database when it makes the suite itself. Answers its report.
    pub async fn run(&self, arguments: &[String], database: Option<&str>) -> anyhow::Result<Value> {
        self.run_and_tell(arguments, database, None).await
    }

    /// The same; tells when messages flow.
    pub async fn run_and_tell(
        &self,
        arguments: &[String],
        database: Option<&str>,
        mut flowing: Option<oneshot::Sender<()>>,
    ) -> anyhow::Result<Value> {
        progress(&format!("sealpost bench {}", arguments.join(" ")));
        let mut command = Command::new(&self.program);
        match database {
            // Not an argument: it can hold a password.
            Some(url) => command.env("SEALPOST_UP_DATABASE", url),
            None => command.env_remove("SEALPOST_UP_DATABASE"),
        };
        let mut child = command
            .args(["--json", "bench"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("sealpost bench cannot be started")?;
        let mut said = BufReader::new(child.stderr.take().context("its progress")?).lines();
        let mut out = child.stdout.take().context("its report")?;
        let report = tokio::spawn(async move {
            let mut report = String::new();
            out.read_to_string(&mut report).await.map(|_| report)
        });
        while let Some(line) = said.next_line().await? {
            if line.contains(FLOWING)
                && let Some(flowing) = flowing.take()
            {
                // Who asked may have given up.
                let _ = flowing.send(());
            }
            progress(&line);
        }
        let status = child.wait().await?;
        let report = report.await??;
        ensure!(status.success(), "sealpost bench ended with {status}");
        serde_json::from_str(&report).context("its report cannot be read")
    }

    /// Runs another command of `sealpost` on a suite, and answers what it says.
    pub async fn command(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = Command::new(&self.program)
            .arg("--json")
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .output()
            .await?;
        ensure!(output.status.success(), "sealpost {arguments:?} failed");
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Words as arguments.
pub fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}
