//! The port through which verification codes leave, and its two implementations.
//!
//! Invariant: phone number and code go to the file or to the command's standard input, never to an argument, the
//! environment or a log.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::PathBuf,
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use serde_json::json;
use tokio::{io::AsyncWriteExt, process::Command, sync::Semaphore, time::timeout};

/// How long a command may take.
const COMMAND_TIME: Duration = Duration::from_secs(10);
/// Commands that may run at one time; further ones wait.
const COMMANDS: usize = 8;

/// Brings a code to the person who holds a phone number.
#[tonic::async_trait]
pub trait CodeSender: Send + Sync + 'static {
    /// Sends `code`, six digits, to `phone_number`, E.164 digits; it works until `expires_at_ms`, in milliseconds since the
    /// Unix epoch.
    ///
    /// # Errors
    /// When it was not sent, as far as is known.
    async fn send(
        &self,
        phone_number: &str,
        code: &str,
        expires_at_ms: u64,
    ) -> Result<(), CodeSenderError>;
}

/// Why a code was not sent. Says nothing of number or code.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CodeSenderError {
    /// The file could not be written.
    #[error("the file of codes could not be written")]
    File(#[source] io::Error),
    /// Others than its owner can read the file.
    #[error("the file of codes must be readable by its owner only")]
    NotPrivate,
    /// The command could not be started or spoken to.
    #[error("the command could not be run")]
    Command(#[source] io::Error),
    /// The command said that it failed.
    #[error("the command failed")]
    Refused,
    /// The command took too long and was ended.
    #[error("the command took too long")]
    Late,
}

/// For development: appends one JSON object a line to a private file.
#[derive(Clone, Debug)]
pub struct FileSender {
    path: PathBuf,
}

impl FileSender {
    /// Into the file at `path`, made when absent.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn append(&self, line: &str) -> Result<(), CodeSenderError> {
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(&self.path)
            .map_err(CodeSenderError::File)?;
        let metadata = file.metadata().map_err(CodeSenderError::File)?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(CodeSenderError::NotPrivate);
        }
        // One write, so that lines of concurrent calls do not mix.
        file.write_all(line.as_bytes())
            .map_err(CodeSenderError::File)
    }
}

#[tonic::async_trait]
impl CodeSender for FileSender {
    async fn send(
        &self,
        phone_number: &str,
        code: &str,
        expires_at_ms: u64,
    ) -> Result<(), CodeSenderError> {
        let line = line(phone_number, code, expires_at_ms);
        let sender = self.clone();
        let written = tokio::task::spawn_blocking(move || sender.append(&line)).await;
        written.unwrap_or_else(|stopped| Err(CodeSenderError::File(io::Error::other(stopped))))
    }
}

/// Runs the operator's own command for each code: it reads one JSON object from its standard input and ends with 0 when the
/// code is on its way.
#[derive(Clone, Debug)]
pub struct CommandSender {
    program: PathBuf,
    arguments: Vec<String>,
    places: Arc<Semaphore>,
}

impl CommandSender {
    /// `program` with `arguments`.
    #[must_use]
    pub fn new(program: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            program,
            arguments,
            places: Arc::new(Semaphore::new(COMMANDS)),
        }
    }

    async fn run(&self, line: &str) -> Result<(), CodeSenderError> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // What it says might name the number.
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(CodeSenderError::Command)?;
        if let Some(mut input) = child.stdin.take() {
            match input.write_all(line.as_bytes()).await {
                // A command may know enough without reading: its status tells.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                    return Err(CodeSenderError::Command(error));
                }
                _ => {}
            }
        }
        let status = child.wait().await.map_err(CodeSenderError::Command)?;
        if status.success() {
            Ok(())
        } else {
            Err(CodeSenderError::Refused)
        }
    }
}

#[tonic::async_trait]
impl CodeSender for CommandSender {
    async fn send(
        &self,
        phone_number: &str,
        code: &str,
        expires_at_ms: u64,
    ) -> Result<(), CodeSenderError> {
        let line = line(phone_number, code, expires_at_ms);
        let in_time = timeout(COMMAND_TIME, async {
            // Never closed.
            let _place = self.places.acquire().await;
            self.run(&line).await
        });
        in_time.await.unwrap_or(Err(CodeSenderError::Late))
    }
}

fn line(phone_number: &str, code: &str, expires_at_ms: u64) -> String {
    let object = json!({
        "phone_number": phone_number,
        "code": code,
        "expires_at_ms": expires_at_ms,
    });
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use serde_json::Value;

    use super::*;

    #[tokio::test]
    async fn the_file_gets_one_object_a_line_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes.jsonl");
        let sender = FileSender::new(path.clone());
        sender.send("4915112345678", "012345", 99).await.unwrap();
        sender.send("4915112345678", "654321", 100).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines,
            [
                json!({"phone_number": "4915112345678", "code": "012345", "expires_at_ms": 99}),
                json!({"phone_number": "4915112345678", "code": "654321", "expires_at_ms": 100}),
            ]
        );
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );

        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let refused = sender.send("4915112345678", "111111", 101).await;
        assert!(matches!(refused, Err(CodeSenderError::NotPrivate)));
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[tokio::test]
    async fn the_command_gets_the_object_on_its_standard_input() {
        let folder = tempfile::tempdir().unwrap();
        let seen = folder.path().join("seen");
        let script = format!("cat > '{}'", seen.display());
        let sender = CommandSender::new("/bin/sh".into(), vec!["-c".into(), script]);
        sender.send("4915112345678", "012345", 99).await.unwrap();
        let seen: Value = serde_json::from_str(&fs::read_to_string(seen).unwrap()).unwrap();
        assert_eq!(seen["code"], "012345");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_is_absent_is_an_error() {
        let failing = CommandSender::new("/bin/sh".into(), vec!["-c".into(), "exit 3".into()]);
        let answer = failing.send("4915112345678", "012345", 99).await;
        assert!(
            matches!(answer, Err(CodeSenderError::Refused)),
            "{answer:?}"
        );
        let absent = CommandSender::new("/no/such/command".into(), Vec::new());
        let answer = absent.send("4915112345678", "012345", 99).await;
        assert!(
            matches!(answer, Err(CodeSenderError::Command(_))),
            "{answer:?}"
        );
    }
}
