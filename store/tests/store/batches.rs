//! A batch does exactly what its items do one by one.

use proptest::{prelude::*, sample::select};
use sealpost_database::{
    Database, DatabaseError, PoolOptions,
    sqlx::{AssertSqlSafe, query_scalar},
    testing::TestDatabase,
};
use sealpost_runtime::Timestamp;
use sealpost_store::{
    MIGRATIONS,
    datastore::{
        Datastore, InboundItem, InboundOutcome, OutboundItem, OutboundOutcome, Progress,
        ProgressItem,
    },
    epoch::Epoch,
    ids::{CiphertextDigest, ContentDigest, MessageId, Owner, PhoneNumberId, Tag},
    progress::Status,
    record::{Direction, Record},
};

use crate::bench::{MONTH, START};

#[derive(Clone, Debug)]
enum Step {
    AppendOutbound(Vec<OutboundItem>),
    AppendInbound(Vec<InboundItem>),
    Advance(Vec<ProgressItem>),
    Depart(PhoneNumberId, bool),
    /// Time passes beyond the first epoch's end.
    Later,
}

#[derive(Debug, PartialEq)]
enum Outcomes {
    Outbound(Vec<OutboundOutcome>),
    Inbound(Vec<InboundOutcome>),
    Advance(Vec<Progress>),
}

fn number() -> impl Strategy<Value = PhoneNumberId> {
    select(vec!["1", "2"]).prop_map(|text| PhoneNumberId::parse(text).unwrap())
}

fn message_id() -> impl Strategy<Value = MessageId> {
    (0..6_u8).prop_map(|byte| MessageId::from_slice(&[byte; 16]).unwrap())
}

fn epoch() -> impl Strategy<Value = Epoch> {
    select(vec![START, START, START + 3_600, START + u64::from(MONTH)]).prop_map(|start_seconds| {
        Epoch {
            retention_seconds: MONTH,
            start_seconds,
        }
    })
}

fn record(direction: Direction) -> impl Strategy<Value = Record> {
    (number(), 0..3_u8, message_id(), epoch(), 1..9_u64).prop_map(
        move |(number, tag, message_id, epoch, sequence)| Record {
            number,
            tag: Tag::from_slice(&[tag; 16]).unwrap(),
            message_id,
            direction,
            epoch,
            sequence,
            sealed: vec![tag; 50].into(),
        },
    )
}

fn outbound() -> impl Strategy<Value = OutboundItem> {
    (
        record(Direction::Outbound),
        0..2_u8,
        select(vec!["a", "a", "a", "b"]),
    )
        .prop_map(|(record, digest, owner)| OutboundItem {
            record,
            digest: ContentDigest::from_slice(&[digest; 32]).unwrap(),
            lease_owner: Owner::parse(owner).unwrap(),
        })
}

fn inbound() -> impl Strategy<Value = InboundItem> {
    (record(Direction::Inbound), 0..8_u8, any::<bool>()).prop_map(
        |(record, ciphertext, identity_changed)| InboundItem {
            record,
            ciphertext: CiphertextDigest::from_slice(&[ciphertext; 32]).unwrap(),
            identity_changed,
        },
    )
}

fn progress() -> impl Strategy<Value = ProgressItem> {
    (
        number(),
        message_id(),
        select(Status::ALL.to_vec()),
        1..99_u64,
        0..3_u32,
    )
        .prop_map(
            |(number, message_id, status, seconds, attempt)| ProgressItem {
                number,
                message_id,
                status,
                at: Timestamp::from_secs(START + seconds),
                error_code: if status == Status::Failed { 131_026 } else { 0 },
                attempt,
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop::collection::vec(outbound(), 1..12).prop_map(Step::AppendOutbound),
        4 => prop::collection::vec(inbound(), 1..12).prop_map(Step::AppendInbound),
        4 => prop::collection::vec(progress(), 1..16).prop_map(Step::Advance),
        1 => (number(), any::<bool>()).prop_map(|(number, gone)| Step::Depart(number, gone)),
        1 => Just(Step::Later),
    ]
}

/// Takes the steps, each batch cut into pieces of at most `most`; answers the outcomes and every row that is left.
async fn history(steps: &[Step], most: usize) -> (Vec<Outcomes>, Vec<String>) {
    let place = TestDatabase::sqlite();
    let store = Datastore::open(place.config()).await.unwrap();
    let mut now = Timestamp::from_secs(START + 600);
    let mut outcomes = Vec::new();
    for step in steps {
        match step {
            Step::AppendOutbound(items) => {
                let mut all = Vec::new();
                for piece in items.chunks(most) {
                    all.extend(store.append_outbound(piece.to_vec(), now).await.unwrap());
                }
                outcomes.push(Outcomes::Outbound(all));
            }
            Step::AppendInbound(items) => {
                let mut all = Vec::new();
                for piece in items.chunks(most) {
                    all.extend(store.append_inbound(piece.to_vec(), now).await.unwrap());
                }
                outcomes.push(Outcomes::Inbound(all));
            }
            Step::Advance(items) => {
                let mut all = Vec::new();
                for piece in items.chunks(most) {
                    all.extend(store.advance_status(piece.to_vec()).await.unwrap());
                }
                outcomes.push(Outcomes::Advance(all));
            }
            Step::Depart(number, gone) => {
                let marked = store.mark_number(number.clone(), *gone, now);
                marked.await.unwrap();
            }
            Step::Later => now = Timestamp::from_secs(START + u64::from(MONTH) + 60),
        }
    }
    (outcomes, rows(&place).await)
}

/// Every row of every table that a batch writes, but for the counts of transactions.
async fn rows(place: &TestDatabase) -> Vec<String> {
    const TABLES: [(&str, &str); 5] = [
        (
            "outbound",
            "phone_number_id, message_id, tag, epoch_start, sequence, digest, appended_at, status, status_at, error_code, \
             attempt, lease_owner, lease_until, sealed",
        ),
        (
            "inbound",
            "phone_number_id, message_id, tag, epoch_start, sequence, appended_at, sealed",
        ),
        (
            "envelopes",
            "phone_number_id, ciphertext_sha256, tag, epoch_start, appended_at",
        ),
        (
            "events",
            "phone_number_id, cursor, kind, direction, message_id, tag, epoch_start, status, error_code, happened_at",
        ),
        ("event_heads", "phone_number_id, cursor"),
    ];
    let database = Database::open(place.config(), MIGRATIONS, PoolOptions::default())
        .await
        .unwrap();
    let mut all = Vec::new();
    for (table, columns) in TABLES {
        let quoted = columns.split(", ").map(|column| format!("quote({column})"));
        let quoted: Vec<_> = quoted.collect();
        let line = quoted.join(" || ' ' || ");
        let statement = format!("SELECT '{table} ' || {line} AS line FROM {table} ORDER BY line");
        let found: Result<Vec<String>, DatabaseError> = database
            .read("rows", move |db| {
                Box::pin(async move {
                    let rows = query_scalar(AssertSqlSafe(statement)).fetch_all(&mut **db);
                    Ok(rows.await?)
                })
            })
            .await;
        all.extend(found.unwrap());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_batch_does_what_its_items_do_one_by_one(steps in prop::collection::vec(step(), 1..10)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let at_once = runtime.block_on(history(&steps, usize::MAX));
        let one_by_one = runtime.block_on(history(&steps, 1));
        prop_assert_eq!(at_once, one_by_one);
    }
}
