//! Who is woken by a commit, and by what else.

use std::time::Duration;

use sealpost_database::{
    Database, DatabaseError, Notices,
    testing::{TestDatabase, on_both},
};
use tokio::time::{Instant, timeout};

use crate::{WorkError, open_at, pair_insert};

/// Well under the safety net's five seconds, so that what arrives in time was a notice.
const SOON: Duration = Duration::from_secs(4);

async fn notify(database: &Database, id: i64) {
    let work = database.run_tx("notify", move |tx| {
        Box::pin(async move {
            tx.notify("pairs");
            pair_insert(tx, id).await
        })
    });
    work.await.unwrap();
}

/// Swallows what was notified, and the wake-up of a connection that began to listen.
async fn settle(notices: &mut Notices) {
    while timeout(Duration::from_millis(400), notices.next())
        .await
        .is_ok()
    {}
}

#[tokio::test]
async fn a_commit_wakes_those_who_wait_for_its_topic_and_no_others() {
    on_both(async |place| {
        let database = open_at(&place).await;
        let mut pairs = database.notices("pairs");
        let mut others = database.notices("others");
        settle(&mut pairs).await;
        settle(&mut others).await;
        notify(&database, 1).await;
        timeout(SOON, pairs.next()).await.unwrap();
        timeout(Duration::from_millis(200), others.next())
            .await
            .unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn a_notice_between_two_waits_is_not_lost() {
    on_both(async |place| {
        let database = open_at(&place).await;
        let mut pairs = database.notices("pairs");
        settle(&mut pairs).await;
        notify(&database, 1).await;
        notify(&database, 2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        timeout(SOON, pairs.next()).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_is_rolled_back_wakes_nobody() {
    on_both(async |place| {
        let database = open_at(&place).await;
        let mut pairs = database.notices("pairs");
        settle(&mut pairs).await;
        let work = database.run_tx("notify", |tx| {
            Box::pin(async move {
                tx.notify("pairs");
                Err::<(), _>(WorkError::GaveUp)
            })
        });
        work.await.unwrap_err();
        timeout(Duration::from_millis(500), pairs.next())
            .await
            .unwrap_err();
    })
    .await;
}

#[tokio::test]
async fn a_commit_in_another_process_is_heard() {
    let place = TestDatabase::postgres().await;
    let (here, there) = (open_at(&place).await, open_at(&place).await);
    let mut pairs = here.notices("pairs");
    settle(&mut pairs).await;
    notify(&there, 1).await;
    timeout(SOON, pairs.next()).await.unwrap();
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_wakes_everybody() {
    let place = TestDatabase::postgres().await;
    let (here, there) = (open_at(&place).await, open_at(&place).await);
    let mut pairs = here.notices("pairs");
    settle(&mut pairs).await;
    place
        .administer(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' \
             AND datname LIKE 'sealpost_test%'",
        )
        .await;
    timeout(SOON, pairs.next()).await.unwrap();
    settle(&mut pairs).await;
    notify(&there, 1).await;
    timeout(SOON, pairs.next()).await.unwrap();
}

#[tokio::test]
async fn on_a_server_the_safety_net_wakes_without_any_notice() {
    let place = TestDatabase::postgres().await;
    let database = open_at(&place).await;
    let mut pairs = database.notices("pairs");
    settle(&mut pairs).await;
    let began = Instant::now();
    timeout(Duration::from_secs(20), pairs.next())
        .await
        .unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "woken by something else"
    );
    database.close().await.unwrap();
    let error = database
        .run_tx("late", |tx| Box::pin(pair_insert(tx, 1)))
        .await
        .unwrap_err();
    assert!(matches!(error, DatabaseError::Closed));
}
