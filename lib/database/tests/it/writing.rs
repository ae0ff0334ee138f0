//! How writing transactions end, and what they do when they meet another.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sealpost_database::{
    Connection, DatabaseError,
    sqlx::{self, query, raw_sql},
    testing::on_both,
};
use tokio::{task::JoinSet, time::sleep};

use crate::{Fixture, WorkError, assert_no_transaction_is_open, ids, insert, pair_insert};

#[tokio::test]
async fn an_error_rolls_the_work_back_and_reaches_the_caller() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let refused = fixture.database.run_tx("pair_insert", |tx| {
            Box::pin(async move {
                pair_insert(tx, 1).await?;
                Err::<(), _>(WorkError::GaveUp)
            })
        });
        assert!(matches!(refused.await, Err(WorkError::GaveUp)));
        assert!(ids(&fixture.database).await.0.is_empty());
        assert_no_transaction_is_open(&fixture.database).await;
    })
    .await;
}

fn fail_on_purpose() -> Result<(), DatabaseError> {
    panic!("on purpose")
}

#[tokio::test]
async fn a_panic_rolls_the_work_back_and_reaches_the_caller() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let database = fixture.database.clone();
        let request = tokio::spawn(async move {
            let work = database.run_tx("pair_insert", |tx| {
                Box::pin(async move {
                    pair_insert(tx, 1).await?;
                    fail_on_purpose()
                })
            });
            work.await
        });
        assert!(request.await.unwrap_err().is_panic());
        assert!(ids(&fixture.database).await.0.is_empty());
        assert_no_transaction_is_open(&fixture.database).await;
    })
    .await;
}

#[tokio::test]
async fn a_commit_that_is_refused_is_a_known_failure_and_writes_nothing() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        // The right without its left: the deferred foreign key fails at COMMIT, not before.
        let refused = fixture.database.run_tx("right_insert", |tx| {
            Box::pin(async move {
                query("INSERT INTO rights (id) VALUES (1)")
                    .execute(&mut **tx)
                    .await?;
                Ok::<(), DatabaseError>(())
            })
        });
        let error = refused.await.unwrap_err();
        assert!(matches!(error, DatabaseError::Statement(_)), "{error:?}");
        assert!(ids(&fixture.database).await.1.is_empty());
        assert_no_transaction_is_open(&fixture.database).await;
    })
    .await;
}

#[tokio::test]
async fn a_commit_whose_answer_makes_no_sense_is_an_unknown_outcome() {
    let fixture = Fixture::new().await;
    // Work that commits behind the crate's back: its row is there, and nobody may call it failed.
    let confused = fixture.database.run_tx("pair_insert", |tx| {
        Box::pin(async move {
            pair_insert(tx, 1).await?;
            raw_sql("COMMIT").execute(&mut **tx).await?;
            Ok::<(), DatabaseError>(())
        })
    });
    assert!(confused.await.unwrap_err().is_unknown_outcome());
    assert_eq!(ids(&fixture.database).await.0, BTreeSet::from([1]));
    assert_no_transaction_is_open(&fixture.database).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_writers_all_succeed() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let mut writers = JoinSet::new();
        for id in 0..300 {
            let database = fixture.database.clone();
            writers.spawn(async move { insert(&database, id).await });
        }
        while let Some(writer) = writers.join_next().await {
            writer.unwrap().unwrap();
        }
        assert_eq!(ids(&fixture.database).await.0.len(), 300);
    })
    .await;
}

#[tokio::test]
async fn contention_inside_the_work_is_tried_again_on_a_fresh_transaction() {
    let fixture = Fixture::new().await;
    let tries = Arc::new(AtomicU32::new(0));
    let (counted, file) = (tries.clone(), fixture.file());
    let work = fixture.database.run_tx("pair_insert", move |tx| {
        let (tries, file) = (counted.clone(), file.clone());
        Box::pin(async move {
            pair_insert(tx, 1).await?;
            if tries.fetch_add(1, Ordering::SeqCst) < 2 {
                meet_the_lock(&file).await?;
            }
            Ok::<(), WorkError>(())
        })
    });
    work.await.unwrap();
    assert_eq!(tries.load(Ordering::SeqCst), 3);
    assert_eq!(ids(&fixture.database).await.0, BTreeSet::from([1]));
}

#[tokio::test]
async fn contention_that_does_not_end_is_answered_as_busy_after_a_bounded_number_of_tries() {
    let fixture = Fixture::new().await;
    let tries = Arc::new(AtomicU32::new(0));
    let (counted, file) = (tries.clone(), fixture.file());
    let work = fixture.database.run_tx("pair_insert", move |tx| {
        let (tries, file) = (counted.clone(), file.clone());
        Box::pin(async move {
            pair_insert(tx, 1).await?;
            tries.fetch_add(1, Ordering::SeqCst);
            meet_the_lock(&file).await
        })
    });
    assert!(work.await.unwrap_err().is_conflict());
    assert_eq!(tries.load(Ordering::SeqCst), 5);
    assert!(ids(&fixture.database).await.0.is_empty());
}

async fn stranger(file: &Path) -> Result<Connection, sqlx::Error> {
    Connection::connect(&format!("sqlite://{}", file.display())).await
}

/// A real `SQLITE_BUSY`: a stranger asks for the lock that the running transaction holds.
async fn meet_the_lock(file: &Path) -> Result<(), DatabaseError> {
    let mut stranger = stranger(file).await?;
    raw_sql("PRAGMA busy_timeout = 0")
        .execute(&mut stranger)
        .await?;
    raw_sql("BEGIN IMMEDIATE").execute(&mut stranger).await?;
    Ok(())
}

#[tokio::test]
async fn another_processes_lock_is_waited_for() {
    let fixture = Fixture::new().await;
    let mut stranger = stranger(&fixture.file()).await.unwrap();
    raw_sql("BEGIN IMMEDIATE")
        .execute(&mut stranger)
        .await
        .unwrap();
    let database = fixture.database.clone();
    let waiting = tokio::spawn(async move { insert(&database, 1).await });
    sleep(Duration::from_millis(200)).await;
    assert!(!waiting.is_finished());
    raw_sql("COMMIT").execute(&mut stranger).await.unwrap();
    waiting.await.unwrap().unwrap();
}
