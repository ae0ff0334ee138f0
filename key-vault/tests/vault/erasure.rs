//! Erasures that meet crashes and running batches.

use sealpost_proto::vault::v1::{EraseSubjectRequest, Refusal};

use crate::{
    consumer::{Consumer, PHONE},
    custody::admitted,
    fixture::{Fixture, NUMBER},
};

#[tokio::test]
async fn an_erasure_whose_answer_was_lost_is_answered_again_for_a_day_and_then_forgotten() {
    let fixture = Fixture::new().await;
    let record = admitted(&fixture, 0).await;
    let request = EraseSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: PHONE.to_owned(),
    };
    let erase = async || fixture.vault.erase_subject(request.clone()).await.unwrap();
    let lost = erase().await;
    assert_eq!(lost.tag, record.tag);
    fixture.advance(3_600).await;
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(erase().await, lost, "the same receipt, of the same time");
    fixture.advance(86_400).await;
    fixture.vault.housekeeping().await.unwrap();
    let forgotten = erase().await;
    assert!(forgotten.receipt.is_none() && forgotten.tag.is_empty());
    assert_eq!(fixture.check(&record).await, Refusal::SubjectErased);
}

#[tokio::test]
async fn an_erasure_amid_running_batches_leaves_nothing_of_whom_it_erased() {
    let fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    let upload = provisioned.upload.as_ref().unwrap();
    consumer.begin(&fixture.relay, upload, Some(0), now).await;
    let sealer = business.sealer(&fixture).await;
    let first = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap();
    let old = first.record.unwrap().tag;
    let mut arriving = Vec::new();
    for id in 10..18 {
        arriving.push(consumer.send(id, "in", now).await);
    }
    let leaving = |from: u8| {
        (from..from + 8)
            .map(|id| sealer.seal(PHONE, id, "out", now.as_millis()))
            .collect()
    };
    let request = EraseSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: PHONE.to_owned(),
    };
    let (out, _, erased, more) = tokio::join!(
        fixture.admit_all(leaving(20)),
        fixture.decrypt_all(arriving),
        fixture.vault.erase_subject(request),
        fixture.admit_all(leaving(40)),
    );
    assert_eq!(erased.unwrap().tag, old);
    // Each was of the old subject, and is gone with it, or of a new one.
    for admitted in out.unwrap().into_iter().chain(more.unwrap()) {
        let record = admitted.unwrap().record.unwrap();
        let expected = if record.tag == old {
            Refusal::SubjectErased
        } else {
            Refusal::Unspecified
        };
        assert_eq!(fixture.check(&record).await, expected);
    }
    let strays = "(SELECT 1 FROM pending WHERE tag NOT IN (SELECT tag FROM subjects)) AS found";
    assert_eq!(fixture.count(strays).await, 0);
    let strays = "(SELECT 1 FROM sessions WHERE subject_id NOT IN (SELECT subject_id FROM subjects)) AS found";
    assert_eq!(fixture.count(strays).await, 0);
    assert!(fixture.facts(NUMBER).await.subjects <= 1);
}
