//! What a reader sees, and what it may not do.

use std::{collections::BTreeSet, sync::Arc};

use sealpost_database::{DatabaseError, sqlx::query};
use tokio::sync::Notify;

use sealpost_database::testing::on_both;

use crate::{Fixture, ids, insert, left_ids, pair_insert};

#[tokio::test]
async fn a_reader_sees_one_snapshot_of_what_was_committed() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        insert(&fixture.database, 1).await.unwrap();
        let (writing, written) = (Arc::new(Notify::new()), Arc::new(Notify::new()));

        let (database, begun, go_on) = (fixture.database.clone(), writing.clone(), written.clone());
        let writer = tokio::spawn(async move {
            let work = database.run_tx("pair_insert", move |tx| {
                let (begun, go_on) = (begun.clone(), go_on.clone());
                Box::pin(async move {
                    pair_insert(tx, 2).await?;
                    begun.notify_one();
                    go_on.notified().await;
                    Ok::<(), DatabaseError>(())
                })
            });
            work.await
        });
        writing.notified().await;
        assert_eq!(
            ids(&fixture.database).await.0,
            BTreeSet::from([1]),
            "uncommitted work was read"
        );

        // A reader that began before the commit keeps what it first saw.
        let database = fixture.database.clone();
        let (before, after) = fixture
            .database
            .read("pair_list_twice", move |reader| {
                Box::pin(async move {
                    let before = left_ids(reader).await?;
                    written.notify_one();
                    writer.await.unwrap()?;
                    insert(&database, 3).await?;
                    Ok::<_, DatabaseError>((before, left_ids(reader).await?))
                })
            })
            .await
            .unwrap();
        assert_eq!(before, after);
        assert_eq!(ids(&fixture.database).await.0, BTreeSet::from([1, 2, 3]));
    })
    .await;
}

#[tokio::test]
async fn a_reader_cannot_write() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let refused = fixture.database.read("left_insert", |reader| {
            Box::pin(async move {
                query("INSERT INTO lefts VALUES (1, $1)")
                    .bind(vec![0_u8])
                    .execute(&mut **reader)
                    .await?;
                Ok::<(), DatabaseError>(())
            })
        });
        refused.await.unwrap_err();
        assert!(ids(&fixture.database).await.0.is_empty());
    })
    .await;
}
