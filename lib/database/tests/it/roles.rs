//! The role that a service runs as, beside the owner of its tables.

use std::process::Command;

use clap::Parser;
use sealpost_database::{
    Connection, Database, DatabaseCommand, DatabaseError, PoolOptions,
    sqlx::{AssertSqlSafe, raw_sql},
    testing::TestDatabase,
};

use crate::{MIGRATIONS, ids, insert};

#[derive(Parser)]
struct Service {
    #[command(subcommand)]
    command: Option<DatabaseCommand>,
}

async fn migrate(arguments: &[&str]) -> Result<(), String> {
    let words = ["service", "migrate"].iter().chain(arguments);
    let service = Service::try_parse_from(words).map_err(|error| error.to_string())?;
    let run = service.command.unwrap().run(MIGRATIONS).await;
    run.map_err(|error| error.to_string())
}

/// A role without any right but to connect; dropped with the cluster.
async fn role(place: &TestDatabase) -> String {
    let name = place.url().rsplit_once('/').unwrap().1;
    let role = format!("{}_role", name.trim_end_matches('?'));
    place.administer(&format!("CREATE ROLE {role} LOGIN")).await;
    role
}

async fn try_as(url: &str, sql: &str) -> Result<(), String> {
    let mut connection = Connection::connect(url).await.unwrap();
    let done = raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await;
    done.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn a_granted_role_reads_and_writes_rows_and_can_change_nothing_else() {
    let place = TestDatabase::postgres().await;
    let role = role(&place).await;
    migrate(&["--database", place.url(), "--grant-to", &role])
        .await
        .unwrap();

    let url = place.as_role(&role);
    let database = Database::open(url.parse().unwrap(), MIGRATIONS, PoolOptions::default())
        .await
        .unwrap();
    insert(&database, 1).await.unwrap();
    assert!(ids(&database).await.0.contains(&1));

    for forbidden in [
        "CREATE TABLE mine (a BIGINT)",
        "CREATE FUNCTION mine() RETURNS BIGINT LANGUAGE sql AS 'SELECT 1'",
        "DROP TABLE lefts CASCADE",
        "ALTER TABLE lefts ADD COLUMN mine BIGINT",
        "ALTER TABLE lefts OWNER TO CURRENT_USER",
        "CREATE INDEX mine ON lefts (content)",
        "CREATE TRIGGER mine BEFORE INSERT ON lefts EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "TRUNCATE rights",
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9, 'mine', TRUE, '', 0)",
        "UPDATE _sqlx_migrations SET checksum = ''",
        "DELETE FROM _sqlx_migrations",
        "TRUNCATE _sqlx_migrations",
        "DROP TABLE _sqlx_migrations",
        "CREATE SCHEMA mine",
    ] {
        let refused = try_as(&url, forbidden).await;
        assert!(refused.is_err(), "{forbidden} went through");
    }
    // Control: the owner may, so that it is the role which is refused.
    try_as(place.url(), "CREATE TABLE mine (a BIGINT)")
        .await
        .unwrap();
    try_as(place.url(), "TRUNCATE rights").await.unwrap();
}

#[tokio::test]
async fn what_a_role_had_before_is_taken_back() {
    let place = TestDatabase::postgres().await;
    let role = role(&place).await;
    migrate(&["--database", place.url()]).await.unwrap();
    try_as(
        place.url(),
        &format!("GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}"),
    )
    .await
    .unwrap();
    try_as(&place.as_role(&role), "TRUNCATE rights")
        .await
        .unwrap();
    migrate(&["--database", place.url(), "--grant-to", &role])
        .await
        .unwrap();
    try_as(&place.as_role(&role), "TRUNCATE rights")
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_role_that_may_not_migrate_is_told_what_to_run() {
    let place = TestDatabase::postgres().await;
    let role = role(&place).await;
    let url = place.as_role(&role);
    let open = || Database::open(url.parse().unwrap(), MIGRATIONS, PoolOptions::default());
    let error = open().await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::MigrationNotAllowed { version: 1, .. }),
        "{error:?}"
    );
    assert!(error.to_string().contains("migrate --database"), "{error}");
    assert!(!error.to_string().contains(&role), "the URL is in {error}");

    migrate(&["--database", place.url(), "--grant-to", &role])
        .await
        .unwrap();
    open().await.unwrap();
}

#[tokio::test]
async fn neither_a_wrong_url_nor_its_password_is_repeated() {
    let error = migrate(&["--database", "postgres://u:hunter2@db.example/db"])
        .await
        .unwrap_err();
    assert!(
        error.contains("verify-full") && !error.contains("hunter2"),
        "{error}"
    );
    let error = migrate(&["--database", "a.db", "--grant-to", "role"])
        .await
        .unwrap_err();
    assert!(error.contains("PostgreSQL"), "{error}");
}

#[tokio::test]
async fn replicas_that_start_together_migrate_once() {
    let place = TestDatabase::postgres().await;
    let starts = (0..6).map(|_| {
        let config = place.config();
        tokio::spawn(Database::open(config, MIGRATIONS, PoolOptions::default()))
    });
    let mut open = Vec::new();
    for start in starts.collect::<Vec<_>>() {
        open.push(start.await.unwrap().unwrap());
    }
    for (id, database) in (1..).zip(&open) {
        insert(database, id).await.unwrap();
    }
    assert_eq!(ids(&open[0]).await.0.len(), 6);
}

/// The cluster of a killed test process must not stay behind: this very binary is run for it, and killed.
#[test]
fn a_killed_test_process_leaves_no_server_behind() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "roles::sleeps_on_a_cluster_of_its_own",
            "--nocapture",
        ])
        .env("SEALPOST_TEST_SLEEPS", "1")
        .env_remove("SEALPOST_TESTS_POSTGRES")
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    let folder = lines
        .map(|line| line.unwrap())
        .find_map(|line| line.split_once("cluster at ").map(|(_, at)| at.to_owned()))
        .unwrap();
    assert!(
        std::path::Path::new(&folder)
            .join("data/postmaster.pid")
            .exists()
    );
    child.kill().unwrap();
    child.wait().unwrap();
    for _ in 0..300 {
        if !std::path::Path::new(&folder).exists() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    panic!("{folder} is still there");
}

#[tokio::test]
#[allow(clippy::print_stdout)]
async fn sleeps_on_a_cluster_of_its_own() {
    // Only as the other test's child.
    if std::env::var_os("SEALPOST_TEST_SLEEPS").is_some() {
        let cluster = sealpost_database::testing::Cluster::start().await;
        println!("cluster at {}", cluster.folder().display());
        tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    }
}
