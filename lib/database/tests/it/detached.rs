//! Callers that go away while their work is under way.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sealpost_database::{Database, testing::on_both};
use tokio::{
    sync::Notify,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{Fixture, WorkError, assert_no_transaction_is_open, ids, insert, pair_insert};

/// Control: why not `pool.begin()` in the request's own future? Dropping it abandons the work at
/// whichever await it stood. Of 6,000 such requests on sqlx 0.9.0 and SQLite, 2,200 of them dropped at
/// random polls, 500 had begun and were undone. SQLite's driver cleaned up after each. PostgreSQL's, as
/// its source reads, counts a transaction only once `BEGIN` is answered, so a future dropped in `begin`
/// returns the connection with the transaction open and uncounted: the next borrower writes into it, is
/// told that all went well, and loses the write. Without the crate's own `tokio::spawn` this test fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_requests_neither_lose_writes_nor_leave_transactions_open() {
    on_both(async |place| {
        const REQUESTS: i64 = 600;
        let fixture = Fixture::on(place).await;
        let tally = Arc::new(Tally::default());
        let mut requests = JoinSet::new();
        for id in 0..REQUESTS {
            requests.spawn(request(fixture.database.clone(), tally.clone(), id));
        }
        while let Some(request) = requests.join_next().await {
            request.unwrap();
        }

        // One more write queues behind all that was detached: when it is through, so are they.
        insert(&fixture.database, REQUESTS).await.unwrap();
        let (lefts, rights) = ids(&fixture.database).await;
        let reported = tally.reported.lock().unwrap().clone();
        let (queued, begun) = (
            tally.dropped_queued.load(Ordering::Relaxed),
            tally.dropped_begun.load(Ordering::Relaxed),
        );
        assert!(
            queued > 50 && begun > 50,
            "dropped {queued} and {begun}: the load proves nothing"
        );
        assert!(
            reported.is_subset(&lefts),
            "lost: {:?}",
            reported.difference(&lefts)
        );
        assert_eq!(lefts, rights, "something is half done");
        let mut finished: BTreeSet<i64> = (0..REQUESTS).filter(|id| !gives_up(*id)).collect();
        finished.insert(REQUESTS);
        assert_eq!(
            lefts, finished,
            "work that was asked for did not run to its end"
        );
        assert_no_transaction_is_open(&fixture.database).await;
    })
    .await;
}

#[derive(Default)]
struct Tally {
    reported: Mutex<BTreeSet<i64>>,
    dropped_queued: AtomicUsize,
    dropped_begun: AtomicUsize,
}

/// Some work fails by itself, so that rollbacks are in the mix.
fn gives_up(id: i64) -> bool {
    id % 7 == 5
}

/// A third of the requests wait for their answer, a third are dropped after a while in the queue, and a
/// third at some point after their work began.
async fn request(database: Database, tally: Arc<Tally>, id: i64) {
    let began = Arc::new(Notify::new());
    let begin = began.clone();
    let work = database.run_tx("pair_insert", move |tx| {
        let begin = begin.clone();
        Box::pin(async move {
            begin.notify_one();
            pair_insert(tx, id).await?;
            sleep(Duration::from_millis(1)).await;
            if gives_up(id) {
                Err(WorkError::GaveUp)
            } else {
                Ok(())
            }
        })
    });
    let scattered = Duration::from_micros((id as u64).wrapping_mul(2_654_435_761) % 2_000);
    let answer = match id % 3 {
        0 => work.await,
        1 => match timeout(scattered * 100, work).await {
            Ok(answer) => answer,
            Err(_) => {
                tally.dropped_queued.fetch_add(1, Ordering::Relaxed);
                return;
            }
        },
        _ => tokio::select! {
            answer = work => answer,
            () = async { began.notified().await; sleep(scattered).await } => {
                tally.dropped_begun.fetch_add(1, Ordering::Relaxed);
                return;
            }
        },
    };
    match answer {
        Ok(()) => drop(tally.reported.lock().unwrap().insert(id)),
        Err(WorkError::GaveUp) => assert!(gives_up(id)),
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_request_dropped_in_the_middle_of_its_work_still_commits() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (database, begun_in, go_on_in) =
            (fixture.database.clone(), begun.clone(), go_on.clone());
        let request = tokio::spawn(async move {
            let work = database.run_tx("pair_insert", move |tx| {
                let (begun, go_on) = (begun_in.clone(), go_on_in.clone());
                Box::pin(async move {
                    begun.notify_one();
                    go_on.notified().await;
                    pair_insert(tx, 1).await
                })
            });
            work.await
        });
        begun.notified().await;
        request.abort();
        assert!(request.await.unwrap_err().is_cancelled());
        go_on.notify_one();

        insert(&fixture.database, 2).await.unwrap();
        let (lefts, rights) = ids(&fixture.database).await;
        assert_eq!(lefts, BTreeSet::from([1, 2]));
        assert_eq!(lefts, rights);
    })
    .await;
}
