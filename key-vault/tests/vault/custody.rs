//! Keys at rest: what opens, what is gone, what is not on any disk.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use prost::Message;
use sealpost_database::testing::TestDatabase;
use sealpost_envelope::VerifyingKey;
use sealpost_key_vault::{
    Vault, VaultError,
    custody::{
        init::{InitError, init},
        unseal::{NewSeal, UnsealError},
    },
    service::EpochWatch,
};
use sealpost_proto::{
    record::v1::Record,
    vault::v1::{
        ConfirmClockRequest, DestroyExpiredEpochsRequest, EpochState, EraseSubjectRequest, Receipt,
        ReceiptStatement, Refusal, ResealRequest, SetRetentionRequest,
        receipt_statement::Destroyed, reseal_outcome,
    },
};
use sealpost_runtime::{Clock, Timestamp};

use crate::{
    consumer::{Consumer, PHONE},
    fixture::{Fixture, NUMBER, OTHER_NUMBER, START},
    inbound::deliver,
    outbound::{encrypted, item},
};

pub async fn admitted(fixture: &Fixture, retention: u32) -> Record {
    let (business, _) = fixture.number(NUMBER, retention).await;
    let sealer = business.sealer(fixture).await;
    fixture
        .admit(sealer.seal(PHONE, 1, "x", fixture.now().as_millis()))
        .await
        .unwrap()
        .record
        .unwrap()
}

pub async fn destroy(fixture: &Fixture, dry_run: bool) -> Vec<Receipt> {
    fixture
        .vault
        .destroy_expired_epochs(DestroyExpiredEpochsRequest { dry_run })
        .await
        .unwrap()
        .receipts
}

pub fn statement(receipt: &Receipt) -> ReceiptStatement {
    let key = VerifyingKey::from_bytes(receipt.verification_key[..].try_into().unwrap()).unwrap();
    key.verify(
        &receipt.statement,
        receipt.signature[..].try_into().unwrap(),
    )
    .unwrap();
    let statement = ReceiptStatement::decode(&receipt.statement[..]).unwrap();
    assert_eq!(statement.domain, "sealpost/receipt/v1");
    statement
}

#[tokio::test]
async fn an_expired_epoch_stays_shut_though_its_file_come_back_and_the_clock_be_set_back() {
    let mut fixture = Fixture::new().await;
    let record = admitted(&fixture, 3_600).await;
    assert_eq!(fixture.check(&record).await, Refusal::Unspecified);
    let file = fixture.keyring_files().remove(0);
    let copy = fs::read(&file).unwrap();

    fixture.advance(3_600).await;
    assert!(file.exists());
    assert_eq!(
        fixture.check(&record).await,
        Refusal::EpochExpired,
        "though its key is still there"
    );
    assert_eq!(
        fixture.encrypt(item(&record, None)).await.err(),
        Some(Refusal::EpochExpired)
    );

    let draft = destroy(&fixture, true).await;
    assert!(draft[0].signature.is_empty() && file.exists());
    let receipts = destroy(&fixture, false).await;
    assert_eq!(receipts.len(), 1);
    assert_eq!(
        statement(&receipts[0]).destroyed,
        record.epoch.map(Destroyed::Epoch)
    );
    assert!(!file.exists());
    assert!(destroy(&fixture, false).await.is_empty(), "once");

    fs::write(&file, &copy).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(fixture.check(&record).await, Refusal::EpochExpired);
    fixture.reopen(Clock::manual(START)).await;
    assert_eq!(
        fixture.check(&record).await,
        Refusal::EpochExpired,
        "an earlier clock reads as the mark"
    );
    assert_eq!(
        destroy(&fixture, false).await.len(),
        1,
        "and the file goes again"
    );
    assert!(fixture.keyring_files().is_empty());
}

#[tokio::test]
async fn a_jump_of_the_clock_stops_opening_and_destroying_until_an_operator_confirms() {
    let mut fixture = Fixture::new().await;
    let record = admitted(&fixture, 3_600).await;
    fixture.clock.advance(Duration::from_secs(31 * 86_400));
    assert_eq!(fixture.check(&record).await, Refusal::ClockUnconfirmed);
    assert_eq!(
        fixture.encrypt(item(&record, None)).await.err(),
        Some(Refusal::ClockUnconfirmed)
    );
    let refused = fixture
        .vault
        .destroy_expired_epochs(DestroyExpiredEpochsRequest { dry_run: false })
        .await;
    assert!(matches!(refused, Err(VaultError::ClockUnconfirmed)));
    assert!(matches!(
        fixture.vault.housekeeping().await,
        Err(VaultError::ClockUnconfirmed)
    ));
    assert_eq!(fixture.keyring_files().len(), 1);

    let wrong = ConfirmClockRequest {
        now_ms: START.as_millis(),
    };
    assert!(matches!(
        fixture.vault.confirm_clock(wrong).await,
        Err(VaultError::ClockDisagrees)
    ));
    // A restart is no way around it.
    let clock = fixture.clock.clone();
    fixture.reopen(clock).await;
    assert_eq!(fixture.check(&record).await, Refusal::ClockUnconfirmed);
    fixture.confirm_clock().await;
    assert_eq!(fixture.check(&record).await, Refusal::EpochExpired);
    assert_eq!(destroy(&fixture, false).await.len(), 1);
}

#[tokio::test]
async fn the_vault_destroys_what_nobody_came_for_and_keeps_the_receipt() {
    let fixture = Fixture::new().await;
    admitted(&fixture, 3_600).await;
    fixture.advance(3_600 + 300).await;
    fixture.vault.housekeeping().await.unwrap();
    assert_eq!(
        fixture.keyring_files().len(),
        1,
        "retention still has time to come"
    );
    fixture.advance(600).await;
    fixture.vault.housekeeping().await.unwrap();
    assert!(fixture.keyring_files().is_empty());
    assert!(destroy(&fixture, false).await.is_empty());
    assert_eq!(fixture.receipts(0).await.len(), 1);
}

#[tokio::test]
async fn pending_records_die_with_their_epoch() {
    let fixture = Fixture::new().await;
    let (_, provisioned) = fixture.number(NUMBER, 3_600).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            fixture.now(),
        )
        .await;
    let sent = consumer.send(1, "x", fixture.now()).await;
    fixture.decrypt(sent.clone()).await.unwrap();
    fixture.advance(3_600).await;
    assert_eq!(
        fixture.decrypt(sent.clone()).await.err(),
        Some(Refusal::EpochExpired)
    );
    destroy(&fixture, false).await;
    assert_eq!(fixture.count("pending").await, 0);
    assert_eq!(fixture.decrypt(sent).await.err(), Some(Refusal::Duplicate));
}

#[tokio::test]
async fn watchers_hear_of_every_epoch_and_then_of_changes() {
    let fixture = Fixture::new().await;
    let mut watch = EpochWatch::new();
    assert!(
        fixture
            .vault
            .epoch_changes(&mut watch)
            .await
            .unwrap()
            .unwrap()
            .epochs
            .is_empty()
    );
    let record = admitted(&fixture, 3_600).await;
    let mut heard = async |seconds| {
        fixture.advance(seconds).await;
        let changes = fixture.vault.epoch_changes(&mut watch).await.unwrap()?;
        assert_eq!(
            (changes.epochs.len(), changes.epochs[0].epoch),
            (1, record.epoch)
        );
        Some(changes.epochs[0].state())
    };
    assert_eq!(heard(0).await, Some(EpochState::Open));
    assert_eq!(heard(0).await, None);
    assert_eq!(heard(300).await, Some(EpochState::Closed));
    assert_eq!(heard(3_300).await, None);
    destroy(&fixture, false).await;
    assert_eq!(heard(0).await, Some(EpochState::Destroyed));
    let late = fixture
        .vault
        .epoch_changes(&mut EpochWatch::new())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(late.epochs[0].state(), EpochState::Destroyed);
}

#[tokio::test]
async fn an_erased_person_is_gone_and_a_returning_one_is_a_stranger() {
    let fixture = Fixture::new().await;
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
    let sent = consumer.send(1, "in", now).await;
    let inbound = fixture.decrypt(sent).await.unwrap().record.unwrap();
    let sealer = business.sealer(&fixture).await;
    let outbound = fixture
        .admit(sealer.seal(PHONE, 2, "out", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();

    let request = EraseSubjectRequest {
        phone_number_id: NUMBER.to_owned(),
        peer: PHONE.to_owned(),
    };
    let erased = fixture.vault.erase_subject(request.clone()).await.unwrap();
    assert_eq!(erased.tag, outbound.tag);
    let Some(Destroyed::Subject(subject)) = statement(&erased.receipt.unwrap()).destroyed else {
        panic!("no subject in the receipt");
    };
    assert_eq!(
        (subject.phone_number_id.as_str(), subject.tag),
        (NUMBER, outbound.tag.clone())
    );
    let facts = fixture.facts(NUMBER).await;
    assert_eq!(
        (
            facts.subjects,
            facts.sessions,
            fixture.count("pending").await
        ),
        (0, 0, 0)
    );

    assert_eq!(fixture.check(&inbound).await, Refusal::SubjectErased);
    assert_eq!(
        fixture.encrypt(item(&outbound, None)).await.err(),
        Some(Refusal::SubjectErased)
    );
    let again = sealpost_proto::vault::v1::DeliverItem {
        record: Some(inbound),
        ..Default::default()
    };
    assert_eq!(
        deliver(&fixture, again).await.err(),
        Some(Refusal::SubjectErased)
    );
    let nobody = EraseSubjectRequest {
        peer: "15550000000".to_owned(),
        ..request.clone()
    };
    let nobody = fixture.vault.erase_subject(nobody).await.unwrap();
    assert!(nobody.receipt.is_none() && nobody.tag.is_empty());
    let new = fixture
        .admit(sealer.seal(PHONE, 3, "new", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    assert_ne!(new.tag, outbound.tag);
    assert_eq!(new.sequence, 1);
}

#[tokio::test]
async fn a_record_resealed_after_a_change_of_class_opens_and_never_lives_longer() {
    let fixture = Fixture::new().await;
    let record = admitted(&fixture, 86_400).await;
    let reseal = async |record: &Record, class| {
        let request = SetRetentionRequest {
            phone_number_id: NUMBER.to_owned(),
            retention_seconds: class,
        };
        fixture.vault.set_retention(request).await.unwrap();
        let mut response = fixture
            .vault
            .reseal(ResealRequest {
                records: vec![record.clone()],
            })
            .await
            .unwrap();
        match response.outcomes.remove(0).outcome.unwrap() {
            reseal_outcome::Outcome::Record(record) => record,
            reseal_outcome::Outcome::Refused(refusal) => panic!("refused: {refusal}"),
        }
    };
    let end = |record: &Record| {
        let epoch = record.epoch.unwrap();
        epoch.start_seconds + u64::from(epoch.retention_seconds)
    };
    let shorter = reseal(&record, 3_600).await;
    assert_eq!(shorter.epoch.unwrap().retention_seconds, 3_600);
    assert!(end(&shorter) <= end(&record));
    assert_eq!(fixture.check(&shorter).await, Refusal::Unspecified);
    let longer = reseal(&shorter, 2_592_000).await;
    assert_eq!(longer.epoch, shorter.epoch);
    assert_ne!(longer.sealed, shorter.sealed);
    assert_eq!(fixture.check(&longer).await, Refusal::Unspecified);
}

#[tokio::test]
async fn records_with_a_changed_name_do_not_open() {
    let fixture = Fixture::new().await;
    let record = admitted(&fixture, 86_400).await;
    fixture.number(OTHER_NUMBER, 86_400).await;
    let other_epoch = sealpost_proto::record::v1::EpochId {
        start_seconds: record.epoch.unwrap().start_seconds - 3_600,
        ..record.epoch.unwrap()
    };
    for (bad, expected) in [
        (
            Record {
                message_id: vec![9; 16].into(),
                ..record.clone()
            },
            Refusal::Undecryptable,
        ),
        (
            Record {
                direction: 2,
                ..record.clone()
            },
            Refusal::Undecryptable,
        ),
        (
            Record {
                tag: vec![9; 16].into(),
                ..record.clone()
            },
            Refusal::Undecryptable,
        ),
        (
            Record {
                phone_number_id: OTHER_NUMBER.to_owned(),
                ..record.clone()
            },
            Refusal::Undecryptable,
        ),
        (
            Record {
                phone_number_id: "1".to_owned(),
                ..record.clone()
            },
            Refusal::NumberUnknown,
        ),
        (
            Record {
                epoch: Some(other_epoch),
                ..record.clone()
            },
            Refusal::EpochExpired,
        ),
        (
            Record {
                epoch: None,
                ..record.clone()
            },
            Refusal::Malformed,
        ),
    ] {
        assert_eq!(fixture.check(&bad).await, expected, "{bad:?}");
    }
    assert_eq!(fixture.check(&record).await, Refusal::Unspecified);
}

#[tokio::test]
async fn rows_swapped_between_subjects_or_numbers_or_rolled_back_cost_only_their_own_items() {
    let fixture = Fixture::forgetful().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    fixture.number(OTHER_NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let phones = ["15551230001", "15551230002", "15551230003"];
    let mut records = Vec::new();
    for phone in phones {
        let mut consumer = Consumer::new(phone, NUMBER);
        let record = fixture
            .admit(sealer.seal(phone, 1, "x", now.as_millis()))
            .await
            .unwrap()
            .record
            .unwrap();
        let bundle = consumer.bundle(&fixture.relay, now).await;
        encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
        records.push(record);
    }
    let tags: Vec<String> = records
        .iter()
        .map(|record| fixture.literal(&record.tag))
        .collect();
    let tag = |at: usize| &tags[at];
    // The first subject gets the second's sealed bytes; the third's row is called another version.
    fixture
        .tamper(&format!(
            "UPDATE subjects SET sealed = (SELECT sealed FROM subjects WHERE tag = {}) WHERE tag = {}",
            tag(1),
            tag(0)
        ))
        .await;
    fixture
        .tamper(&format!(
            "UPDATE subjects SET row_version = row_version - 1 WHERE tag = {}",
            tag(2)
        ))
        .await;
    assert_eq!(fixture.check(&records[0]).await, Refusal::Undecryptable);
    assert_eq!(fixture.check(&records[2]).await, Refusal::Undecryptable);
    let batch = phones
        .map(|phone| sealer.seal(phone, 2, "y", now.as_millis()))
        .to_vec();
    let outcomes: Vec<_> = fixture
        .admit_all(batch)
        .await
        .unwrap()
        .into_iter()
        .map(Result::err)
        .collect();
    assert_eq!(
        outcomes,
        [
            Some(Refusal::Undecryptable),
            None,
            Some(Refusal::Undecryptable)
        ]
    );

    // A session moved to another device, and a subject moved to another number.
    fixture
        .tamper(&format!(
            "UPDATE sessions SET device_id = 2 WHERE subject_id = (SELECT subject_id FROM subjects WHERE tag = {})",
            tag(1)
        ))
        .await;
    assert_eq!(
        fixture.encrypt(item(&records[1], None)).await.err(),
        Some(Refusal::Undecryptable)
    );
    fixture
        .tamper(&format!(
            "UPDATE subjects SET number = '{OTHER_NUMBER}' WHERE tag = {}",
            tag(1)
        ))
        .await;
    let moved = Record {
        phone_number_id: OTHER_NUMBER.to_owned(),
        ..records[1].clone()
    };
    assert_eq!(fixture.check(&moved).await, Refusal::Undecryptable);
}

#[tokio::test]
async fn nothing_on_disk_holds_a_phone_number_or_a_word_that_was_said() {
    let mut fixture = Fixture::on(TestDatabase::sqlite()).await;
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
    let sent = consumer.send(1, "inbound plaintext 4711", now).await;
    fixture.decrypt(sent).await.unwrap();
    let sealer = business.sealer(&fixture).await;
    let record = fixture
        .admit(sealer.seal(PHONE, 2, "outbound plaintext 4712", now.as_millis()))
        .await
        .unwrap()
        .record
        .unwrap();
    let bundle = consumer.bundle(&fixture.relay, now).await;
    encrypted(fixture.encrypt(item(&record, Some(bundle))).await);
    let identity = consumer.identity.public_key().public_key_bytes().to_vec();
    for closed in [false, true] {
        assert!(
            fixture.on_disk(NUMBER.as_bytes()),
            "the search finds what is there"
        );
        for secret in [PHONE.as_bytes(), b"plaintext 47", &identity] {
            assert!(!fixture.on_disk(secret), "closed: {closed}");
        }
        let clock = fixture.clock.clone();
        fixture.reopen(clock).await;
    }
}

#[tokio::test]
async fn a_vault_is_made_once_and_never_stranded() {
    let fixture = Fixture::new().await;
    fixture.number(NUMBER, 0).await;
    let fingerprint = fixture.facts(NUMBER).await.vault_fingerprint;
    init(&fixture.config, &fixture.clock, &NewSeal::KeyFile)
        .await
        .unwrap();
    fixture.vault.close().await.unwrap();
    let again = Vault::open(&fixture.config, fixture.clock.clone())
        .await
        .unwrap();
    let request = sealpost_proto::vault::v1::GetNumberRequest {
        phone_number_id: NUMBER.to_owned(),
    };
    assert_eq!(
        again.get_number(request).await.unwrap().vault_fingerprint,
        fingerprint
    );
    again.close().await.unwrap();

    let kept = fs::read(&fixture.config.root_key).unwrap();
    fs::remove_file(&fixture.config.root_key).unwrap();
    assert!(matches!(
        init(&fixture.config, &fixture.clock, &NewSeal::KeyFile).await,
        Err(InitError::Stranded)
    ));
    assert!(matches!(
        Vault::open(&fixture.config, fixture.clock.clone()).await,
        Err(VaultError::NotInitialised)
    ));
    fs::write(&fixture.config.root_key, &kept).unwrap();
    let key_file = &fixture.config.unseal.key_file.as_ref().unwrap().file;
    fs::set_permissions(key_file, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(matches!(
        Vault::open(&fixture.config, fixture.clock.clone()).await,
        Err(VaultError::Unseal(UnsealError::File(..)))
    ));
    fs::set_permissions(key_file, fs::Permissions::from_mode(0o600)).unwrap();
    // Another vault's root key, though it unseals, opens nothing here.
    let other = Fixture::new().await;
    fs::copy(&other.config.root_key, &fixture.config.root_key).unwrap();
    let its = &other.config.unseal.key_file.as_ref().unwrap().file;
    fs::copy(its, key_file).unwrap();
    assert!(
        Vault::open(&fixture.config, fixture.clock.clone())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_vault_that_was_never_made_does_not_open() {
    let place = TestDatabase::chosen().await;
    let relay = sealpost_envelope::SigningKey::generate(&mut sealpost_envelope::OsEntropy).unwrap();
    let config = crate::fixture::config(&place, &relay);
    let clock = Clock::manual(Timestamp::from_secs(1));
    assert!(matches!(
        Vault::open(&config, clock).await,
        Err(VaultError::NotInitialised)
    ));
    assert_eq!(
        fs::read_dir(place.folder()).unwrap().count(),
        0,
        "and leaves nothing behind"
    );
}
