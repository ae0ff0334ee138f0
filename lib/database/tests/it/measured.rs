//! What is counted of every unit of work.

use metrics_exporter_prometheus::PrometheusBuilder;
use sealpost_database::DatabaseError;

use crate::{Fixture, WorkError, ids, insert, pair_insert};

#[test]
fn every_unit_of_work_is_counted_and_timed_under_its_name() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    metrics::with_local_recorder(&recorder, || runtime.block_on(three_outcomes()));

    let rendered = handle.render();
    for line in [
        r#"sealpost_database_transactions_total{name="pair_insert",outcome="done"} 2"#,
        r#"sealpost_database_transactions_total{name="pair_give_up",outcome="rolled_back"} 1"#,
        r#"sealpost_database_transactions_total{name="pair_list",outcome="done"} 1"#,
        r#"sealpost_database_transactions_total{name="pair_insert",outcome="failed"} 1"#,
        r#"sealpost_database_transaction_seconds_count{name="pair_insert"} 3"#,
    ] {
        assert!(rendered.contains(line), "{line} is not in\n{rendered}");
    }
}

async fn three_outcomes() {
    let fixture = Fixture::new().await;
    insert(&fixture.database, 1).await.unwrap();
    insert(&fixture.database, 2).await.unwrap();
    let gave_up = fixture.database.run_tx("pair_give_up", |tx| {
        Box::pin(async move {
            pair_insert(tx, 3).await?;
            Err::<(), _>(WorkError::GaveUp)
        })
    });
    gave_up.await.unwrap_err();
    ids(&fixture.database).await;
    fixture.database.close().await.unwrap();
    assert!(matches!(
        insert(&fixture.database, 4).await,
        Err(DatabaseError::Closed)
    ));
}
