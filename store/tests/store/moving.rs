//! A number's rows on their way to another store.

use sealpost_proto::store::v1::{
    AdvanceCursorRequest, AdvanceStatusRequest, DeleteNumberRequest, DescribeStoreRequest,
    ExportNumberRequest, ExportedRow, GetCursorRequest, HasEnvelopeRequest, ImportNumberRequest,
    MarkNumberRequest, MessageStatus, append_inbound_outcome::Outcome as Inbound,
    append_outbound_outcome::Outcome as Outbound, cell,
};
use sealpost_runtime::status::reason_of;
use tokio_stream::once;
use tonic::{Code, Status};

use crate::bench::{Bench, NUMBER, inbound, outbound, status_item};

async fn mark(bench: &Bench, departed: bool) {
    let request = MarkNumberRequest {
        phone_number_id: NUMBER.into(),
        departed,
    };
    bench.client.clone().mark_number(request).await.unwrap();
}

async fn export(bench: &Bench, limit: u32) -> Vec<ExportedRow> {
    let (mut rows, mut after) = (Vec::new(), bytes::Bytes::new());
    loop {
        let request = ExportNumberRequest {
            phone_number_id: NUMBER.into(),
            after,
            limit,
        };
        let page = bench.client.clone().export_number(request).await;
        let page = page.unwrap().into_inner();
        assert!(page.rows.len() <= limit as usize);
        rows.extend(page.rows);
        if page.next.is_empty() {
            return rows;
        }
        after = page.next;
    }
}

async fn import(bench: &Bench, number: &str, rows: Vec<ExportedRow>) -> Result<u64, Status> {
    let request = ImportNumberRequest {
        phone_number_id: number.into(),
        rows,
    };
    let answer = bench.client.clone().import_number(request).await?;
    Ok(answer.into_inner().added)
}

async fn delete(bench: &Bench, limit: u32) -> Result<(u64, bool), Status> {
    let request = DeleteNumberRequest {
        phone_number_id: NUMBER.into(),
        limit,
    };
    let answer = bench.client.clone().delete_number(request).await?;
    let answer = answer.into_inner();
    Ok((answer.deleted, answer.more))
}

/// Two records each way, a status, a cursor.
async fn full() -> Bench {
    let bench = Bench::new().await;
    bench
        .append(vec![outbound(1, 1, 1), outbound(2, 2, 1)])
        .await;
    bench
        .append_inbound(vec![inbound(3, 1), inbound(4, 2)])
        .await;
    bench.move_to(1, MessageStatus::Sent).await;
    let request = AdvanceCursorRequest {
        subscription: "biz/default".into(),
        phone_number_id: NUMBER.into(),
        cursor: 2,
        opening: 0,
    };
    bench.client.clone().advance_cursor(request).await.unwrap();
    bench
}

#[tokio::test]
async fn what_one_store_exports_another_keeps_as_it_was_however_often_it_comes() {
    let old = full().await;
    let rows = export(&old, 1).await;
    assert_eq!(rows, export(&old, 1_000).await);
    // Outbound, inbound, envelopes, events, a head, a cursor.
    let tables: Vec<_> = rows.iter().map(|row| row.table).collect();
    assert_eq!(tables, [1, 1, 2, 2, 3, 3, 4, 4, 4, 5, 6]);

    let new = Bench::new().await;
    assert_eq!(import(&new, NUMBER, rows.clone()).await.unwrap(), 11);
    assert_eq!(import(&new, NUMBER, rows.clone()).await.unwrap(), 0);
    assert_eq!(export(&new, 1_000).await, rows);
    assert_eq!(new.events(0, 100).await, old.events(0, 100).await);
    // The next event goes on behind the last one.
    new.append_inbound(vec![inbound(5, 1)]).await;
    let cursors = new.events(0, 100).await;
    assert_eq!(cursors.last().unwrap().cursor, 4);
    // A retry is recognised, and what waited is free.
    let again = new.append(vec![outbound(2, 2, 1)]).await;
    assert!(matches!(again[0], Outbound::Repeated(_)), "{again:?}");
    let leased = new.lease("b", 10, false).await;
    assert_eq!(leased.len(), 1);
}

#[tokio::test]
async fn a_departed_number_takes_no_write_gives_no_answer_and_leaves_when_told() {
    let bench = full().await;
    let refused = delete(&bench, 100).await.unwrap_err();
    assert_eq!(reason_of(&refused).unwrap(), "NUMBER_PRESENT");
    mark(&bench, true).await;
    let out = bench.append(vec![outbound(8, 1, 2)]).await;
    assert!(matches!(out[0], Outbound::NumberDeparted(_)), "{out:?}");
    let back = bench.append_inbound(vec![inbound(9, 1)]).await;
    assert!(matches!(back[0], Inbound::NumberDeparted(_)), "{back:?}");
    let request = AdvanceStatusRequest {
        batch_id: 1,
        items: vec![status_item(2, MessageStatus::Sent, bench.now_ms())],
    };
    let answers = bench.client.clone().advance_status(once(request)).await;
    let answer = answers.unwrap().into_inner().message().await;
    let advanced = answer.unwrap().unwrap().outcomes.remove(0);
    assert!(advanced.number_departed && !advanced.moved);
    assert!(bench.lease("a", 10, true).await.is_empty());
    let cursor = GetCursorRequest {
        subscription: "biz/default".into(),
        phone_number_id: NUMBER.into(),
    };
    let envelope = HasEnvelopeRequest {
        phone_number_id: NUMBER.into(),
        ciphertext_sha256: vec![1; 32].into(),
    };
    let mut client = bench.client.clone();
    for refused in [
        client.get_cursor(cursor).await.map(drop),
        client.has_envelope(envelope).await.map(drop),
    ] {
        let status = refused.unwrap_err();
        assert_eq!(status.code(), Code::FailedPrecondition);
        assert_eq!(reason_of(&status).unwrap(), "NUMBER_DEPARTED");
    }

    assert_eq!(delete(&bench, 6).await.unwrap(), (6, true));
    assert_eq!(delete(&bench, 6).await.unwrap(), (5, false));
    assert_eq!(export(&bench, 10).await, []);
    mark(&bench, false).await;
    let out = bench.append(vec![outbound(8, 1, 2)]).await;
    assert!(matches!(out[0], Outbound::Appended(_)), "{out:?}");
}

#[tokio::test]
async fn rows_of_another_number_or_another_shape_are_refused() {
    let bench = full().await;
    let rows = export(&bench, 1_000).await;
    let other = import(&bench, "200000000000002", rows.clone()).await;
    assert_eq!(other.unwrap_err().code(), Code::InvalidArgument);
    let spoils: [fn(&mut ExportedRow); 4] = [
        |row| row.table = 9,
        |row| drop(row.cells.pop()),
        |row| row.cells[1].value = Some(cell::Value::Number(1)),
        |row| row.cells[3].value = Some(cell::Value::Number(-1)),
    ];
    for spoil in spoils {
        let mut row = rows[0].clone();
        spoil(&mut row);
        let refused = import(&bench, NUMBER, vec![row]).await;
        assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    }
    let mut client = bench.client.clone();
    let described = client.describe_store(DescribeStoreRequest {});
    assert_eq!(described.await.unwrap().into_inner().region, "eu");
}
