//! A database restored from a backup: what was erased since is erased again, and nothing else.

use std::{fs, path::PathBuf, time::Duration};

use sealpost_key_vault::VaultError;
use sealpost_proto::{
    record::v1::Record,
    vault::v1::{ErasePersonRequest, EraseSubjectRequest, Refusal, receipt_statement::Destroyed},
};

use crate::{
    business::{Business, Sealer},
    consumer::{Consumer, PHONE},
    custody::statement,
    fixture::{Fixture, NUMBER, OTHER_NUMBER},
};

const OTHER: &str = "15557654321";

fn journal(fixture: &Fixture) -> PathBuf {
    fixture.config.keyring.join("erasures.journal")
}

async fn admit(fixture: &Fixture, sealer: &Sealer, peer: &str, id: u8) -> Record {
    let item = sealer.seal(peer, id, "said", fixture.now().as_millis());
    fixture.admit(item).await.unwrap().record.unwrap()
}

async fn erase(fixture: &Fixture, peer: &str) {
    let request = EraseSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: peer.to_owned(),
    };
    let erased = fixture.vault.erase_subject(request).await.unwrap();
    assert!(erased.receipt.is_some());
}

/// A person with a session, and another with a record.
async fn two(fixture: &Fixture) -> (Business, Sealer, Record, Record) {
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let upload = provisioned.upload.as_ref().unwrap();
    consumer
        .begin(&fixture.relay, upload, Some(0), fixture.now())
        .await;
    let sent = consumer.send(1, "in", fixture.now()).await;
    fixture.decrypt(sent).await.unwrap();
    let sealer = business.sealer(fixture).await;
    let theirs = admit(fixture, &sealer, PHONE, 2).await;
    let others = admit(fixture, &sealer, OTHER, 3).await;
    (business, sealer, theirs, others)
}

#[tokio::test]
async fn a_restored_backup_opens_for_everybody_but_whom_the_journal_names() {
    let mut fixture = Fixture::new().await;
    let (.., theirs, others) = two(&fixture).await;
    fixture.backup().await;
    assert!(fixture.facts(NUMBER).await.sessions > 0);
    erase(&fixture, PHONE).await;

    fixture.restore().await.unwrap();
    assert_eq!(fixture.check(&theirs).await, Refusal::SubjectErased);
    assert_eq!(fixture.check(&others).await, Refusal::Unspecified);
    let facts = fixture.facts(NUMBER).await;
    assert_eq!((facts.subjects, facts.sessions), (1, 0));
    assert_eq!(fixture.count("pending").await, 0);
    assert!(!fixture.on_disk(&theirs.tag) || fixture.count("erased").await == 1);
    // The receipt is there again, the very same.
    assert_eq!(fixture.receipts(0).await.len(), 1);

    // The control: without the journal the person is back.
    fs::remove_file(journal(&fixture)).unwrap();
    fixture.restore().await.unwrap();
    assert_eq!(fixture.check(&theirs).await, Refusal::Unspecified);
    assert_eq!(fixture.facts(NUMBER).await.subjects, 2);
}

#[tokio::test]
async fn who_came_back_after_an_erasure_is_not_erased_by_its_replay() {
    let mut fixture = Fixture::new().await;
    let (_, sealer, ..) = two(&fixture).await;
    erase(&fixture, PHONE).await;
    let back = admit(&fixture, &sealer, PHONE, 4).await;
    let clock = fixture.clock.clone();
    fixture.reopen(clock).await;
    assert_eq!(fixture.check(&back).await, Refusal::Unspecified);
}

#[tokio::test]
async fn rows_that_come_back_beneath_a_running_vault_are_erased_within_a_round_of_housekeeping() {
    let fixture = Fixture::new().await;
    let (.., theirs, others) = two(&fixture).await;
    fixture
        .tamper("CREATE TABLE kept AS SELECT * FROM subjects")
        .await;
    erase(&fixture, PHONE).await;
    // As a restore of an earlier state beneath us leaves it.
    fixture
        .tamper("INSERT INTO subjects SELECT * FROM kept WHERE true ON CONFLICT DO NOTHING")
        .await;
    fixture.tamper("DELETE FROM erased").await;
    fixture.tamper("DROP TABLE kept").await;
    assert_eq!(
        fixture.check(&theirs).await,
        Refusal::Unspecified,
        "the control"
    );
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(fixture.check(&theirs).await, Refusal::SubjectErased);
    assert_eq!(fixture.check(&others).await, Refusal::Unspecified);
}

#[tokio::test]
async fn older_erasures_are_looked_for_too_and_a_mark_in_the_database_proves_nothing() {
    let fixture = Fixture::new().await;
    let (.., theirs, _) = two(&fixture).await;
    fixture
        .tamper("CREATE TABLE kept AS SELECT * FROM subjects")
        .await;
    erase(&fixture, PHONE).await;
    erase(&fixture, OTHER).await;
    fixture
        .tamper("INSERT INTO subjects SELECT * FROM kept WHERE true ON CONFLICT DO NOTHING")
        .await;
    fixture.tamper("DROP TABLE kept").await;
    assert_eq!(fixture.facts(NUMBER).await.subjects, 2, "the control");
    assert_eq!(
        fixture.check(&theirs).await,
        Refusal::SubjectErased,
        "where the mark is left it stands before the row"
    );
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(fixture.facts(NUMBER).await.subjects, 0);
}

#[tokio::test]
async fn a_vault_whose_journal_was_tampered_with_does_not_open() {
    let mut fixture = Fixture::new().await;
    two(&fixture).await;
    fixture.backup().await;
    erase(&fixture, PHONE).await;
    erase(&fixture, OTHER).await;
    let mut bytes = fs::read(journal(&fixture)).unwrap();
    bytes[3] ^= 1;
    fs::write(journal(&fixture), bytes).unwrap();
    let refused = fixture.restore().await;
    assert!(
        matches!(refused, Err(VaultError::Keyring(_))),
        "{refused:?}"
    );
}

#[tokio::test]
async fn one_receipt_tells_of_a_person_at_every_number_and_a_repeat_tells_it_again() {
    let fixture = Fixture::new().await;
    let (_, _, theirs, others) = two(&fixture).await;
    fixture.number(OTHER_NUMBER, 0).await;
    let request = ErasePersonRequest {
        peer: PHONE.to_owned(),
        phone_number_ids: [NUMBER, OTHER_NUMBER, "77"].map(str::to_owned).to_vec(),
    };
    let erased = fixture.vault.erase_person(request.clone()).await.unwrap();
    let Some(Destroyed::Person(person)) = statement(&erased.receipt.unwrap()).destroyed else {
        panic!("no person in the receipt");
    };
    assert_eq!(person.unknown_at, [OTHER_NUMBER, "77"]);
    assert_eq!(person.subjects.len(), 1);
    assert_eq!(person.subjects[0].tag, theirs.tag);
    assert_eq!(fixture.check(&theirs).await, Refusal::SubjectErased);
    assert_eq!(fixture.check(&others).await, Refusal::Unspecified);

    fixture.clock.advance(Duration::from_secs(60));
    let again = fixture.vault.erase_person(request).await.unwrap();
    assert_eq!(again.subjects, erased.subjects);
    // Retention hears of the number's, never of what links the numbers.
    let listed = fixture.receipts(0).await;
    let listed: Vec<_> = listed.into_iter().filter_map(|one| one.receipt).collect();
    assert_eq!(listed, erased.subjects);
}

#[tokio::test]
async fn receipts_are_answered_as_often_as_asked_and_end_when_nothing_can_refer_to_them() {
    let fixture = Fixture::new().await;
    two(&fixture).await;
    erase(&fixture, PHONE).await;
    fixture.clock.advance(Duration::from_secs(1));
    erase(&fixture, OTHER).await;
    let all = fixture.receipts(0).await;
    assert_eq!(all.len(), 2);
    assert_eq!(fixture.receipts(0).await, all);
    assert_eq!(fixture.receipts(all[0].serial).await, all[1..]);
    assert!(all[0].serial >= fixture.now().as_millis() - 1_000 && all[1].serial > all[0].serial);

    fixture.advance(34 * 86_400).await;
    fixture.vault.housekeeping().await.unwrap();
    let kept = async || {
        let receipts = fixture.receipts(0).await.len();
        (receipts, fixture.count("erased").await)
    };
    assert_eq!(kept().await, (3, 2), "and the epoch's");
    fixture.advance(86_400 + 1).await;
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(kept().await, (1, 0));
    assert_eq!(fixture.count("destructions").await, 1);
    fixture.advance(36 * 86_400).await;
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(fixture.count("destructions").await, 0);
}

#[tokio::test]
async fn pending_rows_of_dead_epochs_that_a_backup_brings_back_go_again() {
    let mut fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 3_600).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let upload = provisioned.upload.as_ref().unwrap();
    consumer
        .begin(&fixture.relay, upload, Some(0), fixture.now())
        .await;
    let sent = consumer.send(1, "in", fixture.now()).await;
    fixture.decrypt(sent).await.unwrap();
    fixture.backup().await;
    fixture.advance(3_600).await;
    crate::custody::destroy(&fixture, false).await;
    assert_eq!(fixture.count("pending").await, 0);
    fixture.restore().await.unwrap();
    assert_eq!(fixture.count("pending").await, 1, "the control");
    fixture.confirm_clock().await;
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(fixture.count("pending").await, 0);
}
