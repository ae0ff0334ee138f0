//! The consumer of the demo: a process of its own, `sealpost chat --json`, driven over its JSON lines.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// How long it may take to end once it was told to.
const LEAVE_TIME: Duration = Duration::from_secs(20);

/// A consumer's process.
pub struct Device {
    pid: u32,
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

/// A message as it stood on the consumer's screen.
pub struct Shown {
    /// When.
    pub at: Instant,
    /// Which.
    pub message_id: String,
}

impl Device {
    /// Starts it. What it has to complain about goes to `log`.
    pub fn start(folder: &Path, phone: &str, log: &Path) -> anyhow::Result<Self> {
        let log = OpenOptions::new().create(true).append(true).open(log)?;
        let mut child = Command::new(std::env::current_exe()?)
            .args(["chat", "--json", "--as", phone, "--dir"])
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .context("the consumer's process cannot be started")?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok(Self {
            pid: child.id().context("the consumer ended at once")?,
            child,
            input: input.context("the consumer's input")?,
            output: BufReader::new(output.context("the consumer's output")?).lines(),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until it shows a text message with exactly this body.
    pub async fn shows(&mut self, body: &str) -> anyhow::Result<Shown> {
        loop {
            let Some(line) = self.output.next_line().await? else {
                bail!("the consumer's process ended: logs/consumer.log says why");
            };
            let at = Instant::now();
            let event: Value = serde_json::from_str(&line)
                .context("the consumer wrote something else than JSON")?;
            if event["event"] == "error" {
                bail!("the consumer says: {}", event["error"]);
            }
            if event["event"] == "message" && event["content"]["body"] == body {
                let message_id = event["message_id"].as_str().unwrap_or_default().to_owned();
                return Ok(Shown { at, message_id });
            }
        }
    }

    /// Lets the person read a message.
    pub async fn read(&mut self, message_id: &str) -> anyhow::Result<()> {
        self.act(&json!({"do": "read", "message_id": message_id}))
            .await
    }

    /// Lets the person write.
    pub async fn write(&mut self, body: &str) -> anyhow::Result<()> {
        self.act(&json!({"do": "text", "body": body})).await
    }

    /// Lets the person leave, and waits for the process to end.
    pub async fn leave(mut self) -> anyhow::Result<()> {
        // It may have ended already; then there is nobody to tell.
        let _ = self.act(&json!({"do": "quit"})).await;
        drop(self.input);
        let status = timeout(LEAVE_TIME, self.child.wait())
            .await
            .context("the consumer's process did not end in time")??;
        ensure!(
            status.success(),
            "the consumer's process failed: logs/consumer.log says why"
        );
        Ok(())
    }

    async fn act(&mut self, command: &Value) -> anyhow::Result<()> {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        Ok(self.input.flush().await?)
    }
}
