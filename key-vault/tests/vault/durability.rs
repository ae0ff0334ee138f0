//! Transactions that fail, processes that stop.

use sealpost_key_vault::VaultError;

use crate::{
    consumer::{Consumer, PHONE},
    fixture::{Fixture, NUMBER},
    outbound::{encrypted, item},
};

#[tokio::test]
async fn a_failed_transaction_gives_out_no_ciphertext_and_the_next_one_starts_from_what_was_committed()
 {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let bundle = consumer.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    consumer.receive(&out.ciphertexts[0]).await;
    let before = fixture
        .count("(SELECT 1 FROM sessions WHERE row_version = 1) AS found")
        .await;
    assert_eq!(before, 1);

    fixture.break_sessions().await;
    let failed = fixture.try_encrypt(item(&record, None)).await;
    assert!(matches!(failed, Err(VaultError::Database(_))), "{failed:?}");
    let failed = fixture
        .admit_all(vec![sealer.seal(PHONE, 2, "y", now.as_millis())])
        .await;
    assert!(matches!(failed, Err(VaultError::Database(_))), "{failed:?}");
    fixture.mend_sessions().await;
    assert_eq!(
        fixture
            .count("(SELECT 1 FROM sessions WHERE row_version = 1) AS found")
            .await,
        before
    );

    // Nothing of the failed ones is remembered: the same sequence, and each key met once by the consumer.
    let second = fixture
        .admit(sealer.seal(PHONE, 2, "y", now.as_millis()))
        .await
        .unwrap();
    assert_eq!(second.record.unwrap().sequence, 2);
    assert_eq!(consumer.receive(&second.ciphertexts[0]).await.text, "y");
    let again = encrypted(fixture.encrypt(item(&record, None)).await);
    assert_ne!(
        again.ciphertexts[0].ciphertext,
        second.ciphertexts[0].ciphertext
    );
    assert_eq!(consumer.receive(&again.ciphertexts[0]).await.text, "x");
}

#[tokio::test]
async fn everything_goes_on_after_a_restart() {
    let mut fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            now,
        )
        .await;
    let sent = consumer.send(1, "before", now).await;
    let first = fixture.decrypt(sent.clone()).await.unwrap();
    let clock = fixture.clock.clone();
    fixture.reopen(clock).await;
    let repeated = fixture.decrypt(sent).await.unwrap();
    assert_eq!(first.record, repeated.record);
    assert!(
        !repeated.wrap.is_empty(),
        "a new stream and a new content key"
    );
    let opened = business
        .open(&repeated.message.unwrap(), &repeated.wrap, now.as_millis())
        .unwrap();
    assert_eq!(opened.content.as_bytes(), b"before");
    let sent = consumer.send(2, "after", now).await;
    fixture.decrypt(sent).await.unwrap();
}

#[tokio::test]
async fn two_batches_on_one_conversation_at_once_never_use_a_message_key_twice() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let record = fixture
        .admit(sealer.seal(PHONE, 1, "x", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let bundle = consumer.bundle(&fixture.relay, now).await;
    let out = encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    consumer.receive(&out.ciphertexts[0]).await;

    let batch = |from: u8| {
        (from..from + 8)
            .map(|id| sealer.seal(PHONE, id, "x", now.as_millis()))
            .collect()
    };
    let (one, two, three) = tokio::join!(
        fixture.admit_all(batch(10)),
        fixture.admit_all(batch(20)),
        fixture.admit_all(batch(30))
    );
    let mut sequences = Vec::new();
    for admitted in [one, two, three]
        .into_iter()
        .flat_map(Result::unwrap)
        .map(Result::unwrap)
    {
        // libsignal refuses a message whose key was used before.
        consumer.receive(&admitted.ciphertexts[0]).await;
        sequences.push(admitted.record.unwrap().sequence);
    }
    sequences.sort_unstable();
    assert_eq!(sequences, (2..=25).collect::<Vec<u64>>());
}
