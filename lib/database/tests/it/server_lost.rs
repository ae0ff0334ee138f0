//! A server that dies: between statements, in a commit, and while requests go away.

use std::{collections::BTreeSet, time::Duration};

use sealpost_database::{
    DatabaseError,
    sqlx::query_scalar,
    testing::{Cluster, TestDatabase},
};
use tokio::time::{sleep, timeout};

use crate::{WorkError, ids, insert, open_at, pair_insert};

#[tokio::test]
async fn a_server_that_dies_between_statements_wrote_nothing_and_the_work_is_done_on_the_next() {
    let cluster = Cluster::start().await;
    let place = TestDatabase::on(&cluster.url()).await;
    let database = open_at(&place).await;
    insert(&database, 1).await.unwrap();
    let (begun, mut go_on) = (
        tokio::sync::mpsc::channel(8),
        tokio::sync::watch::channel(false),
    );
    let (sender, mut begun) = begun;
    let waiting = go_on.1.clone();
    let requests = database.clone();
    let work = tokio::spawn(async move {
        let work = requests.run_tx("pair_insert", move |tx| {
            let (sender, mut waiting) = (sender.clone(), waiting.clone());
            Box::pin(async move {
                pair_insert(tx, 2).await?;
                sender.send(()).await.unwrap();
                waiting.wait_for(|go| *go).await.unwrap();
                pair_insert(tx, 3).await
            })
        });
        work.await
    });
    begun.recv().await.unwrap();
    cluster.crash();
    go_on.0.send(true).unwrap();
    sleep(Duration::from_millis(300)).await;
    assert!(
        !work.is_finished(),
        "the server's absence was not ridden out"
    );
    cluster.restart().await;
    timeout(Duration::from_secs(60), work)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(ids(&database).await.0, BTreeSet::from([1, 2, 3]));
    go_on.1.mark_unchanged();
}

/// A commit that waits for a standby which never answers is on this server's disk, and nobody was told. Killed there, it must be
/// called unknown: here it did take hold.
#[tokio::test]
async fn a_server_that_dies_in_a_commit_leaves_an_unknown_outcome() {
    let cluster = Cluster::start().await;
    let place = TestDatabase::on(&cluster.url()).await;
    let database = open_at(&place).await;
    insert(&database, 1).await.unwrap();
    let settings = cluster.folder().join("data/postgresql.auto.conf");
    std::fs::write(&settings, "synchronous_standby_names = 'nobody'\n").unwrap();
    place.administer("SELECT pg_reload_conf()").await;
    wait_until(&place, "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting <> ''").await;

    let requests = database.clone();
    // An error of the work's own hides the outcome from whoever looks at its sources; the work is not run again all the same.
    let work = tokio::spawn(async move {
        let inserted = requests.run_tx("pair_insert", |tx| {
            Box::pin(async move { Ok::<_, WorkError>(pair_insert(tx, 2).await?) })
        });
        inserted.await
    });
    wait_until(
        &place,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'",
    )
    .await;
    cluster.crash();
    let error = timeout(Duration::from_secs(60), work)
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(
            error,
            WorkError::Database(DatabaseError::UnknownOutcome(Some(_)))
        ),
        "{error:?}"
    );

    std::fs::write(&settings, "").unwrap();
    cluster.restart().await;
    assert_eq!(ids(&database).await.0, BTreeSet::from([1, 2]));
    // The pool has got over it.
    insert(&database, 3).await.unwrap();
}

#[tokio::test]
async fn a_commit_that_is_never_answered_is_unknown_when_its_time_is_up() {
    let cluster = Cluster::start().await;
    let place = TestDatabase::on(&cluster.url()).await;
    let options = sealpost_database::PoolOptions {
        work_limit: Duration::from_secs(2),
        ..Default::default()
    };
    let database = sealpost_database::Database::open(place.config(), crate::MIGRATIONS, options)
        .await
        .unwrap();
    std::fs::write(
        cluster.folder().join("data/postgresql.auto.conf"),
        "synchronous_standby_names = 'nobody'\n",
    )
    .unwrap();
    place.administer("SELECT pg_reload_conf()").await;
    wait_until(&place, "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting <> ''").await;
    let error = insert(&database, 1).await.unwrap_err();
    assert!(
        matches!(error, DatabaseError::UnknownOutcome(None)),
        "{error:?}"
    );
}

/// Asks until a count is not zero.
async fn wait_until(place: &TestDatabase, sql: &'static str) {
    let mut stranger = place.stranger().await;
    for _ in 0..600 {
        let count: i64 = query_scalar(sql).fetch_one(&mut stranger).await.unwrap();
        if count > 0 {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("never: {sql}");
}
