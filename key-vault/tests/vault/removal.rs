//! Numbers that are removed: keys at once, rows after them, and no backup brings them back.

use sealpost_key_vault::VaultError;
use sealpost_proto::vault::v1::{
    GetNumberRequest, Refusal, RemoveNumberRequest, RemoveNumberResponse,
    receipt_statement::Destroyed,
};

use crate::{
    business::Business,
    consumer::PHONE,
    custody::{admitted, statement},
    fixture::{Fixture, NUMBER, OTHER_NUMBER},
};

const TABLES: [&str; 7] = [
    "numbers",
    "hpke_keys",
    "signed_prekeys",
    "one_time_prekeys",
    "kem_prekeys",
    "subjects",
    "erased",
];

async fn remove(fixture: &Fixture) -> RemoveNumberResponse {
    let request = RemoveNumberRequest {
        phone_number_id: NUMBER.to_owned(),
    };
    fixture.vault.remove_number(request).await.unwrap()
}

async fn is_known(fixture: &Fixture, id: &str) -> bool {
    let request = GetNumberRequest {
        phone_number_id: id.to_owned(),
    };
    match fixture.vault.get_number(request).await {
        Ok(_) => true,
        Err(VaultError::NumberUnknown) => false,
        Err(error) => panic!("{error}"),
    }
}

async fn rows(fixture: &Fixture) -> i64 {
    let mut rows = 0;
    for table in TABLES {
        rows += fixture
            .count(&format!("{table} WHERE number = '{NUMBER}'"))
            .await;
    }
    rows
}

#[tokio::test]
async fn a_removed_number_leaves_no_row_and_another_number_stays() {
    let fixture = Fixture::new().await;
    let record = admitted(&fixture, 0).await;
    let (other, _) = fixture.number(OTHER_NUMBER, 0).await;
    let fingerprint = fixture.facts(NUMBER).await.vault_fingerprint;
    assert!(rows(&fixture).await > 200, "the control");

    let removed = remove(&fixture).await;
    let Some(Destroyed::Number(number)) = statement(removed.receipt.as_ref().unwrap()).destroyed
    else {
        panic!("no number in the receipt");
    };
    assert_eq!(number.phone_number_id, NUMBER);
    assert_eq!(hex::encode(&number.fingerprint), fingerprint);
    assert_eq!(rows(&fixture).await, 0);
    assert!(!is_known(&fixture, NUMBER).await);
    assert_eq!(fixture.check(&record).await, Refusal::NumberUnknown);
    assert_eq!(remove(&fixture).await, removed, "a repeat tells it again");
    assert_eq!(
        fixture.receipts(0).await[0].receipt,
        removed.receipt,
        "and so retention hears of it"
    );

    let sealer = other.sealer(&fixture).await;
    let item = sealer.seal(PHONE, 1, "x", fixture.now().as_millis());
    assert!(fixture.admit(item).await.is_ok());
}

#[tokio::test]
async fn a_backup_brings_no_number_back_and_its_id_is_free_again_after_thirty_five_days() {
    let mut fixture = Fixture::new().await;
    let record = admitted(&fixture, 0).await;
    fixture.backup().await;
    remove(&fixture).await;
    fixture.restore().await.unwrap();
    assert!(!is_known(&fixture, NUMBER).await);
    assert_eq!(fixture.check(&record).await, Refusal::NumberUnknown);

    let again = Business::new(NUMBER);
    let refused = fixture.vault.provision_number(again.provision(0)).await;
    assert!(
        matches!(refused, Err(VaultError::NumberRemoved)),
        "{refused:?}"
    );
    fixture.advance(36 * 86_400).await;
    fixture.vault.housekeeping().await.unwrap();
    fixture.number(NUMBER, 0).await;
    // The journal names the one that was: the new one of its id lives on.
    let clock = fixture.clock.clone();
    fixture.reopen(clock).await;
    assert!(is_known(&fixture, NUMBER).await);
}

#[tokio::test]
async fn a_removal_that_a_crash_interrupted_is_finished_by_housekeeping() {
    let fixture = Fixture::new().await;
    admitted(&fixture, 0).await;
    // As it is between the transaction that takes the keys and those that take the rows.
    fixture
        .tamper("UPDATE numbers SET sealed_key = substr(sealed_key, 1, 0), removed_at_ms = 1")
        .await;
    assert!(!is_known(&fixture, NUMBER).await);
    assert!(rows(&fixture).await > 200);
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(rows(&fixture).await, 0);
}
