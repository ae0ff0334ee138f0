//! A business's number: its keys and its facts.
//!
//! Owns what a number consists of and how that is sealed: a key of the number's own under the root key, all else under that
//! key. Invariant: the business's public keys are sealed like secrets, so that whoever can write to the database still
//! cannot have content sealed to a key of his own.

use rand::{CryptoRng, Rng};
use sealpost_envelope::{
    Category, Entropy, EnvelopeError, KeyId, MessageId, NumberId, PaddedContent, Peer, Secret,
    SigningKey,
    kdf::{hmac_sha256, sha256},
};
use zeroize::Zeroizing;

use crate::{
    custody::{Place, RootKey, SealingKey},
    datastore::NumberRow,
    layout::{Reader, put_field8},
    number_facts::Facts,
    record::Direction,
    signal::{LocalIdentity, SignalError},
    subject::{PUBLIC_KEY_LEN, SubjectId},
};

const KEY_VERSION: u32 = 1;
const VERSION: u8 = 1;
const TABLE: &str = "numbers";

/// An open number.
pub(crate) struct Number {
    pub(crate) id: NumberId,
    /// What its rows are sealed under.
    key: SealingKey,
    pub(crate) identity: LocalIdentity,
    lookup: Secret<32>,
    digest: Secret<32>,
    /// The vault signing key that connectors pin.
    pub(crate) signing: SigningKey,
    facts_version: u64,
    pub(crate) facts: Facts,
    /// SHA-256 of its sealed key, which no later number of its id has; of a number that was just made, of nothing.
    row: [u8; 32],
}

/// A number's rows do not open, or hold what no number has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a number's rows do not open")]
pub struct NumberCorrupt;

impl From<EnvelopeError> for NumberCorrupt {
    fn from(_: EnvelopeError) -> Self {
        Self
    }
}

impl From<SignalError> for NumberCorrupt {
    fn from(_: SignalError) -> Self {
        Self
    }
}

impl Number {
    /// Makes every key of a new number.
    ///
    /// # Errors
    /// [`NumberCorrupt`], when there is no randomness.
    pub(crate) fn generate(
        id: NumberId,
        facts: Facts,
        rng: &mut (impl Rng + CryptoRng),
        entropy: &mut dyn Entropy,
    ) -> Result<Self, NumberCorrupt> {
        Ok(Self {
            id,
            key: SealingKey::generate(entropy)?,
            identity: LocalIdentity::generate(rng)?,
            lookup: Secret::generate(entropy)?,
            digest: Secret::generate(entropy)?,
            signing: SigningKey::generate(entropy)?,
            facts_version: 1,
            facts,
            row: sha256(&[]),
        })
    }

    /// Opens a number's row.
    ///
    /// # Errors
    /// [`NumberCorrupt`].
    pub(crate) fn open(root: &RootKey, row: &NumberRow) -> Result<Self, NumberCorrupt> {
        let id = NumberId::new(&row.number)?;
        let key = root.open(&place(&id, "key", 1), &row.sealed_key)?;
        let key = SealingKey::new(Secret::from_slice(&key)?);
        let secrets = key.open(&place(&id, "secrets", 1), &row.sealed_secrets)?;
        let facts = key.open(&place(&id, "facts", row.facts_version), &row.sealed_facts)?;
        let facts = Facts::decode(&facts).ok_or(NumberCorrupt)?;
        let mut number =
            Self::decode(id, key, &secrets, row.facts_version, facts).ok_or(NumberCorrupt)?;
        number.row = sha256(&[&row.sealed_key]);
        Ok(number)
    }

    /// The row of a new number.
    ///
    /// # Errors
    /// [`NumberCorrupt`], when there is no randomness.
    pub(crate) fn seal(
        &self,
        root: &RootKey,
        entropy: &mut dyn Entropy,
    ) -> Result<NumberRow, NumberCorrupt> {
        let key = self.key.secret().expose();
        Ok(NumberRow {
            number: self.id.as_str().to_owned(),
            sealed_key: root.seal(&place(&self.id, "key", 1), key, entropy)?,
            sealed_secrets: self.key.seal(
                &place(&self.id, "secrets", 1),
                &self.encode(),
                entropy,
            )?,
            facts_version: self.facts_version,
            sealed_facts: self.seal_facts(&self.facts, self.facts_version, entropy)?,
        })
    }

    /// Whether its row is as it was opened.
    pub(crate) fn stands(&self, facts_version: u64, sealed_key: &[u8]) -> bool {
        self.facts_version == facts_version && self.row == sha256(&[sealed_key])
    }

    /// New facts for its row: the version to write and the sealed bytes.
    ///
    /// # Errors
    /// [`NumberCorrupt`], when there is no randomness.
    pub(crate) fn next_facts(
        &self,
        facts: &Facts,
        entropy: &mut dyn Entropy,
    ) -> Result<(u64, Vec<u8>), NumberCorrupt> {
        let version = self.facts_version + 1;
        Ok((version, self.seal_facts(facts, version, entropy)?))
    }

    /// Seals a row of one of its tables.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn seal_row(
        &self,
        table: &'static str,
        row: &[u8],
        row_version: u64,
        plaintext: &[u8],
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, EnvelopeError> {
        self.key
            .seal(&self.row_place(table, row, row_version), plaintext, entropy)
    }

    /// Opens a row of one of its tables.
    ///
    /// # Errors
    /// [`EnvelopeError::Undecryptable`].
    pub(crate) fn open_row(
        &self,
        table: &'static str,
        row: &[u8],
        row_version: u64,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.key
            .open(&self.row_place(table, row, row_version), sealed)
    }

    /// What no other number has, nor a later one of this id: the first half of its signing key's fingerprint.
    pub(crate) fn fingerprint(&self) -> [u8; 16] {
        let mut half = [0; 16];
        half.copy_from_slice(&self.signing.verifying_key().fingerprint().as_bytes()[..16]);
        half
    }

    /// Which subject a phone number is.
    pub(crate) fn subject_id(&self, peer: &Peer) -> SubjectId {
        let mac = hmac_sha256(&self.lookup, &[peer.expose().as_bytes()]);
        let mut id = [0; 16];
        id.copy_from_slice(&mac[..16]);
        SubjectId(id)
    }

    /// The keyed digest of what is said to whom: equal for a retry, which has another time, key and nonce; different for
    /// anything else.
    pub(crate) fn message_digest(
        &self,
        direction: Direction,
        peer: &Peer,
        message_id: MessageId,
        category: Category,
        content: &PaddedContent,
    ) -> [u8; 32] {
        let mut head = vec![direction as u8];
        put_field8(&mut head, self.id.as_str().as_bytes());
        put_field8(&mut head, peer.expose().as_bytes());
        head.extend_from_slice(message_id.as_bytes());
        head.push(category as u8);
        hmac_sha256(&self.digest, &[&head, content.as_bytes()])
    }

    /// Names of the business's keys, when there are any.
    pub(crate) fn business_key_ids(&self) -> Option<(KeyId, KeyId)> {
        self.facts
            .business
            .as_ref()
            .map(|keys| (keys.hpke.key_id(), keys.signing.key_id()))
    }

    fn row_place<'a>(&'a self, table: &'static str, row: &'a [u8], row_version: u64) -> Place<'a> {
        Place {
            table,
            column: "sealed",
            row,
            number: self.id.as_str(),
            key_version: KEY_VERSION,
            row_version,
        }
    }

    fn seal_facts(
        &self,
        facts: &Facts,
        version: u64,
        entropy: &mut dyn Entropy,
    ) -> Result<Vec<u8>, EnvelopeError> {
        self.key
            .seal(&place(&self.id, "facts", version), &facts.encode(), entropy)
    }

    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(256));
        out.push(VERSION);
        out.extend_from_slice(self.identity.private().expose());
        out.extend_from_slice(self.identity.public());
        out.extend_from_slice(&self.identity.registration_id().to_be_bytes());
        out.extend_from_slice(self.lookup.expose());
        out.extend_from_slice(self.digest.expose());
        out.extend_from_slice(self.signing.seed().expose());
        out
    }

    fn decode(
        id: NumberId,
        key: SealingKey,
        secrets: &[u8],
        facts_version: u64,
        facts: Facts,
    ) -> Option<Self> {
        let mut reader = Reader::new(secrets);
        if reader.byte()? != VERSION {
            return None;
        }
        let (private, public) = (reader.take(32)?, reader.take(PUBLIC_KEY_LEN)?);
        let identity = LocalIdentity::from_parts(private, public, reader.u32()?).ok()?;
        let lookup = Secret::from_slice(reader.take(32)?).ok()?;
        let digest = Secret::from_slice(reader.take(32)?).ok()?;
        let signing = SigningKey::from_seed(&Secret::from_slice(reader.take(32)?).ok()?);
        reader.finish()?;
        Some(Self {
            id,
            key,
            identity,
            lookup,
            digest,
            signing,
            facts_version,
            facts,
            row: sha256(&[]),
        })
    }
}

fn place<'a>(id: &'a NumberId, column: &'static str, row_version: u64) -> Place<'a> {
    let number = id.as_str();
    Place {
        table: TABLE,
        column,
        row: number.as_bytes(),
        number,
        key_version: KEY_VERSION,
        row_version,
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use rand::{TryRngCore, rngs::OsRng};
    use sealpost_envelope::{HpkeSecretKey, OsEntropy, pad};

    use super::*;
    use crate::{epoch::Retention, number_facts::BusinessKeys};

    /// A number with business keys that nobody has the other half of.
    pub(crate) fn number(id: &str) -> Number {
        let hpke = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        let signing = SigningKey::generate(&mut OsEntropy).unwrap();
        let business = BusinessKeys {
            hpke: hpke.public_key().clone(),
            signing: signing.verifying_key(),
        };
        let facts = Facts {
            retention: Retention::new(86_400).unwrap(),
            business: Some(business),
        };
        Number::generate(
            NumberId::new(id).unwrap(),
            facts,
            &mut OsRng.unwrap_err(),
            &mut OsEntropy,
        )
        .unwrap()
    }

    fn root() -> RootKey {
        RootKey::generate(&mut OsEntropy).unwrap()
    }

    #[test]
    fn a_number_opens_from_its_row_with_all_it_had() {
        let root = root();
        let made = number("1065");
        let opened = Number::open(&root, &made.seal(&root, &mut OsEntropy).unwrap()).unwrap();
        assert_eq!(opened.identity.public(), made.identity.public());
        assert_eq!(opened.signing.verifying_key(), made.signing.verifying_key());
        assert_eq!(opened.business_key_ids(), made.business_key_ids());
        let peer = Peer::new("15551234567").unwrap();
        assert_eq!(opened.subject_id(&peer), made.subject_id(&peer));
    }

    #[test]
    fn a_row_moved_to_another_number_or_mixed_with_one_does_not_open() {
        let root = root();
        let one = number("1065").seal(&root, &mut OsEntropy).unwrap();
        let two = number("1066").seal(&root, &mut OsEntropy).unwrap();
        for bad in [
            NumberRow {
                number: "1066".to_owned(),
                ..one.clone()
            },
            NumberRow {
                sealed_key: two.sealed_key.clone(),
                ..one.clone()
            },
            NumberRow {
                sealed_secrets: two.sealed_secrets.clone(),
                ..one.clone()
            },
            NumberRow {
                sealed_facts: two.sealed_facts.clone(),
                ..one.clone()
            },
            NumberRow {
                facts_version: 2,
                ..one.clone()
            },
        ] {
            assert_eq!(Number::open(&root, &bad).err(), Some(NumberCorrupt));
        }
        assert!(Number::open(&root, &one).is_ok());
    }

    #[test]
    fn a_digest_covers_whom_what_and_under_which_id_but_not_when() {
        let number = number("1065");
        let peer = |digits| Peer::new(digits).unwrap();
        let id = |byte| MessageId::from_bytes([byte; 16]);
        let content = |text: &[u8]| pad(text).unwrap();
        let digest = |digits, byte, category, text| {
            number.message_digest(
                Direction::Outbound,
                &peer(digits),
                id(byte),
                category,
                &content(text),
            )
        };
        let first = digest("15551234567", 1, Category::Service, b"a");
        assert_eq!(first, digest("15551234567", 1, Category::Service, b"a"));
        assert_ne!(first, digest("15551234568", 1, Category::Service, b"a"));
        assert_ne!(first, digest("15551234567", 2, Category::Service, b"a"));
        assert_ne!(first, digest("15551234567", 1, Category::Utility, b"a"));
        assert_ne!(first, digest("15551234567", 1, Category::Service, b"b"));
    }

    #[test]
    fn subjects_of_two_numbers_are_not_linked() {
        let peer = Peer::new("15551234567").unwrap();
        assert_ne!(
            number("1065").subject_id(&peer),
            number("1066").subject_id(&peer)
        );
    }
}
