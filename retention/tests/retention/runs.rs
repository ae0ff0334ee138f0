//! Runs: what they do, what they say of it, and how they go on after a failure.

use std::time::Duration;

use bytes::Bytes;
use ring::signature::KeyPair;
use sealpost_retention::{datastore::MEMORY, receipt::ReceiptKey, schedule};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    bench::{BATCH, Bench, epoch},
    doubles::{Relay, Store, Vault, signer},
};

/// 25 and 5 rows of a due epoch, 3 of another, 12 expired in the relay.
async fn filled() -> Bench {
    let mut first = Store::with(25, epoch(0), 1);
    first.rows.extend(vec![(epoch(300), 1); 3]);
    let second = Store::with(5, epoch(0), 2);
    let relay = Relay {
        expired: 12,
        down: false,
    };
    Bench::new(Vault::new(vec![epoch(0)]), [first, second], relay).await
}

#[tokio::test]
async fn a_run_destroys_deletes_everywhere_in_bounded_batches_and_keeps_the_receipt() {
    let bench = filled().await;
    let run = bench.run(false).await;
    assert_eq!(run.failure, "");
    assert_eq!(run.epochs_destroyed, 1);
    assert_eq!(run.store_rows_deleted, 30);
    assert_eq!(run.relay_rows_deleted, 12);
    assert_eq!(bench.rows(), [3, 0]);
    assert_eq!(bench.relay.state().expired, 0);
    assert_eq!(bench.stores[0].state().largest, u64::from(BATCH));

    let receipts = bench.receipts().await;
    assert_eq!(receipts.len(), 1);
    assert_eq!(
        receipts[0].rows_deleted_at_ms,
        bench.clock.now().as_millis()
    );
    let receipt = receipts[0].receipt.clone().unwrap();
    let key = ReceiptKey::from_slice(signer(1).public_key().as_ref()).unwrap();
    assert!(sealpost_retention::receipt::Verified::check(receipt, key).is_ok());
}

#[tokio::test]
async fn a_run_with_nothing_to_do_does_nothing() {
    let bench = filled().await;
    bench.run(false).await;
    let calls = bench.stores[0].state().calls;
    let run = bench.run(false).await;
    assert_eq!(
        (
            run.epochs_destroyed,
            run.store_rows_deleted,
            run.relay_rows_deleted
        ),
        (0, 0, 0)
    );
    assert_eq!(bench.stores[0].state().calls, calls);
}

#[tokio::test]
async fn a_dry_run_counts_and_changes_nothing() {
    let bench = filled().await;
    let run = bench.run(true).await;
    assert!(run.dry_run);
    assert_eq!(
        (
            run.epochs_destroyed,
            run.store_rows_deleted,
            run.relay_rows_deleted
        ),
        (1, 30, 12)
    );
    let counted = bench.counted().await;
    let expected = [
        ("relay", "", 12),
        ("store 1", "outbound", 25),
        ("store 2", "outbound", 5),
    ];
    assert_eq!(
        counted,
        expected.map(|(service, table, rows)| (service.to_owned(), table.to_owned(), rows))
    );
    assert_eq!(bench.rows(), [28, 5]);
    assert_eq!(bench.relay.state().expired, 12);
    assert_eq!(bench.vault.state().due.len(), 1);
    assert!(bench.receipts().await.is_empty());
}

#[tokio::test]
async fn a_store_that_is_down_does_not_keep_the_others_rows_and_the_next_run_goes_on() {
    let bench = filled().await;
    bench.stores[0].state().down = true;
    let run = bench.run(false).await;
    assert_eq!(run.failure, "STORE_UNAVAILABLE");
    assert_eq!(run.store_rows_deleted, 5);
    assert_eq!(run.relay_rows_deleted, 12);
    assert_eq!(bench.rows(), [28, 0]);
    assert_eq!(bench.receipts().await[0].rows_deleted_at_ms, 0);

    bench.stores[0].state().down = false;
    bench.advance(Duration::from_secs(60));
    let run = bench.run(false).await;
    assert_eq!((run.failure.as_str(), run.store_rows_deleted), ("", 25));
    assert_eq!(bench.rows(), [3, 0]);
    let receipts = bench.receipts().await;
    assert_eq!(
        receipts[0].rows_deleted_at_ms,
        bench.clock.now().as_millis()
    );
}

#[tokio::test]
async fn a_silent_vault_or_relay_fails_the_run_by_name_and_nothing_else() {
    let bench = filled().await;
    bench.vault.state().refusal = Some(Status::unavailable("down"));
    bench.relay.state().down = true;
    let run = bench.run(false).await;
    assert_eq!(run.failure, "VAULT_UNAVAILABLE");
    bench.vault.state().refusal = Some(Status::failed_precondition("the clock is unconfirmed"));
    assert_eq!(bench.run(false).await.failure, "VAULT_REFUSED");
    bench.vault.state().refusal = None;
    let run = bench.run(false).await;
    assert_eq!(
        (run.failure.as_str(), run.store_rows_deleted),
        ("RELAY_UNAVAILABLE", 30)
    );
    bench.relay.state().down = false;
    let run = bench.run(false).await;
    assert_eq!((run.failure.as_str(), run.relay_rows_deleted), ("", 12));
}

#[tokio::test]
async fn no_row_goes_on_the_word_of_another_key_than_the_first() {
    let bench = filled().await;
    bench.run(false).await;
    {
        let mut vault = bench.vault.state();
        vault.signer = signer(2);
        vault.due = vec![epoch(300)];
    }
    let run = bench.run(false).await;
    assert_eq!(
        (run.failure.as_str(), run.epochs_destroyed),
        ("RECEIPT_INVALID", 0)
    );
    assert_eq!(bench.rows(), [3, 0]);
    assert_eq!(bench.receipts().await.len(), 1);
}

#[tokio::test]
async fn a_receipt_whose_answer_was_lost_is_fetched_by_the_next_run() {
    let bench = filled().await;
    bench.vault.state().silence = Some(Status::unavailable("the answer was lost"));
    let run = bench.run(false).await;
    assert_eq!(run.failure, "VAULT_UNAVAILABLE");
    assert!(bench.vault.state().due.is_empty(), "and yet it destroyed");
    bench.run(false).await;
    assert_eq!(bench.receipts().await.len(), 1);
    assert_eq!(bench.rows(), [3, 0]);
}

#[tokio::test]
async fn a_persons_rows_go_though_whoever_asked_for_the_erasure_died_before_telling() {
    let bench = filled().await;
    let erased = bench.vault.state().erased(2);
    bench.vault.state().log.push(erased.clone());
    let run = bench.run(false).await;
    assert_eq!(run.failure, "");
    assert_eq!(bench.rows(), [3, 0]);
    let kept = bench.receipts().await;
    assert!(
        kept.iter()
            .any(|kept| kept.receipt.as_ref() == Some(&erased))
    );
    // Fetched once, though the vault would tell it again.
    bench.run(false).await;
    assert_eq!(bench.receipts().await.len(), 2);
}

#[tokio::test]
async fn a_removed_numbers_rows_go_from_every_store() {
    let bench = filled().await;
    let removed = bench.vault.state().removed();
    bench.vault.state().due.clear();
    bench.vault.state().log.push(removed);
    assert_eq!(bench.run(false).await.failure, "");
    assert_eq!(bench.rows(), [0, 0]);
    assert!(!bench.stores[0].state().departed, "a later one may write");
}

#[tokio::test]
async fn more_receipts_than_a_page_are_all_fetched() {
    let bench = filled().await;
    for tag in 0..=250 {
        let erased = bench.vault.state().erased(tag);
        bench.vault.state().log.push(erased);
        let elsewhere = bench.vault.state().epoch_destroyed(u64::from(tag));
        bench.vault.state().log.push(elsewhere);
    }
    assert_eq!(bench.run(false).await.failure, "");
    assert_eq!(bench.receipts_paged().await, 503);
}

#[tokio::test]
async fn a_configured_key_is_the_only_one_believed_from_the_start() {
    let key = ReceiptKey::from_slice(signer(9).public_key().as_ref()).unwrap();
    let bench = Bench::with_key(
        Vault::new(vec![epoch(0)]),
        [Store::with(1, epoch(0), 1), Store::default()],
        Relay::default(),
        Some(key),
    )
    .await;
    assert_eq!(bench.run(false).await.failure, "RECEIPT_INVALID");
    assert_eq!(bench.rows(), [1, 0]);
}

#[tokio::test]
async fn a_forged_receipt_does_not_pin_its_key() {
    let bench = filled().await;
    let mut forged = bench.vault.state().erased(1);
    forged.verification_key = Bytes::copy_from_slice(signer(3).public_key().as_ref());
    assert!(bench.jobs.forget(forged).await.is_err());
    assert_eq!(bench.run(false).await.failure, "");
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_page_by_page() {
    let bench = filled().await;
    for _ in 0..3 {
        bench.run(false).await;
    }
    let ids = |runs: Vec<sealpost_proto::retention::v1::Run>| -> Vec<u64> {
        runs.into_iter().map(|run| run.run_id).collect()
    };
    assert_eq!(ids(bench.runs(2, 0).await), [3, 2]);
    assert_eq!(ids(bench.runs(2, 2).await), [1]);
}

#[tokio::test]
async fn receipts_and_runs_are_forgotten_after_four_hundred_days() {
    let bench = filled().await;
    bench.run(false).await;
    bench.advance(MEMORY);
    bench.run(false).await;
    assert_eq!(bench.receipts().await.len(), 1);
    bench.advance(Duration::from_millis(1));
    bench.run(false).await;
    assert!(bench.receipts().await.is_empty());
    assert_eq!(bench.runs(0, 0).await.len(), 2);
}

#[tokio::test]
async fn an_open_receipt_is_not_forgotten_however_old() {
    let bench = filled().await;
    bench.stores[0].state().down = true;
    bench.run(false).await;
    bench.advance(MEMORY + Duration::from_secs(1));
    bench.run(false).await;
    assert_eq!(bench.receipts().await.len(), 1);
}

#[tokio::test]
async fn runs_do_not_overlap() {
    let bench = filled().await;
    let (a, b, c) = tokio::join!(bench.run(false), bench.run(false), bench.run(false));
    let rows: Vec<u64> = [a, b, c].iter().map(|run| run.store_rows_deleted).collect();
    assert_eq!(rows.iter().sum::<u64>(), 30);
    assert_eq!(rows.iter().filter(|rows| **rows > 0).count(), 1);
}

#[tokio::test]
async fn the_schedule_runs_at_once_and_again_and_stops() {
    let bench = filled().await;
    let stop = CancellationToken::new();
    let every = Duration::from_millis(50);
    let schedule = tokio::spawn(schedule::keep(bench.jobs.clone(), every, stop.clone()));
    let twice = async {
        while bench.datastore.runs_list(u64::MAX, 10).await.unwrap().len() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(20), twice).await.unwrap();
    stop.cancel();
    timeout(Duration::from_secs(5), schedule)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(bench.rows(), [3, 0]);
}
