//! Who writes no more, and comes back after all.

use sealpost_database::testing::on_both;
use sealpost_proto::vault::v1::{EraseSubjectRequest, GetNumberResponse, Refusal};

use crate::{
    consumer::{Consumer, PHONE},
    custody::admitted,
    fixture::{Fixture, NUMBER},
};

const DAY: u64 = 86_400;
const HOUR: u64 = 3_600;

/// Seconds until the day is over: a day's messages have their time from its end.
fn left_of_day(fixture: &Fixture) -> u64 {
    DAY - fixture.now().as_secs() % DAY
}

/// What the vault knows of the number after a round of housekeeping.
async fn known(fixture: &Fixture) -> GetNumberResponse {
    fixture.vault.housekeeping().await.unwrap();
    fixture.facts(NUMBER).await
}

#[tokio::test]
async fn who_is_idle_for_the_class_and_thirty_days_ends_and_comes_back_as_a_stranger() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        let (business, provisioned) = fixture.number(NUMBER, 3_600).await;
        let mut consumer = Consumer::new(PHONE, NUMBER);
        let upload = provisioned.upload.as_ref().unwrap();
        consumer
            .begin(&fixture.relay, upload, Some(0), fixture.now())
            .await;
        let sent = consumer.send(1, "in", fixture.now()).await;
        let old = fixture.decrypt(sent).await.unwrap().record.unwrap();
        let sealer = business.sealer(&fixture).await;
        let item = sealer.seal(PHONE, 9, "out", fixture.now().as_millis());
        let out = fixture.admit(item).await.unwrap();
        consumer.receive(&out.ciphertexts[0]).await;
        fixture
            .advance(left_of_day(&fixture) + 30 * DAY + HOUR - 1)
            .await;
        let facts = known(&fixture).await;
        assert_eq!(
            (facts.subjects, facts.sessions),
            (1, 1),
            "a second is missing"
        );
        assert_eq!(fixture.check(&old).await, Refusal::EpochExpired);
        // The vault looks each hour.
        fixture.advance(HOUR).await;
        let facts = known(&fixture).await;
        assert_eq!((facts.subjects, facts.sessions), (0, 0));
        assert_eq!(fixture.count("sessions").await, 0);
        assert_eq!(fixture.check(&old).await, Refusal::EpochExpired);

        // The old session is worth nothing, and a new first contact is like any other.
        let stale = consumer.send(2, "from before", fixture.now()).await;
        let refused = fixture.decrypt(stale).await.err();
        assert_eq!(refused, Some(Refusal::Undecryptable));
        assert_eq!(known(&fixture).await.subjects, 0);
        let mut again = Consumer::new(PHONE, NUMBER);
        again
            .begin(&fixture.relay, upload, Some(1), fixture.now())
            .await;
        let sent = again.send(3, "hello again", fixture.now()).await;
        let decrypted = fixture.decrypt(sent).await.unwrap();
        assert!(!decrypted.identity_changed, "nobody remembers another");
        assert_ne!(decrypted.record.unwrap().tag, old.tag);
        let sealer = business.sealer(&fixture).await;
        let item = sealer.seal(PHONE, 4, "x", fixture.now().as_millis());
        assert!(!fixture.admit(item).await.unwrap().ciphertexts.is_empty());
    })
    .await;
}

#[tokio::test]
async fn each_message_begins_the_time_anew_and_a_long_class_waits_longer() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let admit = async |id| {
        let sealer = business.sealer(&fixture).await;
        let item = sealer.seal(PHONE, id, "x", fixture.now().as_millis());
        fixture.admit(item).await.unwrap();
    };
    admit(1).await;
    fixture.advance(59 * DAY).await;
    assert_eq!(known(&fixture).await.subjects, 1);
    admit(2).await;
    fixture.advance(left_of_day(&fixture) + 60 * DAY - 1).await;
    assert_eq!(known(&fixture).await.subjects, 1);
    fixture.advance(HOUR).await;
    assert_eq!(known(&fixture).await.subjects, 0);
}

#[tokio::test]
async fn one_who_lapsed_was_not_erased() {
    let fixture = Fixture::new().await;
    admitted(&fixture, 3_600).await;
    fixture.advance(32 * DAY).await;
    let before = fixture.receipts(0).await;
    assert_eq!(known(&fixture).await.subjects, 0);
    assert_eq!(fixture.count("erased").await, 0);
    assert!(!fixture.config.keyring.join("erasures.journal").exists());
    let told = fixture.receipts(0).await;
    // The epoch's key went in that round; nothing else has a receipt.
    assert_eq!(told.len(), before.len() + 1);
    let request = EraseSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: PHONE.to_owned(),
    };
    let erased = fixture.vault.erase_subject(request).await.unwrap();
    assert!(erased.receipt.is_none(), "there is nobody to erase");
}

#[tokio::test]
async fn a_shorter_class_does_not_end_who_has_records_of_a_longer_one() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let item = sealer.seal(PHONE, 1, "x", fixture.now().as_millis());
    let record = fixture.admit(item).await.unwrap().record.unwrap();
    let request = sealpost_proto::vault::v1::SetRetentionRequest {
        phone_number_id: NUMBER.to_owned(),
        retention_seconds: 3_600,
    };
    fixture.vault.set_retention(request).await.unwrap();
    fixture.advance(30 * DAY - HOUR).await;
    assert_eq!(known(&fixture).await.subjects, 1);
    assert_eq!(fixture.check(&record).await, Refusal::Unspecified);
    fixture.advance(2 * DAY + 2 * HOUR).await;
    assert_eq!(known(&fixture).await.subjects, 0);
    assert_eq!(fixture.check(&record).await, Refusal::EpochExpired);
}

#[tokio::test]
async fn subjects_from_before_their_day_was_noted_get_their_whole_time() {
    on_both(async |place| {
        let fixture = Fixture::on(place).await;
        admitted(&fixture, 3_600).await;
        fixture.tamper("UPDATE subjects SET last_day = NULL").await;
        fixture.advance(40 * DAY).await;
        assert_eq!(known(&fixture).await.subjects, 1);
        fixture.advance(30 * DAY).await;
        assert_eq!(known(&fixture).await.subjects, 1);
        fixture.advance(2 * DAY).await;
        assert_eq!(known(&fixture).await.subjects, 0);
    })
    .await;
}
