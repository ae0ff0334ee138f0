//! A business in Python, after `docs/integrate.md` and `docs/wire-format.md`, talks with a consumer.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sealpost_tests::chat::Chat;
use sealpost_tests::journal::Journal;
use sealpost_tests::{Options, Suite};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::OnceCell;

use super::SOON;

fn program() -> Command {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/python-business/run.sh");
    let mut command = Command::new(script);
    command.stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Installs the pinned packages, once for all tests.
async fn installed() -> anyhow::Result<()> {
    static INSTALLED: OnceCell<()> = OnceCell::const_new();
    let install = || async {
        let output = program().stderr(Stdio::piped()).output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "python-business/run.sh: {said}");
        Ok(())
    };
    INSTALLED.get_or_try_init(install).await.copied()
}

/// The running program.
struct Python {
    child: Child,
    input: ChildStdin,
    said: Arc<Journal<Value>>,
}

impl Python {
    async fn start(suite: &Suite, folder: &Path, options: &[&str]) -> anyhow::Result<Self> {
        installed().await?;
        let mut child = program()
            .arg(suite.dir().join("run.json"))
            .arg(folder)
            .args(options)
            .stdin(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take().context("its input")?;
        let output = child.stdout.take().context("its output")?;
        let said: Arc<Journal<Value>> = Arc::default();
        let journal = said.clone();
        tokio::spawn(async move {
            let mut lines = BufReader::new(output).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                journal.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
            }
        });
        Ok(Self { child, input, said })
    }

    async fn tell(&mut self, command: &Value) -> anyhow::Result<()> {
        let line = format!("{command}\n");
        Ok(self.input.write_all(line.as_bytes()).await?)
    }

    /// Waits for a line with all these facts.
    async fn says(&self, facts: Value) -> anyhow::Result<Value> {
        let what = format!("{facts} from the program");
        let found = self
            .said
            .find(&what, SOON, |line| has(line, &facts).then(|| line.clone()));
        found
            .await
            .with_context(|| format!("it said {:#?}", self.said.all()))
    }

    /// Lines with all these facts so far.
    fn said(&self, facts: &Value) -> Vec<Value> {
        self.said
            .pick(|line| has(line, facts).then(|| line.clone()))
    }

    /// Ends its input, and answers its exit code.
    async fn end(mut self) -> anyhow::Result<Option<i32>> {
        drop(self.input);
        let status = tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await??;
        Ok(status.code())
    }
}

fn has(line: &Value, facts: &Value) -> bool {
    let facts = facts.as_object().into_iter().flatten();
    facts.into_iter().all(|(key, value)| line[key] == *value)
}

fn text(body: &str) -> Value {
    json!({"type": "text", "body": body})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_business_sends_hears_answers_and_drops_what_comes_again() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let folder = suite.dir().join("python");
    let chat = Chat::start(&suite, 0)?;
    let mut python = Python::start(&suite, &folder, &[]).await?;
    let ready = python.says(json!({"event": "ready"})).await?;
    assert_eq!(ready["numbers"], json!([suite.number(0)]));

    // On the stream, the wrap left out until the vault asks for it; then by a unary call.
    let first = "From a stranger: äöü 🎉";
    let send = json!({"do": "send", "key": "order-1", "to": chat.phone, "body": first});
    let mut forgetful = send.clone();
    forgetful["forget_wrap"] = true.into();
    python.tell(&forgetful).await?;
    let accepted = python
        .says(json!({"event": "accepted", "key": "order-1"}))
        .await?;
    assert_eq!(accepted["repeated"], false);
    let asked = json!({"event": "refused", "reason": "UNKNOWN_CONTENT_KEY", "final": false});
    assert_eq!(python.said(&asked).len(), 1);
    let second = "x".repeat(4096);
    let unary =
        json!({"do": "send", "key": "order-2", "to": chat.phone, "body": second, "unary": true});
    python.tell(&unary).await?;
    let other = python
        .says(json!({"event": "accepted", "key": "order-2"}))
        .await?;

    let seen = chat.wait_for_text(first, SOON).await?;
    assert_eq!(seen["message_id"], accepted["message_id"]);
    assert_eq!(seen["phone_number_id"], suite.number(0));
    assert_eq!(seen["category"], "utility");
    let seen = chat.wait_for_text(&second, SOON).await?;
    assert_eq!(seen["message_id"], other["message_id"]);
    for id in [&accepted["message_id"], &other["message_id"]] {
        for status in ["sent", "delivered"] {
            let said = python
                .says(json!({"event": "status", "message_id": id, "status": status}))
                .await?;
            assert_eq!(said["peer"], chat.phone.as_str());
        }
    }

    // Sealed anew under the same message id it is the same message; other words are not.
    python.tell(&send).await?;
    let repeated = python
        .says(json!({"event": "accepted", "repeated": true}))
        .await?;
    assert_eq!(repeated["message_id"], accepted["message_id"]);
    assert_eq!(repeated["status"], "delivered");
    let conflict =
        json!({"do": "send", "key": "order-1", "to": chat.phone, "body": "Else", "unary": true});
    python.tell(&conflict).await?;
    python
        .says(json!({"event": "refused", "reason": "CONFLICT", "final": true}))
        .await?;
    python.tell(&json!({"do": "ask", "key": "order-1"})).await?;
    python
        .says(json!({"event": "where", "key": "order-1", "status": "delivered"}))
        .await?;
    python.tell(&json!({"do": "ask", "key": "never"})).await?;
    python
        .says(json!({"event": "where", "key": "never", "reason": "NO_SUCH_MESSAGE"}))
        .await?;

    hears_answers_once(&suite, &folder, chat, python, &other["message_id"]).await
}

async fn hears_answers_once(
    suite: &Suite,
    folder: &Path,
    mut chat: Chat,
    mut python: Python,
    last: &Value,
) -> anyhow::Result<()> {
    // The first answer is acknowledged, the second only kept.
    chat.text("Thank you!").await?;
    let thanks = json!({"event": "message", "peer": chat.phone, "content": text("Thank you!")});
    python.says(thanks.clone()).await?;
    chat.tell(&json!({"do": "read"})).await?;
    python
        .says(json!({"event": "status", "message_id": last, "status": "read"}))
        .await?;
    python.tell(&json!({"do": "hold"})).await?;
    chat.text("When will it come?").await?;
    let question =
        json!({"event": "message", "peer": chat.phone, "content": text("When will it come?")});
    let kept = python.says(question.clone()).await?;

    // So it comes again on another stream, and is dropped; the former stream is replaced.
    python.tell(&json!({"do": "open"})).await?;
    let again = json!({"event": "repeat", "stream": 2, "message_id": kept["message_id"]});
    python.says(again).await?;
    python
        .says(json!({"event": "stream_ended", "stream": 1, "reason": "SUBSCRIPTION_REPLACED"}))
        .await?;
    assert!(
        !python
            .said(&json!({"event": "wrap", "stream": 2}))
            .is_empty()
    );
    python.tell(&json!({"do": "release"})).await?;
    chat.text("Hello?").await?;
    let hello = json!({"event": "message", "stream": 2, "content": text("Hello?")});
    python.says(hello).await?;

    assert_eq!(python.said(&thanks).len(), 1);
    assert_eq!(python.said(&question).len(), 1);
    for wrong in ["alarm", "dropped_wrap", "identity_change"] {
        assert_eq!(python.said(&json!({"event": wrong})), Vec::<Value>::new());
    }
    let said = python.said.clone();
    assert_eq!(python.end().await?, Some(0));
    let ended = json!({"event": "stream_ended", "stream": 2, "reason": "OK"});
    assert!(said.all().iter().any(|line| has(line, &ended)));

    // Another process of it hears only what came since.
    chat.text("Still there?").await?;
    let python = Python::start(suite, folder, &[]).await?;
    let still = json!({"event": "message", "content": text("Still there?")});
    python.says(still).await?;
    assert_eq!(python.said(&json!({"event": "message"})).len(), 1);
    assert_eq!(
        python.said(&json!({"event": "repeat"})),
        Vec::<Value>::new()
    );
    assert_eq!(python.end().await?, Some(0));
    chat.quit().await?;
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_business_refuses_a_vault_key_under_another_fingerprint() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut pin = suite.facts().numbers[0].vault_fingerprint.clone();
    let last = if pin.ends_with('0') { "1" } else { "0" };
    pin.replace_range(63.., last);
    let folder = tempfile::tempdir()?;
    let python = Python::start(suite, folder.path(), &["--pin", &pin]).await?;
    let said = python.said.clone();
    python
        .says(json!({"event": "stopped", "reason": "WRONG_FINGERPRINT"}))
        .await?;
    assert_eq!(python.end().await?, Some(3));
    assert_eq!(said.all().len(), 1, "it made nothing before");
    Ok(())
}
