//! Asks the planner how it finds the rows of every statement that runs often or over much.

#![allow(clippy::unwrap_used)]

use sealpost_database::{
    Database, DatabaseError, Kind, Many, PoolOptions,
    sqlx::{AssertSqlSafe, Row as _, query, query_scalar, raw_sql},
    testing::{TestDatabase, kinds},
};

use super::*;

/// Statement, and what its plan must name.
const PLANS: &[(&str, &[&str])] = &[
    (outbound::LOAD, &["sqlite_autoindex_outbound_1"]),
    (outbound::DELETE, &["sqlite_autoindex_outbound_1"]),
    (outbound::ERASURE.epoch_delete, &["outbound_by_epoch"]),
    (outbound::ERASURE.epoch_count, &["outbound_by_epoch"]),
    (outbound::ERASURE.tag_delete, &["outbound_by_tag"]),
    (inbound::OF_PERSON, &["inbound_by_tag"]),
    (
        outbound_leases::FREE,
        &[
            "outbound_free",
            "outbound_waiting",
            "SEARCH e USING PRIMARY KEY",
        ],
    ),
    (
        outbound_leases::TAKE,
        &["outbound_waiting", "SEARCH e USING PRIMARY KEY"],
    ),
    (outbound_leases::RELEASE, &["outbound_free"]),
    (
        outbound_leases::UNSENT,
        &["outbound_unsent", "SEARCH d USING PRIMARY KEY"],
    ),
    (inbound::DELETE, &["sqlite_autoindex_inbound_1"]),
    (inbound::ERASURE.epoch_delete, &["inbound_by_epoch"]),
    (inbound::ERASURE.epoch_count, &["inbound_by_epoch"]),
    (inbound::ERASURE.tag_delete, &["inbound_by_tag"]),
    (envelopes::ERASURE.epoch_delete, &["envelopes_by_epoch"]),
    (envelopes::ERASURE.epoch_count, &["envelopes_by_epoch"]),
    (envelopes::ERASURE.tag_delete, &["envelopes_by_tag"]),
    (
        events::LIST,
        &[
            "SEARCH e USING PRIMARY KEY",
            "SEARCH s USING PRIMARY KEY",
            "SEARCH o USING INDEX sqlite_autoindex_outbound_1",
            "SEARCH i USING INDEX sqlite_autoindex_inbound_1",
        ],
    ),
    (
        events::DELETE_RECORD,
        &[
            "events_by_epoch (retention_seconds=? AND epoch_start=? AND phone_number_id=? AND tag=? AND message_id=? AND \
             direction=?)",
        ],
    ),
    (events::ERASURE.epoch_delete, &["events_by_epoch"]),
    (events::ERASURE.epoch_count, &["events_by_epoch"]),
    (
        events::ERASURE.tag_delete,
        &[
            "events_by_epoch (retention_seconds=? AND epoch_start=? AND phone_number_id=? AND tag=?)",
        ],
    ),
    (event_heads::LIST, &["sqlite_autoindex_event_heads_1"]),
    (event_heads::MARK, &["sqlite_autoindex_event_heads_1"]),
    (event_heads::CHANGED, &["event_heads_by_change"]),
    (changes::NEXT, &["PRIMARY KEY"]),
    (changes::LAST, &["PRIMARY KEY"]),
    (cursors::FIND, &["PRIMARY KEY"]),
    (cursors::OPENED, &["cursors_by_opening"]),
    (cursors::LIST, &["PRIMARY KEY"]),
    (cursors::DELETE, &["PRIMARY KEY"]),
    (cursors::DELETE_ALL, &["PRIMARY KEY"]),
    (
        cursors::FORGET,
        &["cursors_by_use", "SEARCH e USING PRIMARY KEY"],
    ),
    (epochs::FIND, &["PRIMARY KEY"]),
    (epochs::TO_PURGE, &["epochs_to_purge"]),
    (epochs::PURGED, &["PRIMARY KEY"]),
];

/// Statements over many rows, the types of their shared parameters and of a row's, and what the plan must name.
const MANY: &[(Many, &[&str], &[&str], &str)] = &[
    (
        outbound::FIND,
        &[],
        &["TEXT", "BYTEA"],
        "sqlite_autoindex_outbound_1 (phone_number_id=? AND message_id=?)",
    ),
    (
        outbound::ADVANCE,
        &[],
        &["TEXT", "BYTEA", "BIGINT", "BIGINT", "BIGINT", "BIGINT"],
        "sqlite_autoindex_outbound_1 (phone_number_id=? AND message_id=?)",
    ),
    (
        outbound::RAISE_ATTEMPT,
        &[],
        &["TEXT", "BYTEA", "BIGINT"],
        "sqlite_autoindex_outbound_1 (phone_number_id=? AND message_id=?)",
    ),
    (
        outbound_leases::ELSEWHERE,
        &[],
        &["TEXT", "BYTEA", "TEXT", "BIGINT"],
        "outbound_waiting (phone_number_id=? AND tag=?)",
    ),
    (
        outbound_leases::LEASE,
        &["TEXT", "BIGINT"],
        &["TEXT", "BYTEA"],
        "sqlite_autoindex_outbound_1 (phone_number_id=? AND message_id=?)",
    ),
    (
        inbound::FIND,
        &[],
        &["TEXT", "BYTEA", "BYTEA"],
        "sqlite_autoindex_inbound_1 (phone_number_id=? AND message_id=? AND tag=?)",
    ),
    (
        envelopes::FIND,
        &[],
        &["TEXT", "BYTEA"],
        "PRIMARY KEY (phone_number_id=? AND ciphertext_sha256=?)",
    ),
];

/// Rows of the statements over many that the planner is asked about.
const ROWS: usize = 64;

/// The rows that a statement brings itself.
const BROUGHT: &[&str] = &[
    "SCAN v",
    "SCAN 64 CONSTANT ROWS",
    "SCAN 64-ROW VALUES CLAUSE",
];

/// This index holds exactly the rows that are sought, so walking it is finding them.
const WALKED: &str = "SCAN epochs USING INDEX epochs_to_purge";

/// All epochs that live.
const EPOCHS: &str = "SCAN s";

/// A bounded count walks what its subquery found.
const COUNTED: &str = "SCAN found";

async fn plan(database: &Database, statement: &str) -> Vec<String> {
    let statement = statement.to_owned();
    let rows: Result<Vec<String>, DatabaseError> = database
        .read("plan", move |db| {
            Box::pin(async move {
                let mut explain = query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {statement}")));
                // More than any has parameters; the plan asks for none of their values.
                for _ in 0..1_000 {
                    explain = explain.bind(None::<i64>);
                }
                let rows = explain.fetch_all(&mut **db).await?;
                Ok(rows.iter().map(|row| row.get("detail")).collect())
            })
        })
        .await;
    rows.unwrap()
}

#[tokio::test]
async fn every_statement_finds_its_rows_by_an_index() {
    let place = TestDatabase::sqlite();
    let database = Database::open(place.config(), MIGRATIONS, PoolOptions::default())
        .await
        .unwrap();
    for (statement, wanted) in PLANS {
        let plan = plan(&database, statement).await;
        let text = plan.join("\n");
        for part in *wanted {
            assert!(
                text.contains(part),
                "no {part} in the plan of\n{statement}\n{text}"
            );
        }
        let scanned = plan.iter().find(|step| {
            step.starts_with("SCAN") && ![COUNTED, WALKED, EPOCHS].contains(&step.as_str())
        });
        assert_eq!(scanned, None, "{statement}\n{text}");
        assert!(!text.contains("TEMP B-TREE"), "sorts: {statement}\n{text}");
    }
}

#[tokio::test]
async fn every_statement_over_many_rows_finds_each_by_an_index() {
    let place = TestDatabase::sqlite();
    let database = Database::open(place.config(), MIGRATIONS, PoolOptions::default())
        .await
        .unwrap();
    for (many, shared, row, wanted) in MANY {
        let statement = many.text(shared.len(), row.len(), ROWS);
        let plan = plan(&database, &statement).await;
        let text = plan.join("\n");
        assert!(text.contains(wanted), "{many:?}\n{text}");
        let scanned = plan
            .iter()
            .find(|step| step.starts_with("SCAN") && !BROUGHT.contains(&step.as_str()));
        assert_eq!(scanned, None, "{many:?}\n{text}");
        assert!(!text.contains("AUTOMATIC"), "{many:?}\n{text}");
    }
}

#[tokio::test]
async fn the_longest_free_record_is_found_without_sorting() {
    let place = TestDatabase::sqlite();
    let database = Database::open(place.config(), MIGRATIONS, PoolOptions::default())
        .await
        .unwrap();
    let plan = plan(&database, outbound_leases::FREE).await;
    assert!(
        plan[0].contains("SEARCH o USING INDEX outbound_free (lease_until<?)"),
        "{plan:?}"
    );
}

/// PostgreSQL's planner walks small tables whatever indexes they have, so it is told not to where it can help it.
#[tokio::test]
async fn on_postgres_too_an_index_serves_every_statement() {
    if !kinds().contains(&Kind::Postgres) {
        return;
    }
    let place = TestDatabase::postgres().await;
    let open = Database::open(place.config(), MIGRATIONS, PoolOptions::default());
    open.await.unwrap().close().await.unwrap();
    let mut db = place.stranger().await;
    raw_sql("SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan")
        .execute(&mut db)
        .await
        .unwrap();
    for (statement, _) in PLANS {
        let parameters = (1..20).take_while(|n| statement.contains(&format!("${n}")));
        assert_found_by_index(&mut db, statement, "", parameters.count()).await;
    }
    for (many, shared, row, _) in MANY {
        let statement = many.text(shared.len(), row.len(), ROWS);
        let rows = std::iter::repeat_n(*row, ROWS).flatten();
        let types: Vec<&str> = shared.iter().chain(rows).copied().collect();
        let declared = format!("({})", types.join(", "));
        assert_found_by_index(&mut db, &statement, &declared, types.len()).await;
    }
}

async fn assert_found_by_index(
    db: &mut Connection,
    statement: &str,
    declared: &str,
    parameters: usize,
) {
    let nulls = vec!["NULL"; parameters].join(", ");
    let prepare = format!("PREPARE asked {declared} AS {statement}");
    raw_sql(AssertSqlSafe(prepare))
        .execute(&mut *db)
        .await
        .unwrap();
    let call = if nulls.is_empty() {
        "EXPLAIN EXECUTE asked".to_owned()
    } else {
        format!("EXPLAIN EXECUTE asked({nulls})")
    };
    let steps: Vec<String> = query_scalar(AssertSqlSafe(call))
        .persistent(false)
        .fetch_all(&mut *db)
        .await
        .unwrap();
    let plan = steps.join("\n");
    assert!(plan.contains("Index"), "{statement}\n{plan}");
    assert!(!plan.contains("Seq Scan"), "{statement}\n{plan}");
    raw_sql("DEALLOCATE asked").execute(db).await.unwrap();
}
