//! The business's end: seals and opens as a connector does.

use std::{cell::RefCell, collections::HashMap};

use bytes::Bytes;
use sealpost_envelope::{
    Category, ContentKey, ContentKeyId, Direction, EnvelopeError, HeaderFields, HpkeSecretKey,
    MessageId, NumberId, OpenedMessage, Opener, OsEntropy, Peer, SigningKey, UnixMillis,
    UnverifiedHeader, UnverifiedWrap, Validity, VaultKeyCheck, VaultKeyStatement, VerifyingKey,
    WrapDirection, WrapTerms, seal_wrap,
};
use sealpost_proto::{
    envelope::v1::SealedMessage,
    vault::v1::{
        AdmitItem, GetPublishedKeyRequest, ProvisionNumberRequest, ProvisionNumberResponse,
        RegisterBusinessKeysRequest,
    },
};

use crate::fixture::Fixture;

pub struct Business {
    pub number: NumberId,
    hpke: HpkeSecretKey,
    signing: SigningKey,
    vault: Option<VerifyingKey>,
    inbound: RefCell<HashMap<ContentKeyId, ContentKey>>,
}

/// A content key and the wrap that carries it.
pub struct Sealer {
    pub key: ContentKey,
    pub wrap: Vec<u8>,
}

impl Business {
    pub fn new(number: &str) -> Self {
        Self {
            number: NumberId::new(number).unwrap(),
            hpke: HpkeSecretKey::generate(&mut OsEntropy).unwrap(),
            signing: SigningKey::generate(&mut OsEntropy).unwrap(),
            vault: None,
            inbound: RefCell::default(),
        }
    }

    pub fn provision(&self, retention_seconds: u32) -> ProvisionNumberRequest {
        ProvisionNumberRequest {
            phone_number_id: self.number.as_str().to_owned(),
            retention_seconds,
            business_hpke_public_key: self.hpke.public_key().to_bytes().into(),
            business_signing_public_key: self.signing.verifying_key().as_bytes().to_vec().into(),
        }
    }

    pub fn register(&self) -> RegisterBusinessKeysRequest {
        RegisterBusinessKeysRequest {
            phone_number_id: self.number.as_str().to_owned(),
            business_hpke_public_key: self.hpke.public_key().to_bytes().into(),
            business_signing_public_key: self.signing.verifying_key().as_bytes().to_vec().into(),
        }
    }

    pub fn pin(mut self, provisioned: &ProvisionNumberResponse) -> Self {
        let key =
            VerifyingKey::from_bytes(provisioned.vault_signing_public_key[..].try_into().unwrap())
                .unwrap();
        assert_eq!(key.fingerprint().to_string(), provisioned.vault_fingerprint);
        self.vault = Some(key);
        self
    }

    /// Believes this vault key.
    pub fn pin_key(mut self, key: &[u8]) -> Self {
        self.vault = Some(VerifyingKey::from_bytes(key.try_into().unwrap()).unwrap());
        self
    }

    /// Fetches the vault's key, checks it and wraps a new content key to it.
    pub async fn sealer(&self, fixture: &Fixture) -> Sealer {
        let request = GetPublishedKeyRequest {
            phone_number_id: self.number.as_str().to_owned(),
        };
        let published = fixture
            .vault
            .published_key(request)
            .await
            .unwrap()
            .key
            .unwrap();
        let now = UnixMillis(fixture.now().as_millis());
        let check = VaultKeyCheck {
            number: &self.number,
            signer: self.vault.as_ref().unwrap(),
            highest_sequence: 0,
        };
        let key = VaultKeyStatement::verify(&published.statement, &check, now).unwrap();
        let validity = Validity::new(now, UnixMillis(now.0 + 7_200_000)).unwrap();
        let terms = WrapTerms::new(self.number.clone(), WrapDirection::Outbound, validity).unwrap();
        let (key, wrap) =
            seal_wrap(&terms, &self.signing, key.public_key(), &mut OsEntropy).unwrap();
        Sealer { key, wrap }
    }

    /// Opens what the vault exported.
    pub fn open_export(
        &self,
        wrap: &Bytes,
        sealed: &Bytes,
    ) -> Result<OpenedMessage, EnvelopeError> {
        let opener = Opener {
            number: &self.number,
            direction: WrapDirection::Export,
            sender: self.vault.as_ref().unwrap(),
            recipient: &self.hpke,
        };
        UnverifiedWrap::parse(wrap)?
            .open(&opener, UnixMillis(u64::MAX))?
            .open_export(sealed)
    }

    /// Opens what the vault sealed; wraps are kept by id.
    pub fn open(
        &self,
        message: &SealedMessage,
        wrap: &Bytes,
        now_ms: u64,
    ) -> Result<OpenedMessage, EnvelopeError> {
        let now = UnixMillis(now_ms);
        if !wrap.is_empty() {
            let opener = Opener {
                number: &self.number,
                direction: WrapDirection::Inbound,
                sender: self.vault.as_ref().unwrap(),
                recipient: &self.hpke,
            };
            let key = UnverifiedWrap::parse(wrap)?.open(&opener, now)?;
            self.inbound.borrow_mut().insert(key.id(), key);
        }
        let id = UnverifiedHeader::parse(&message.header)?.content_key_id();
        let keys = self.inbound.borrow();
        keys.get(&id)
            .expect("a wrap came before")
            .open(&message.header, &message.body, now)
    }
}

impl Sealer {
    /// A text to `peer`, with the wrap.
    pub fn seal(&self, peer: &str, id: u8, text: &str, now_ms: u64) -> AdmitItem {
        let fields = HeaderFields {
            direction: Direction::Outbound,
            peer: Peer::new(peer).unwrap(),
            message_id: MessageId::from_bytes([id; 16]),
            category: Category::Utility,
            time: UnixMillis(now_ms),
        };
        let sealed = self
            .key
            .seal(&fields, text.as_bytes(), &mut OsEntropy)
            .unwrap();
        AdmitItem {
            phone_number_id: self.key.number().as_str().to_owned(),
            message: Some(SealedMessage {
                header: sealed.header,
                body: sealed.body,
            }),
            wrap: self.wrap.clone().into(),
        }
    }
}
