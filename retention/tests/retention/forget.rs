//! Forgetting a person: by receipt, by tag, everywhere, and once more when nothing can follow.

use bytes::Bytes;
use sealpost_proto::{
    retention::v1::{ForgetSubjectRequest, ForgetSubjectResponse, RunNowRequest},
    vault::v1::{Receipt, receipt_statement::Destroyed},
};
use sealpost_retention::SETTLING;
use sealpost_runtime::status::reason_of;
use tonic::{Code, Status};

use crate::{
    bench::{Bench, epoch},
    doubles::{Relay, Store, Vault},
};

async fn filled() -> Bench {
    let mut first = Store::with(15, epoch(0), 1);
    first.rows.extend(vec![(epoch(0), 2); 4]);
    let second = Store::with(2, epoch(0), 1);
    Bench::new(Vault::new(Vec::new()), [first, second], Relay::default()).await
}

async fn forget(bench: &Bench, receipt: Option<Receipt>) -> Result<ForgetSubjectResponse, Status> {
    let request = ForgetSubjectRequest { receipt };
    let answer = bench.client.clone().forget_subject(request).await?;
    Ok(answer.into_inner())
}

#[tokio::test]
async fn a_persons_rows_go_from_every_store_and_others_stay() {
    let bench = filled().await;
    let receipt = bench.vault.state().erased(1);
    let forgotten = forget(&bench, Some(receipt.clone())).await.unwrap();
    assert_eq!(forgotten.store_rows_deleted, 17);
    assert_eq!(bench.rows(), [4, 0]);
    let kept = bench.receipts().await;
    assert_eq!(kept[0].receipt, Some(receipt.clone()));
    assert!(kept[0].rows_deleted_at_ms > 0);

    let again = forget(&bench, Some(receipt)).await.unwrap();
    assert_eq!(again.store_rows_deleted, 0);
    assert_eq!(bench.receipts().await.len(), 1);
}

#[tokio::test]
async fn rows_that_a_restored_store_has_again_go_when_an_operator_says_so() {
    let bench = filled().await;
    let receipt = bench.vault.state().erased(1);
    forget(&bench, Some(receipt)).await.unwrap();
    bench.advance(SETTLING);
    bench.run(false).await;
    bench.stores[1].state().rows.push((epoch(0), 1));
    bench.run(false).await;
    assert_eq!(bench.rows(), [4, 1], "the control: it is settled");
    let request = |dry_run| RunNowRequest {
        dry_run,
        again: true,
    };
    let refused = bench.client.clone().run_now(request(true)).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    bench.client.clone().run_now(request(false)).await.unwrap();
    assert_eq!(bench.rows(), [4, 0]);
}

#[tokio::test]
async fn what_arrives_late_goes_once_the_person_has_settled() {
    let bench = filled().await;
    let receipt = bench.vault.state().erased(1);
    forget(&bench, Some(receipt)).await.unwrap();
    // A record that was under way when the person was erased.
    bench.stores[1].state().rows.push((epoch(0), 1));
    bench.run(false).await;
    assert_eq!(bench.rows(), [4, 1]);
    bench.advance(SETTLING);
    let run = bench.run(false).await;
    assert_eq!((run.failure.as_str(), run.store_rows_deleted), ("", 1));
    assert_eq!(bench.rows(), [4, 0]);

    let calls = bench.stores[1].state().calls;
    bench.run(false).await;
    assert_eq!(bench.stores[1].state().calls, calls);
}

#[tokio::test]
async fn a_store_that_is_down_is_said_and_the_next_run_goes_on() {
    let bench = filled().await;
    bench.stores[0].state().down = true;
    let receipt = bench.vault.state().erased(1);
    let refused = forget(&bench, Some(receipt)).await.unwrap_err();
    assert_eq!(reason_of(&refused).as_deref(), Some("STORE_UNAVAILABLE"));
    assert_eq!(bench.rows(), [19, 0]);
    bench.stores[0].state().down = false;
    assert_eq!(bench.run(false).await.store_rows_deleted, 15);
    assert_eq!(bench.rows(), [4, 0]);
}

#[tokio::test]
async fn what_is_not_the_vaults_word_about_a_person_deletes_nothing() {
    let bench = filled().await;
    let epochs = bench.vault.state().receipt(Destroyed::Epoch(epoch(0)));
    let mut changed = bench.vault.state().erased(1);
    changed.statement = bench.vault.state().erased(2).statement;
    let mut unsigned = bench.vault.state().erased(1);
    unsigned.signature = Bytes::new();
    for (receipt, reason) in [
        (None, "MALFORMED"),
        (Some(Receipt::default()), "MALFORMED"),
        (Some(epochs), "MALFORMED"),
        (Some(changed), "RECEIPT_INVALID"),
        (Some(unsigned), "RECEIPT_INVALID"),
    ] {
        let refused = forget(&bench, receipt).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert_eq!(reason_of(&refused).as_deref(), Some(reason));
    }
    assert_eq!(bench.rows(), [19, 2]);
    assert!(bench.receipts().await.is_empty());
}
