//! PostgreSQL under a suite: who may enter which database, and what `up` makes and `down` removes.

mod samples;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process};
use sealpost_database::sqlx::{AssertSqlSafe, query_scalar, raw_sql};
use sealpost_tests::consumer::Consumer;
use sealpost_tests::database::{self, Kind};
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::{Options, Suite, binaries};
use serde_json::Value;
use tokio::process::{Child, Command};

use super::SOON;

/// The first URL's server and role, in the other's database.
fn into(url: &str, other: &str) -> anyhow::Result<String> {
    let parts = |url: &str| -> anyhow::Result<(String, String)> {
        let (server, rest) = url.rsplit_once('/').context("a path")?;
        Ok((server.to_owned(), rest.to_owned()))
    };
    Ok(format!("{}/{}", parts(url)?.0, parts(other)?.1))
}

async fn run(url: &str, sql: &str) -> anyhow::Result<()> {
    let mut connection = database::connect(url).await?;
    raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_services_role_reaches_its_own_database_alone_and_changes_no_table() -> anyhow::Result<()>
{
    let suite = Suite::up(Options {
        database: Some(Kind::Postgres),
        ..Options::default()
    })
    .await?;
    let store = suite.database_url("store")?;
    let keeping = ["directory", "key-vault", "relay", "retention", "connector"];
    for name in keeping {
        let other = into(&store, &suite.database_url(name)?)?;
        let error = run(&other, "SELECT 1").await.unwrap_err().to_string();
        ensure!(
            error.contains("permission denied for database"),
            "{name}: {error}"
        );
    }
    // The control: these are databases, each with its own role in it.
    for name in keeping {
        run(&suite.database_url(name)?, "SELECT 1").await?;
    }
    run(&store, "SELECT * FROM outbound LIMIT 1").await?;
    for refused in [
        "CREATE TABLE mine (id BIGINT)",
        "TRUNCATE outbound",
        "DROP TABLE outbound",
        "ALTER TABLE outbound ADD COLUMN mine BIGINT",
        "DELETE FROM _sqlx_migrations",
        "CREATE ROLE mine",
    ] {
        ensure!(
            run(&store, refused).await.is_err(),
            "{refused} went through"
        );
    }
    let owner = suite.owner_url("store")?;
    run(&owner, "CREATE TABLE mine (id BIGINT); DROP TABLE mine").await?;

    // And the suite works.
    let consumer = Consumer::online(&suite, 0)?;
    let rest = Rest::of(&suite)?;
    rest.send(suite.number(0), &rest::text(&consumer.phone, "out"))
        .await?;
    consumer.wait_for(1, SOON).await?;
    consumer.text(&suite, 0, "back").await?;
    suite
        .webhook
        .wait_for_messages(&consumer.phone, 1, SOON)
        .await?;
    suite.check_no_panic()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_finds_its_databases_again_and_down_removes_them_all() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("suite");
    let server = database::operator_url().await?;
    let first = up(&dir, &["--database", &server]).await?;
    let role = databases_role(&dir)?;
    assert_eq!(made(&server, &role).await?, (6, 12));
    let running = down(&dir, &server).await?;
    ensure!(!running.0, "a suite that runs is left alone: {}", running.1);
    let number = number(&dir)?;
    end(first).await?;

    // Nothing was asked for: the folder knows, and its numbers are there.
    let second = up(&dir, &[]).await?;
    assert_eq!(number, self::number(&dir)?);
    assert_eq!(made(&server, &role).await?, (6, 12));
    end(second).await?;
    let elsewhere = format!("sqlite://{}", folder.path().join("files").display());
    let refused = up(&dir, &["--database", &elsewhere]).await.unwrap_err();
    ensure!(refused.to_string().contains("another --dir"), "{refused}");

    for expected in ["6 databases", "0 databases"] {
        let (good, said) = down(&dir, &server).await?;
        ensure!(good && said.starts_with(expected), "{said}");
        assert_eq!(made(&server, &role).await?, (0, 0));
    }
    let refused = up(&dir, &["--database", &server]).await.unwrap_err();
    ensure!(refused.to_string().contains("were removed"), "{refused}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_on_sqlite_are_refused_with_the_reason() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let refused = up(&folder.path().join("suite"), &["--replicas", "2"]).await;
    let refused = refused.unwrap_err().to_string();
    ensure!(
        refused.contains("needs --database postgres://"),
        "{refused}"
    );
    Ok(())
}

/// What all of this folder's databases and roles begin with.
fn databases_role(dir: &Path) -> anyhow::Result<String> {
    let kept: Value = serde_json::from_slice(&fs::read(dir.join("databases.json"))?)?;
    Ok(format!(
        "sealpost_{}",
        kept["suite"].as_str().context("an id")?
    ))
}

fn number(dir: &Path) -> anyhow::Result<String> {
    let run: Value = serde_json::from_slice(&fs::read(dir.join("run.json"))?)?;
    Ok(run["numbers"][0]["vault_fingerprint"].to_string())
}

/// How many databases and roles there are with that beginning.
async fn made(server: &str, stem: &str) -> anyhow::Result<(i64, i64)> {
    let mut connection = database::connect(server).await?;
    let mut count = async |table: &str, column: &str| -> anyhow::Result<i64> {
        let sql = format!("SELECT count(*) FROM {table} WHERE {column} LIKE '{stem}%'");
        Ok(query_scalar(AssertSqlSafe(sql))
            .fetch_one(&mut connection)
            .await?)
    };
    Ok((
        count("pg_database", "datname").await?,
        count("pg_roles", "rolname").await?,
    ))
}

/// `sealpost up`; the error is what it said.
async fn up(dir: &Path, arguments: &[&str]) -> anyhow::Result<Child> {
    let mut child = Command::new(binaries::sealpost()?)
        .args(["up", "--consumers", "0", "--dir"])
        .arg(dir)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let said = child.wait_with_output().await?.stderr;
            anyhow::bail!("{status}: {}", String::from_utf8_lossy(&said));
        }
        // A suite that was here before took its run.json away when it began.
        let run = fs::read(dir.join("run.json")).unwrap_or_default();
        let run: Value = serde_json::from_slice(&run).unwrap_or_default();
        if run["services"]["connector"]["pid"].is_u64() {
            return Ok(child);
        }
        ensure!(start.elapsed() < Duration::from_secs(120), "no suite");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn end(mut child: Child) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id().context("it runs")?)?;
    kill_process(Pid::from_raw(pid).context("a pid")?, Signal::TERM)?;
    ensure!(child.wait().await?.success());
    Ok(())
}

/// `sealpost down`: whether it did, and what it said.
async fn down(dir: &Path, server: &str) -> anyhow::Result<(bool, String)> {
    let output = Command::new(binaries::sealpost()?)
        .args(["down", "--database", server, "--dir"])
        .arg(dir)
        .output()
        .await?;
    let said = if output.status.success() {
        output.stdout
    } else {
        output.stderr
    };
    Ok((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}
