//! `sealpost admin chaos`: on a healthy suite it finds nothing; on one whose relay forgets a message it finds just that.

use std::process::{Output, Stdio};

use anyhow::ensure;
use sealpost_database::Connection;
use sealpost_database::sqlx::query;
use sealpost_tests::database::Kind;
use sealpost_tests::{Options, Suite, binaries};
use serde_json::Value;

const CONSUMERS: usize = 2;

async fn chaos(suite: &Suite, arguments: &[&str]) -> anyhow::Result<(Output, Value)> {
    let output = tokio::process::Command::new(binaries::sealpost()?)
        .args(["--json", "admin", "chaos", "--dir"])
        .arg(suite.dir())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout);
    let report = report.map_err(|_| anyhow::anyhow!("no report: {told}"))?;
    Ok((output, report))
}

async fn boot(database: Option<Kind>) -> anyhow::Result<Suite> {
    Suite::up(Options {
        consumers: CONSUMERS,
        clock_file: true,
        database,
        ..Options::default()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn chaos_on_a_healthy_suite_finds_nothing_lost_doubled_or_out_of_order() -> anyhow::Result<()>
{
    let suite = boot(None).await?;
    let (output, report) = chaos(&suite, &["--minutes", "0.3", "--pause", "1s"]).await?;
    ensure!(output.status.success(), "{report}");
    for kind in [
        "lost",
        "doubled",
        "disordered",
        "strange",
        "unsettled",
        "refused",
    ] {
        assert_eq!(report[kind], Value::Array(Vec::new()), "{kind}");
    }
    for count in ["accepted", "delivered", "answered", "replied"] {
        assert_eq!(report[count], report["sent"], "{count}");
    }
    assert!(report["sent"].as_u64() > Some(50), "{report}");
    suite.check_no_panic()
}

/// The control: a finding is possible.
#[tokio::test(flavor = "multi_thread")]
async fn chaos_names_the_one_message_that_a_tampered_relay_forgets() -> anyhow::Result<()> {
    // The trigger is SQLite's.
    let suite = boot(Some(Kind::Sqlite)).await?;
    let file = suite.dir().join("data/relay/relay.db");
    let mut relay = Connection::connect(&format!("sqlite://{}", file.display())).await?;
    // What is queued is also handed on from memory, so it must never have been queued.
    let tampering = [
        "CREATE TABLE forgotten (seen INTEGER NOT NULL)",
        "INSERT INTO forgotten (seen) VALUES (0)",
        "CREATE TRIGGER forgets BEFORE INSERT ON device_queue BEGIN
             UPDATE forgotten SET seen = seen + 1;
             SELECT RAISE(IGNORE) FROM forgotten WHERE seen = 20;
         END",
    ];
    for statement in tampering {
        query(statement).execute(&mut relay).await?;
    }
    relay.close().await?;

    let arguments = [
        "--minutes",
        "0.1",
        "--only",
        "retention",
        "--patience",
        "20s",
    ];
    let (output, report) = chaos(&suite, &arguments).await?;
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["lost"].as_array().map(Vec::len), Some(1), "{report}");
    assert_eq!(report["disordered"], Value::Array(Vec::new()));
    assert_eq!(report["doubled"], Value::Array(Vec::new()));
    Ok(())
}
