//! Databases and roles that are made for services, on a real server and by a role that is no superuser.

use std::{fs, time::Duration};

use sealpost_database::{
    Connection, DatabaseUrl, Role, Server, Tenancy,
    sqlx::{AssertSqlSafe, query_scalar, raw_sql},
    testing::{Cluster, TestDatabase},
};

fn tenancy(name: &str) -> Tenancy {
    let role = |name: &str, password: &str| Role {
        name: name.to_owned(),
        password: password.to_owned(),
    };
    Tenancy {
        database: name.to_owned(),
        owner: role(&format!("{name}_owner"), "0wn3r"),
        user: role(name, "us3r"),
    }
}

async fn run(url: &str, sql: &str) -> Result<(), String> {
    let connected = Connection::connect(url).await;
    let mut connection = connected.map_err(|error| error.to_string())?;
    let done = raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(&mut connection)
        .await;
    done.map(drop).map_err(|error| error.to_string())
}

async fn count(url: &str, sql: &'static str) -> i64 {
    let mut connection = Connection::connect(url).await.unwrap();
    query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

/// A role with CREATEDB and CREATEROLE, and nothing beyond.
async fn operator(place: &TestDatabase, name: &str) -> DatabaseUrl {
    place
        .administer(&format!("CREATE ROLE {name} LOGIN CREATEDB CREATEROLE"))
        .await;
    place.as_role(name).parse().unwrap()
}

#[tokio::test]
async fn each_role_enters_its_own_database_and_only_the_owner_changes_tables() {
    let place = TestDatabase::postgres().await;
    let url = operator(&place, "tenancy_operator").await;
    let mut server = Server::connect(url.clone()).await.unwrap();
    let (one, other) = (tenancy("tenancy_one"), tenancy("tenancy_other"));
    for made in [&one, &other] {
        server.make(made).await.unwrap();
    }
    let at = |role: &Role, database: &str| url.for_role(&role.name, None, database).unwrap();

    let owner = at(&one.owner, "tenancy_one");
    run(&owner, "CREATE TABLE lamps (id BIGINT)").await.unwrap();
    let user = at(&one.user, "tenancy_one");
    assert_eq!(count(&user, "SELECT CAST(1 AS BIGINT)").await, 1);
    for refused in [
        "CREATE TABLE mine (id BIGINT)",
        "CREATE TEMPORARY TABLE mine (id BIGINT)",
        "CREATE SCHEMA mine",
        "TRUNCATE lamps",
        "DROP TABLE lamps",
        "SELECT * FROM lamps",
    ] {
        let error = run(&user, refused).await.unwrap_err();
        assert!(
            error.contains("permission denied") || error.contains("must be owner"),
            "{error}"
        );
    }
    for stranger in [&other.user, &other.owner] {
        let error = run(&at(stranger, "tenancy_one"), "SELECT 1")
            .await
            .unwrap_err();
        assert!(error.contains("permission denied for database"), "{error}");
    }
    // Nor may the operator any more, who made it.
    let error = run(
        &at(&tenancy("tenancy_operator").user, "tenancy_one"),
        "SELECT 1",
    )
    .await;
    assert!(error.is_err());
    server.close().await.unwrap();
}

#[tokio::test]
async fn making_and_removing_may_be_repeated_and_leave_nothing() {
    let place = TestDatabase::postgres().await;
    let url = operator(&place, "tenancy_repeater").await;
    let made = tenancy("tenancy_repeated");
    let mut server = Server::connect(url.clone()).await.unwrap();
    server.make(&made).await.unwrap();
    let owner = url
        .for_role(&made.owner.name, None, &made.database)
        .unwrap();
    run(&owner, "CREATE TABLE lamps (id BIGINT)").await.unwrap();
    server.make(&made).await.unwrap();
    run(&owner, "INSERT INTO lamps VALUES (1)").await.unwrap();

    // Somebody is connected.
    let user = url.for_role(&made.user.name, None, &made.database).unwrap();
    let held = Connection::connect(&user).await.unwrap();
    for _ in 0..2 {
        server.remove(&made).await.unwrap();
    }
    drop(held);
    let left = "SELECT (SELECT count(*) FROM pg_roles WHERE rolname LIKE 'tenancy_repeated%') \
        + (SELECT count(*) FROM pg_database WHERE datname LIKE 'tenancy_repeated%')";
    assert_eq!(count(place.url(), left).await, 0);
}

#[tokio::test]
async fn a_role_proves_its_password_and_the_server_was_never_told_it() {
    let cluster = Cluster::start_with("log_statement = 'all'\n").await;
    let made = tenancy("proven");
    let url: DatabaseUrl = cluster.url().parse().unwrap();
    let mut server = Server::connect(url.clone()).await.unwrap();
    server.make(&made).await.unwrap();
    let rules = cluster.folder().join("data/pg_hba.conf");
    let trusting = fs::read_to_string(&rules).unwrap();
    fs::write(
        &rules,
        format!("host all proven,proven_owner 127.0.0.1/32 scram-sha-256\n{trusting}"),
    )
    .unwrap();
    run(&cluster.url(), "SELECT pg_reload_conf()")
        .await
        .unwrap();

    let with = |password| url.for_role("proven", password, "proven").unwrap();
    for _ in 0..100 {
        if run(&with(Some("another")), "SELECT 1").await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(run(&with(Some("another")), "SELECT 1").await.is_err());
    run(&with(Some("us3r")), "SELECT 1").await.unwrap();
    let log = fs::read_to_string(cluster.folder().join("log")).unwrap();
    assert!(log.contains("CREATE ROLE proven LOGIN"), "the control");
    assert!(!log.contains("us3r") && !log.contains("0wn3r"));
}
