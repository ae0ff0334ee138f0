//! What is counted of every unit of work.

use metrics_exporter_prometheus::PrometheusBuilder;
use sealpost_database::DatabaseError;

use crate::{Fixture, WorkError, pair_insert};

#[tokio::test]
async fn every_unit_of_work_is_counted_and_timed_under_its_name() {
    // Of the whole process: units end in threads of their own. No other test's have these names.
    let handle = PrometheusBuilder::new().install_recorder().unwrap();
    let fixture = Fixture::new().await;
    let database = &fixture.database;
    let insert = |id| {
        database.run_tx("measured_insert", move |tx| {
            Box::pin(async move { pair_insert(tx, id).await })
        })
    };
    insert(1).await.unwrap();
    insert(2).await.unwrap();
    let gave_up = database.run_tx("measured_give_up", |tx| {
        Box::pin(async move {
            pair_insert(tx, 3).await?;
            Err::<(), _>(WorkError::GaveUp)
        })
    });
    gave_up.await.unwrap_err();
    let read = database.read("measured_read", |_| {
        Box::pin(async { Ok::<_, DatabaseError>(()) })
    });
    read.await.unwrap();
    database.close().await.unwrap();
    assert!(matches!(insert(4).await, Err(DatabaseError::Closed)));

    let rendered = handle.render();
    for line in [
        r#"sealpost_database_transactions_total{name="measured_insert",outcome="done"} 2"#,
        r#"sealpost_database_transactions_total{name="measured_give_up",outcome="rolled_back"} 1"#,
        r#"sealpost_database_transactions_total{name="measured_read",outcome="done"} 1"#,
        r#"sealpost_database_transactions_total{name="measured_insert",outcome="failed"} 1"#,
        r#"sealpost_database_transaction_seconds_count{name="measured_insert"} 3"#,
    ] {
        assert!(rendered.contains(line), "{line} is not in\n{rendered}");
    }
}
