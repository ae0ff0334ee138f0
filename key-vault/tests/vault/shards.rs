//! Several vaults on one database, one root key and one keyring.

use std::{collections::BTreeSet, mem, time::Duration};

use libsignal_protocol::{PreKeySignalMessage, SignalMessage};
use sealpost_key_vault::{Vault, service::ShardWatch};
use sealpost_proto::{
    signal::v1::{CiphertextType, DeviceCiphertext},
    vault::v1::{EncryptRequest, Refusal, ShardHolder, encrypt_outcome::Outcome},
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{
    consumer::{Consumer, PHONE},
    fixture::{Fixture, NUMBER},
    outbound::{encrypted, item},
};

/// The conversation of these tests, as the contract counts it.
const SHARD: u32 = 48;

impl Fixture {
    /// Another vault on the same database, by its own name.
    async fn beside(&self, name: &str) -> Vault {
        let mut config = self.config.clone();
        config.name = Some(name.to_owned());
        Vault::open(&config, self.clock.clone()).await.unwrap()
    }

    /// What a takeover leaves in the table.
    async fn give_all_to(&self, name: &str) {
        self.tamper(&format!(
            "UPDATE shards SET holder = '{name}', token = token + 1"
        ))
        .await;
    }
}

/// What a vault has said of all shards.
struct Told {
    watch: ShardWatch,
    all: Vec<ShardHolder>,
}

impl Told {
    fn by(vault: &Vault) -> Self {
        Self {
            watch: vault.watch_shards(),
            all: vec![ShardHolder::default(); 64],
        }
    }

    /// Listens until what was said is `so`.
    async fn until(&mut self, so: impl Fn(&[ShardHolder]) -> bool) {
        let listening = timeout(Duration::from_secs(60), async {
            while !so(&self.all) {
                assert!(self.watch.changed().await);
                for one in self.watch.news().into_iter().flat_map(|news| news.shards) {
                    let known = &mut self.all[usize::try_from(one.shard).unwrap()];
                    assert!(one.token >= known.token, "a token went back");
                    *known = one;
                }
            }
        });
        listening.await.expect("the shards did not come to that");
    }
}

fn held_by(all: &[ShardHolder], name: &str) -> usize {
    all.iter().filter(|one| one.holder == name).count()
}

/// Which message key made a ciphertext: the chain that it is of, and its place there.
fn message_key(ciphertext: &DeviceCiphertext) -> (Vec<u8>, u32) {
    let bytes = &ciphertext.ciphertext[..];
    let message = match CiphertextType::try_from(ciphertext.r#type).unwrap() {
        CiphertextType::PrekeyMessage => PreKeySignalMessage::try_from(bytes)
            .unwrap()
            .message()
            .clone(),
        _ => SignalMessage::try_from(bytes).unwrap(),
    };
    (
        message.sender_ratchet_key().serialize().to_vec(),
        message.counter(),
    )
}

#[tokio::test]
async fn only_the_holder_of_a_shard_works_on_its_conversations() {
    let mut fixture = Fixture::new().await;
    let (business, provisioned) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let seal = |id| sealer.seal(PHONE, id, "text", now.as_millis());
    let record = fixture.admit(seal(1)).await.unwrap().record.unwrap();
    consumer
        .begin(
            &fixture.relay,
            provisioned.upload.as_ref().unwrap(),
            Some(0),
            now,
        )
        .await;
    let arrival = consumer.send(1, "hi", now).await;

    // The first one lives: the second takes nothing from it.
    let mut other = fixture.beside("other").await;
    mem::swap(&mut fixture.vault, &mut other);
    assert_eq!(
        fixture.admit(seal(2)).await.err(),
        Some(Refusal::ShardElsewhere)
    );
    assert_eq!(
        fixture.decrypt(arrival.clone()).await.err(),
        Some(Refusal::ShardElsewhere)
    );
    let order = EncryptRequest {
        batch_id: 1,
        items: vec![item(&record, None)],
    };
    let refused = fixture
        .vault
        .encrypt(order)
        .await
        .unwrap()
        .outcomes
        .remove(0);
    assert_eq!(
        refused.outcome,
        Some(Outcome::Refused(Refusal::ShardElsewhere.into()))
    );
    assert_eq!(refused.shard, SHARD);

    // The table gives them to the second, and neither has heard of it: nobody works on them.
    let before = fixture
        .count("(SELECT 1 FROM subjects WHERE row_version > 1) AS found")
        .await;
    fixture.give_all_to("other").await;
    for _ in 0..2 {
        assert_eq!(
            fixture.admit(seal(2)).await.err(),
            Some(Refusal::ShardElsewhere)
        );
        assert_eq!(
            fixture.decrypt(arrival.clone()).await.err(),
            Some(Refusal::ShardElsewhere)
        );
        assert!(fixture.encrypt(item(&record, None)).await.is_err());
        mem::swap(&mut fixture.vault, &mut other);
    }
    let after = fixture
        .count("(SELECT 1 FROM subjects WHERE row_version > 1) AS found")
        .await;
    assert_eq!(before, after);

    // Its next round tells the second, and it goes on with what the first left.
    let stop = CancellationToken::new();
    let mut told = Told::by(&fixture.vault);
    let holding = tokio::spawn(fixture.vault.clone().keep_shards(stop.clone()));
    told.until(|all| held_by(all, "other") > 0).await;
    stop.cancel();
    holding.await.unwrap();
}

#[tokio::test]
async fn of_a_batch_only_the_items_of_shards_that_are_elsewhere_are_refused() {
    let fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now().as_millis();
    let give =
        format!("UPDATE shards SET holder = 'other', token = token + 1 WHERE shard = {SHARD}");
    fixture.tamper(&give).await;
    let items = vec![
        sealer.seal(PHONE, 1, "elsewhere", now),
        sealer.seal("15551234568", 2, "here", now),
        sealer.seal(PHONE, 3, "elsewhere", now),
    ];
    let outcomes = fixture.admit_all(items).await.unwrap();
    let refused: Vec<_> = outcomes.into_iter().map(Result::err).collect();
    let elsewhere = Some(Refusal::ShardElsewhere);
    assert_eq!(refused, [elsewhere, None, elsewhere]);
    assert_eq!(fixture.count("subjects").await, 1);
}

#[tokio::test]
async fn a_process_whose_name_was_taken_over_while_it_hung_commits_nothing_more() {
    let mut fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let sealer = business.sealer(&fixture).await;
    let now = fixture.now();
    let seal = |id| sealer.seal(PHONE, id, "text", now.as_millis());
    fixture.admit(seal(1)).await.unwrap();

    let mut newer = Vault::open(&fixture.config, fixture.clock.clone())
        .await
        .unwrap();
    assert_eq!(
        fixture.admit(seal(2)).await.err(),
        Some(Refusal::ShardElsewhere)
    );
    mem::swap(&mut fixture.vault, &mut newer);
    let admitted = fixture.admit(seal(2)).await.unwrap();
    assert_eq!(
        admitted.record.unwrap().sequence,
        2,
        "the refused one left nothing"
    );
}

#[tokio::test]
async fn two_vaults_share_fairly_and_one_that_leaves_hands_on_all_at_once() {
    let fixture = Fixture::new().await;
    let first = fixture.vault.clone();
    let second = fixture.beside("other").await;
    let mut told = Told::by(&second);
    let (stop, leave) = (CancellationToken::new(), CancellationToken::new());
    let holding = [
        tokio::spawn(first.keep_shards(leave.clone())),
        tokio::spawn(second.keep_shards(stop.clone())),
    ];
    told.until(|all| held_by(all, "key-vault") == 32 && held_by(all, "other") == 32)
        .await;
    leave.cancel();
    told.until(|all| held_by(all, "other") == 64).await;
    stop.cancel();
    for held in holding {
        held.await.unwrap();
    }
}

#[tokio::test]
async fn a_conversation_that_changes_its_vault_with_every_message_never_meets_a_message_key_twice()
{
    let mut fixture = Fixture::new().await;
    let (business, _) = fixture.number(NUMBER, 0).await;
    let mut consumer = Consumer::new(PHONE, NUMBER);
    let now = fixture.now();
    let sealer = business.sealer(&fixture).await;
    let seal = |id| sealer.seal(PHONE, id, "text", now.as_millis());
    let record = fixture.admit(seal(1)).await.unwrap().record.unwrap();
    let bundle = consumer.bundle(&fixture.relay, now).await;
    let mut made = encrypted(fixture.encrypt(item(&record, Some(bundle))).await).ciphertexts;

    for id in 2..12 {
        // As after a failover: a vault of another name finds everything in the tables, and takes it.
        fixture.tamper("DELETE FROM vaults").await;
        fixture.vault = fixture.beside(["a", "b"][usize::from(id % 2)]).await;
        // The first vault was shown the wrap of the content key; each other one says that it does not know it.
        let mut bare = seal(id);
        let wrap = mem::take(&mut bare.wrap);
        assert_eq!(
            fixture.admit(bare.clone()).await.err(),
            Some(Refusal::UnknownContentKey)
        );
        bare.wrap = wrap;
        made.extend(fixture.admit(bare).await.unwrap().ciphertexts);
        made.extend(encrypted(fixture.encrypt(item(&record, None)).await).ciphertexts);
    }
    let keys: BTreeSet<_> = made.iter().map(message_key).collect();
    assert_eq!((made.len(), keys.len()), (21, 21));
    for ciphertext in &made {
        assert_eq!(consumer.receive(ciphertext).await.text, "text");
    }
}
