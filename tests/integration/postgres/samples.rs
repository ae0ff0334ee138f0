//! A service on a server that is set up from `deploy/postgresql`, by the steps of `docs/operate-postgresql.md`: TLS, passwords, roles.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use sealpost_database::testing::{self, Cluster};
use sealpost_tests::binaries;
use sealpost_tests::database::execute;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/postgresql");
const PASSWORD: &str = "a-password-of-the-store";

fn sample(name: &str) -> anyhow::Result<String> {
    fs::read_to_string(Path::new(SAMPLES).join(name)).with_context(|| name.to_owned())
}

/// What the samples set, name by name.
fn settings() -> anyhow::Result<Vec<(String, String)>> {
    let text = sample("postgresql.conf")?;
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.split_once(" = ").context("name = value")?;
            Ok((name.to_owned(), value.trim_matches('\'').to_owned()))
        })
        .collect()
}

/// An authority of our own, and a certificate of it for this machine.
fn authority(folder: &Path) -> anyhow::Result<PathBuf> {
    let dir = folder.display().to_string();
    let sealpost = |arguments: &[&str]| -> anyhow::Result<()> {
        let output = Command::new(binaries::sealpost()?)
            .args(arguments)
            .output()?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(())
    };
    sealpost(&[
        "pki",
        "init",
        "--dir",
        &dir,
        "--trust-domain",
        "database.example",
    ])?;
    sealpost(&[
        "pki",
        "issue-public",
        "--dir",
        &dir,
        "--name",
        "public",
        "--dns",
        "localhost",
        "--ip",
        "127.0.0.1",
        "--out",
        &dir,
    ])?;
    Ok(folder.join("ca.pem"))
}

/// A file of the server's own.
fn give(cluster: &Cluster, from: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let data = cluster.folder().join("data");
    let owner = fs::metadata(&data)?;
    let file = data.join(name);
    fs::copy(from, &file)?;
    chown(&file, Some(owner.uid()), Some(owner.gid()))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    Ok(file)
}

fn migrate(url: &str, more: &[&str]) -> anyhow::Result<String> {
    let store = binaries::sealpost()?.with_file_name("sealpost-store");
    let output = Command::new(store)
        .args(["migrate", "--database", url])
        .args(more)
        .env("PGPASSWORD", PASSWORD)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{said}");
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_runs_on_a_server_from_the_samples_over_verified_tls_alone() -> anyhow::Result<()>
{
    let folder = tempfile::tempdir()?;
    let ca = authority(&folder.path().join("pki"))?;
    let other_ca = authority(&folder.path().join("other"))?;
    let is_tls = |name: &str| name.starts_with("ssl");
    let plain: String = settings()?
        .iter()
        .filter(|(name, _)| !is_tls(name))
        .map(|(name, value)| format!("{name} = '{value}'\n"))
        .collect();
    let cluster = Cluster::start_with(&plain).await;
    let superuser = cluster.url();

    // Roles, as an administrator who is no superuser makes them.
    execute(
        &superuser,
        "CREATE ROLE administrator LOGIN CREATEDB CREATEROLE",
    )
    .await?;
    let administrator = superuser.replace("sealpost@", "administrator@");
    let output = Command::new(testing::binaries().join("psql"))
        .args(["--quiet", "--file"])
        .arg(Path::new(SAMPLES).join("roles.sql"))
        .arg(&administrator)
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    for role in ["sealpost_store", "sealpost_store_owner"] {
        execute(
            &superuser,
            &format!("ALTER ROLE {role} PASSWORD '{PASSWORD}'"),
        )
        .await?;
    }

    // Access and TLS.
    let certificate = give(
        &cluster,
        &folder.path().join("pki/public.pem"),
        "public.pem",
    )?;
    let key = give(
        &cluster,
        &folder.path().join("pki/public.key"),
        "public.key",
    )?;
    let file = cluster.folder().join("data/postgresql.conf");
    let mut text = fs::read_to_string(&file)?;
    for (name, value) in settings()?.iter().filter(|(name, _)| is_tls(name)) {
        let value = value
            .replace(
                "/etc/sealpost/postgresql/public.pem",
                &certificate.display().to_string(),
            )
            .replace(
                "/etc/sealpost/postgresql/public.key",
                &key.display().to_string(),
            );
        text.push_str(&format!("{name} = '{value}'\n"));
    }
    fs::write(&file, text)?;
    let rules = sample("pg_hba.conf")?.replace("10.0.0.0/24", "127.0.0.1/32");
    let ours = "host all sealpost,administrator 127.0.0.1/32 trust\n";
    fs::write(
        cluster.folder().join("data/pg_hba.conf"),
        format!("{ours}{rules}"),
    )?;
    execute(&superuser, "SELECT pg_reload_conf()").await?;

    let place = format!("localhost:{}/sealpost_store", cluster.port());
    let verified = |ca: &Path| format!("?sslmode=verify-full&sslrootcert={}", ca.display());
    let owner = format!("postgres://sealpost_store_owner@{place}");
    let url = format!("{owner}{}", verified(&ca));
    let grant = ["--grant-to", "sealpost_store"];
    // The server takes a moment to read its files anew.
    let mut migrated = migrate(&url, &grant);
    for _ in 0..100 {
        if migrated.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        migrated = migrate(&url, &grant);
    }
    ensure!(migrated?.contains("granted to sealpost_store"));
    let service = format!("postgres://sealpost_store@{place}{}", verified(&ca));
    ensure!(migrate(&service, &[])?.contains("nothing was missing"));

    let forged = migrate(&format!("{owner}{}", verified(&other_ca)), &[]);
    ensure!(forged.is_err(), "a server of another authority is refused");
    let open = migrate(&format!("{owner}?sslmode=disable"), &[]);
    ensure!(open.is_err(), "the server takes nobody without TLS");
    let other = migrate(
        &service.replace("/sealpost_store?", "/sealpost_relay?"),
        &[],
    );
    ensure!(other.is_err(), "another service's database");

    // What was set, holds; and no row reaches the log.
    for (name, value) in settings()?
        .iter()
        .filter(|(name, _)| !name.ends_with("_file"))
    {
        let check = format!(
            "DO $$ BEGIN IF current_setting('{name}') <> '{value}' THEN RAISE '{name}'; END IF; END $$"
        );
        execute(&superuser, &check).await?;
    }
    execute(&superuser, "CREATE TABLE peers (phone TEXT PRIMARY KEY)").await?;
    let twice = "INSERT INTO peers VALUES ('15550212345'), ('15550212345')";
    ensure!(execute(&superuser, twice).await.is_err());
    let log = || fs::read_to_string(cluster.folder().join("log"));
    ensure!(log()?.contains("duplicate key") && !log()?.contains("15550212345"));
    let talkative = format!("SET log_error_verbosity = verbose; {twice}");
    ensure!(execute(&superuser, &talkative).await.is_err());
    ensure!(log()?.contains("15550212345"), "the control");
    Ok(())
}
