//! Deleting epochs and persons: bounded, counted, complete.

use sealpost_database::{Kind, testing::TestDatabase};
use sealpost_proto::{
    record::v1::{Direction, EpochId},
    store::v1::{
        DeleteEpochsRequest, DeleteEpochsResponse, DeleteSubjectRequest, ListSubjectRequest,
        MessageStatus, append_outbound_outcome::Outcome as Out,
    },
};
use tonic::Code;

use crate::bench::{Bench, MONTH, NUMBER, START, epoch, id, inbound, outbound};

fn next_epoch() -> EpochId {
    EpochId {
        retention_seconds: MONTH,
        start_seconds: START + 3_600,
    }
}

/// Messages of two persons in two epochs, with statuses and events; 4 outbound, 4 inbound, 4 envelopes, 8 events.
async fn filled() -> Bench {
    fill(Bench::new().await).await
}

async fn fill(bench: Bench) -> Bench {
    let mut out = vec![
        outbound(1, 1, 1),
        outbound(2, 2, 1),
        outbound(3, 1, 2),
        outbound(4, 2, 2),
    ];
    let mut into = vec![inbound(5, 1), inbound(6, 2), inbound(7, 1), inbound(8, 2)];
    for item in &mut out[2..] {
        item.record.as_mut().unwrap().epoch = Some(next_epoch());
    }
    for item in &mut into[2..] {
        item.record.as_mut().unwrap().epoch = Some(next_epoch());
    }
    bench.append(out).await;
    bench.append_inbound(into).await;
    for message in 1..=4 {
        assert!(bench.move_to(message, MessageStatus::Sent).await);
    }
    bench
}

/// Every table that has the column, as the database itself lists them, except those that name states of epochs.
async fn tables_with(bench: &Bench, column: &str) -> Vec<String> {
    let mut tables = Vec::new();
    loop {
        let place = tables.len();
        let columns = match bench.kind() {
            Kind::Sqlite => {
                "SELECT m.name AS name, c.name AS field FROM sqlite_master AS m \
                 JOIN pragma_table_info(m.name) AS c WHERE m.type = 'table'"
            }
            _ => {
                "SELECT CAST(table_name AS TEXT) AS name, CAST(column_name AS TEXT) AS field \
                 FROM information_schema.columns WHERE table_schema = current_schema()"
            }
        };
        let listed = format!(
            "SELECT COALESCE((SELECT name FROM ({columns}) AS columns \
             WHERE field = '{column}' AND name <> 'epochs' ORDER BY name LIMIT 1 OFFSET {place}), '')"
        );
        let name = bench.text(listed).await;
        if name.is_empty() {
            return tables;
        }
        tables.push(name);
    }
}

async fn rows_of_epoch(bench: &Bench, epoch: &EpochId) -> i64 {
    let mut rows = 0;
    for table in tables_with(bench, "epoch_start").await {
        rows += bench
            .count(format!(
                "SELECT count(*) FROM {table} WHERE retention_seconds = {} AND epoch_start = {}",
                epoch.retention_seconds, epoch.start_seconds
            ))
            .await;
    }
    rows
}

async fn rows_of_tag(bench: &Bench, tag: u8) -> i64 {
    let mut rows = 0;
    for table in tables_with(bench, "tag").await {
        let tag = format!("{tag:02x}").repeat(16);
        let tag = match bench.kind() {
            Kind::Sqlite => format!("x'{tag}'"),
            _ => format!("'\\x{tag}'"),
        };
        rows += bench
            .count(format!("SELECT count(*) FROM {table} WHERE tag = {tag}"))
            .await;
    }
    rows
}

async fn delete(
    bench: &Bench,
    epochs: Vec<EpochId>,
    limit: u32,
    dry_run: bool,
) -> DeleteEpochsResponse {
    let request = DeleteEpochsRequest {
        epochs,
        limit,
        dry_run,
    };
    bench
        .client
        .clone()
        .delete_epochs(request)
        .await
        .unwrap()
        .into_inner()
}

#[tokio::test]
async fn an_epochs_rows_go_in_bounded_batches_until_no_table_has_one() {
    let bench = filled().await;
    assert_eq!(
        tables_with(&bench, "epoch_start").await,
        ["envelopes", "events", "inbound", "outbound"]
    );
    assert_eq!(rows_of_epoch(&bench, &epoch()).await, 10);
    let kept = rows_of_epoch(&bench, &next_epoch()).await;

    let mut batches = Vec::new();
    loop {
        let answer = delete(&bench, vec![epoch()], 4, false).await;
        batches.push(answer.deleted);
        if !answer.more {
            break;
        }
    }
    assert_eq!(batches, [4, 4, 2]);
    assert_eq!(rows_of_epoch(&bench, &epoch()).await, 0);
    assert_eq!(rows_of_epoch(&bench, &next_epoch()).await, kept);
}

#[tokio::test]
async fn a_deleted_epoch_takes_no_record_from_the_first_batch_on() {
    let bench = filled().await;
    assert!(delete(&bench, vec![epoch()], 1, false).await.more);
    let outcomes = bench.append(vec![outbound(20, 3, 1)]).await;
    assert!(matches!(outcomes[0], Out::EpochClosed(_)));
}

#[tokio::test]
async fn a_dry_run_counts_and_deletes_nothing() {
    let bench = filled().await;
    let counted = delete(&bench, vec![epoch()], 100, true).await;
    assert_eq!((counted.deleted, counted.more), (10, false));
    let counted = delete(&bench, vec![epoch(), next_epoch()], 15, true).await;
    assert_eq!((counted.deleted, counted.more), (15, true));
    assert_eq!(rows_of_epoch(&bench, &epoch()).await, 10);
    let outcomes = bench.append(vec![outbound(20, 3, 1)]).await;
    assert!(matches!(outcomes[0], Out::Appended(_)));
}

#[tokio::test]
async fn a_person_leaves_every_table_and_others_stay() {
    let bench = filled().await;
    assert_eq!(
        tables_with(&bench, "tag").await,
        ["envelopes", "events", "inbound", "outbound"]
    );
    let kept = rows_of_tag(&bench, 2).await;
    let mut deleted = 0;
    loop {
        let request = DeleteSubjectRequest {
            phone_number_id: NUMBER.into(),
            tag: id(1),
            limit: 3,
        };
        let answer = bench.client.clone().delete_subject(request).await.unwrap();
        let answer = answer.into_inner();
        assert!(answer.deleted <= 3);
        deleted += answer.deleted;
        if !answer.more {
            break;
        }
    }
    assert_eq!(deleted, 10);
    assert_eq!(rows_of_tag(&bench, 1).await, 0);
    assert_eq!(rows_of_tag(&bench, 2).await, kept);
}

#[tokio::test]
async fn deleted_rows_leave_the_disk_with_the_next_tidying() {
    let bench = fill(Bench::on(TestDatabase::sqlite()).await).await;
    delete(&bench, vec![epoch(), next_epoch()], 1_000, false).await;
    bench.datastore.tidy().await.unwrap();
    // Every sealed part is 300 times its message's byte.
    for (name, bytes) in bench.files() {
        for message in 1..=8_u8 {
            let found = bytes
                .windows(100)
                .any(|window| window.iter().all(|b| *b == message));
            assert!(!found, "message {message} in {name}");
        }
    }
}

#[tokio::test]
async fn limits_are_checked() {
    let bench = Bench::new().await;
    for limit in [0, 10_001] {
        let request = DeleteEpochsRequest {
            epochs: vec![epoch()],
            limit,
            dry_run: false,
        };
        let refused = bench
            .client
            .clone()
            .delete_epochs(request)
            .await
            .unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_persons_records_are_listed_page_by_page_and_no_others() {
    let bench = filled().await;
    for (direction, expected) in [(Direction::Outbound, [1, 3]), (Direction::Inbound, [5, 7])] {
        let (mut found, mut after) = (Vec::new(), bytes::Bytes::new());
        loop {
            let request = ListSubjectRequest {
                phone_number_id: NUMBER.into(),
                tag: id(1),
                direction: direction.into(),
                after: after.clone(),
                limit: 1,
            };
            let answer = bench.client.clone().list_subject(request).await.unwrap();
            let Some(kept) = answer.into_inner().records.pop() else {
                break;
            };
            let is_out = direction == Direction::Outbound;
            assert_eq!(kept.status() == MessageStatus::Sent, is_out);
            assert!(kept.appended_at_ms > 0);
            let record = kept.record.unwrap();
            assert_eq!((record.direction(), record.tag), (direction, id(1)));
            after = record.message_id.clone();
            found.push(record.message_id);
        }
        assert_eq!(found, expected.map(id));
    }
}
