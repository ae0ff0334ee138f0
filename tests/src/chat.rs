//! A consumer as a process of its own: `sealpost chat --json`.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::Suite;
use crate::journal::Journal;

/// A running chat; killed when dropped.
pub struct Chat {
    /// E.164 digits.
    pub phone: String,
    /// What it printed, line by line.
    pub said: Arc<Journal<Value>>,
    child: Child,
    input: ChildStdin,
    reading: JoinHandle<()>,
}

impl Chat {
    /// Starts one for the consumer at `index`.
    ///
    /// # Errors
    /// When the process does not start.
    pub fn start(suite: &Suite, index: usize) -> anyhow::Result<Self> {
        let phone = suite.facts().consumers[index].phone_number.clone();
        Self::run(suite, &phone, &["--as", &phone])
    }

    /// Starts one that first registers a new phone number.
    ///
    /// # Errors
    /// When the process does not start.
    pub fn register(suite: &Suite, phone: &str) -> anyhow::Result<Self> {
        Self::run(suite, phone, &["--register", phone])
    }

    /// The same with a state file elsewhere than the suite's.
    ///
    /// # Errors
    /// When the process does not start.
    pub fn register_at(suite: &Suite, phone: &str, state: &str) -> anyhow::Result<Self> {
        Self::run(suite, phone, &["--register", phone, "--state", state])
    }

    fn run(suite: &Suite, phone: &str, who: &[&str]) -> anyhow::Result<Self> {
        let mut child = suite
            .program()
            .args(["--json", "chat", "--dir"])
            .arg(suite.dir())
            .args(who)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().context("its input")?;
        let output = child.stdout.take().context("its output")?;
        let said = Arc::new(Journal::default());
        let journal = said.clone();
        let reading = tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                journal.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Ok(Self {
            phone: phone.to_owned(),
            said,
            child,
            input,
            reading,
        })
    }

    /// Tells it what to do.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn tell(&mut self, command: &Value) -> anyhow::Result<()> {
        self.input
            .write_all(format!("{command}\n").as_bytes())
            .await?;
        Ok(self.input.flush().await?)
    }

    /// Sends words.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn text(&mut self, body: &str) -> anyhow::Result<()> {
        self.tell(&json!({"do": "text", "body": body})).await
    }

    /// Waits for a text message.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn wait_for_text(&self, body: &str, limit: Duration) -> anyhow::Result<Value> {
        let wanted = |line: &Value| (line["content"]["body"] == body).then(|| line.clone());
        self.said.find("a text at the chat", limit, wanted).await
    }

    /// Waits until it has died and all that it said is read; answers that.
    ///
    /// # Errors
    /// When it lives on.
    pub async fn ended(mut self) -> anyhow::Result<Vec<Value>> {
        timeout(Duration::from_secs(20), self.silent()).await?;
        timeout(Duration::from_secs(20), self.child.wait()).await??;
        Ok(self.said.all())
    }

    /// Waits until it says nothing any more.
    pub async fn silent(&mut self) {
        if !self.reading.is_finished() {
            let _ = (&mut self.reading).await;
        }
    }

    /// Ends it in order.
    ///
    /// # Errors
    /// When it does not end with 0.
    pub async fn quit(mut self) -> anyhow::Result<()> {
        self.tell(&json!({"do": "quit"})).await?;
        let status = timeout(Duration::from_secs(20), self.child.wait()).await??;
        anyhow::ensure!(status.success(), "the chat ended with {status}");
        Ok(())
    }
}
