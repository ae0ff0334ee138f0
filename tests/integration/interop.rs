//! Signal's own Node client as the consumer: a stranger's program, written from `docs/device-protocol.md`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use sealpost_tests::Suite;
use sealpost_tests::journal::Journal;
use sealpost_tests::rest::{self, Rest};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

use super::SOON;

/// Names another folder for what npm installs.
const INTEROP_DIR: &str = "SEALPOST_INTEROP_DIR";

/// Installs the pinned packages once for each lock file, and answers the folder that has them.
async fn installed() -> anyhow::Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = root.join("interop/node-consumer");
    let base = match std::env::var_os(INTEROP_DIR) {
        Some(folder) => PathBuf::from(folder),
        None => root.join("../target/interop"),
    };
    let folder = base.join("node-consumer");
    std::fs::create_dir_all(&folder)?;
    let (lock, done) = (program.join("package-lock.json"), folder.join("installed"));
    if std::fs::read(&done).ok() != Some(std::fs::read(&lock)?) {
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(program.join(name), folder.join(name))?;
        }
        let npm = Command::new("npm")
            .args([
                "ci",
                "--silent",
                "--no-audit",
                "--no-fund",
                "--ignore-scripts",
            ])
            .current_dir(&folder)
            .output()
            .await
            .context("npm is needed")?;
        ensure!(
            npm.status.success(),
            "npm ci: {}",
            String::from_utf8_lossy(&npm.stderr)
        );
        std::fs::copy(&lock, &done)?;
    }
    // A module finds its packages from where it lies.
    for entry in std::fs::read_dir(&program)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            std::fs::copy(&path, folder.join(path.file_name().context("a name")?))?;
        }
    }
    Ok(folder)
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_own_node_client_registers_receives_and_answers() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let phone = "15550273001";
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto");
    let mut node = Command::new("node")
        // It would rather have a name than an address to connect to.
        .arg("--no-deprecation")
        .arg(installed().await?.join("consumer.mjs"))
        .arg(suite.dir().join("run.json"))
        .arg(protos.canonicalize()?)
        .arg(phone)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("node is needed")?;
    let mut input = node.stdin.take().context("its input")?;
    let output = node.stdout.take().context("its output")?;
    let said: Arc<Journal<Value>> = Arc::default();
    let journal = said.clone();
    tokio::spawn(async move {
        let mut lines = BufReader::new(output).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            journal.push(serde_json::from_str(&line).unwrap_or(Value::String(line)));
        }
    });
    let event =
        |wanted: &'static str| move |line: &Value| (line["event"] == wanted).then(|| line.clone());
    said.find("registration of the Node client", SOON, event("registered"))
        .await?;

    // The first message makes the session; the next ones ride on it, after an answer on the full ratchet.
    let rest = Rest::of(suite)?;
    for round in 1..=3 {
        let words = format!("To Signal's own client, round {round}: äöü 🎉");
        let id = rest
            .send(suite.number(0), &rest::text(phone, &words))
            .await?;
        let seen = said.find("a text at the Node client", SOON, |line: &Value| {
            (line["body"] == words.as_str()).then(|| line.clone())
        });
        let seen = seen.await?;
        assert_eq!(seen["message_id"], id.as_str());
        assert_eq!(seen["frame"]["from"], suite.number(0));
        assert_eq!(seen["frame"]["to"], phone);
        assert_eq!(seen["padded_length"], 256);
        suite
            .webhook
            .wait_for_status(&id, "delivered", SOON)
            .await?;

        let answer = format!("From Signal's own client, round {round}");
        input.write_all(format!("{answer}\n").as_bytes()).await?;
        let heard = suite.webhook.wait_for_messages(phone, round, SOON).await?;
        assert_eq!(heard[round - 1].object["text"]["body"], answer.as_str());
    }

    // The business forgets the person: what the client writes over the dead session comes again over a fresh one.
    suite
        .sealpost(&[
            "admin",
            "erase",
            "--number",
            suite.number(0),
            "--peer",
            phone,
        ])
        .await?;
    let words = "From Signal's own client, to who has forgotten it";
    input.write_all(format!("{words}\n").as_bytes()).await?;
    let heard = suite.webhook.wait_for_messages(phone, 4, SOON).await?;
    assert_eq!(heard[3].object["text"]["body"], words);
    let again = said.pick(|line| (line["event"] == "sent_again").then(|| line["type"].clone()));
    assert_eq!(
        again,
        [2, 3],
        "once over the old session, once over a fresh one"
    );
    drop(input);
    let status = tokio::time::timeout(Duration::from_secs(20), node.wait()).await??;
    ensure!(status.success(), "the Node client ended with {status}");
    Ok(())
}
