//! Units of work that share a transaction.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use sealpost_database::{DatabaseError, testing::on_both};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use crate::{Fixture, WorkError, assert_no_transaction_is_open, ids, insert, pair_insert};

/// One unit holds the writer while nine more queue behind it; among these the fifth gives up and the seventh panics.
#[tokio::test]
async fn one_that_fails_or_panics_takes_nothing_of_those_it_shared_a_transaction_with() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let first = {
            let (database, begun, go) = (fixture.database.clone(), begun.clone(), go.clone());
            tokio::spawn(async move {
                let work = database.run_tx("first", move |tx| {
                    let (begun, go) = (begun.clone(), go.clone());
                    Box::pin(async move {
                        begun.notify_one();
                        go.notified().await;
                        pair_insert(tx, 0).await
                    })
                });
                work.await.unwrap();
            })
        };
        begun.notified().await;
        let runs = Arc::new(AtomicU32::new(0));
        let mut units = JoinSet::new();
        for id in 1..10 {
            let (database, runs) = (fixture.database.clone(), runs.clone());
            units.spawn(async move {
                let work = database.run_tx("unit", move |tx| {
                    let runs = runs.clone();
                    Box::pin(async move {
                        runs.fetch_add(1, Ordering::SeqCst);
                        pair_insert(tx, id).await?;
                        assert!(id != 7, "on purpose");
                        if id == 5 {
                            return Err(WorkError::GaveUp);
                        }
                        Ok(())
                    })
                });
                (id, work.await)
            });
            // They queue in this order.
            tokio::task::yield_now().await;
        }
        go.notify_one();
        first.await.unwrap();
        let (mut done, mut panicked) = (BTreeSet::from([0]), 0);
        while let Some(unit) = units.join_next().await {
            match unit {
                Ok((id, Ok(()))) => assert!(done.insert(id)),
                Ok((id, Err(error))) => {
                    assert!(matches!(error, WorkError::GaveUp));
                    assert_eq!(id, 5);
                }
                Err(error) => panicked += u32::from(error.is_panic()),
            }
        }
        assert_eq!(panicked, 1);
        assert_eq!(done, [0, 1, 2, 3, 4, 6, 8, 9].into());
        let (lefts, rights) = ids(&fixture.database).await;
        assert_eq!((&lefts, &rights), (&done, &done));
        // Some ran in the group first, and all nine in transactions of their own after it.
        let runs = runs.load(Ordering::SeqCst);
        assert!(runs > 9, "{runs} runs: they never shared a transaction");
        assert_no_transaction_is_open(&fixture.database).await;
    })
    .await;
}

#[tokio::test]
async fn units_that_succeed_run_once_each() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let runs = Arc::new(AtomicU32::new(0));
        let mut units = JoinSet::new();
        for id in 0..100 {
            let (database, runs) = (fixture.database.clone(), runs.clone());
            units.spawn(async move {
                let work = database.run_tx("unit", move |tx| {
                    let runs = runs.clone();
                    Box::pin(async move {
                        runs.fetch_add(1, Ordering::SeqCst);
                        pair_insert(tx, id).await
                    })
                });
                work.await
            });
        }
        while let Some(unit) = units.join_next().await {
            let answer: Result<(), DatabaseError> = unit.unwrap();
            answer.unwrap();
        }
        assert_eq!(runs.load(Ordering::SeqCst), 100);
        insert(&fixture.database, 100).await.unwrap();
        assert_eq!(ids(&fixture.database).await.0, (0..=100).collect());
    })
    .await;
}

/// A unit that nobody waits for rides with the next that somebody does, and goes alone when none comes.
#[tokio::test]
async fn a_unit_that_may_ride_along_shares_the_next_ones_transaction_and_needs_none_to_come() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let database = fixture.database.clone();
        insert(&database, 0).await.unwrap();
        // The one that is carried runs a second time, by itself, when the one that carried it gave up.
        let runs = Arc::new(AtomicU32::new(0));
        for id in 1..=20 {
            let counted = runs.clone();
            let riding = database.run_tx_soon("riding", move |tx| {
                counted.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move { pair_insert(tx, id).await })
            });
            let prompt = database.run_tx("prompt", move |tx| {
                Box::pin(async move {
                    pair_insert(tx, 100 + id).await?;
                    Err::<(), _>(WorkError::GaveUp)
                })
            });
            let (rode, carried) = tokio::join!(riding, prompt);
            let rode: Result<(), DatabaseError> = rode;
            rode.unwrap();
            carried.unwrap_err();
        }
        // A busy machine may wake the writer late once or twice.
        let shared = runs.load(Ordering::SeqCst) - 20;
        assert!(shared >= 15, "{shared} of 20 shared a transaction");

        let alone = database.run_tx_soon("riding", |tx| {
            Box::pin(async move { pair_insert(tx, 300).await })
        });
        let alone: Result<(), DatabaseError> =
            timeout(Duration::from_secs(5), alone).await.unwrap();
        alone.unwrap();
        let expected = (0..=20).chain([300]).collect();
        assert_eq!(ids(&database).await.0, expected);
    })
    .await;
}
