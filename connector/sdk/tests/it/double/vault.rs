//! The vault's end of sealed content.

use std::collections::HashMap;

use prost::Message as _;
use sealpost_envelope::{
    Category, ContentKey, ContentKeyId, Direction, EnvelopeError, HeaderFields, HpkePublicKey,
    HpkeSecretKey, MessageId, NumberId, Opener, OsEntropy, Peer, Secret, SigningKey, UnixMillis,
    UnverifiedHeader, UnverifiedWrap, Validity, VaultKeyStatement, VerifyingKey, WrapDirection,
    WrapTerms, seal_wrap,
};
use sealpost_proto::{
    content::v1::Content,
    envelope::v1::{PublishedVaultKey, SealedMessage},
    gateway::v1::{self as pb, SendError, event},
};

use super::Seeds;

const HOUR: u64 = 3_600_000;

/// One number's vault.
pub struct Vault {
    pub number: NumberId,
    pub signing: SigningKey,
    pub hpke: HpkeSecretKey,
    pub sequence: u64,
    business_signing: VerifyingKey,
    business_hpke: HpkePublicKey,
    known: HashMap<ContentKeyId, ContentKey>,
}

/// A message that the vault opened.
#[derive(Clone, Debug)]
pub struct Opened {
    pub number: String,
    pub peer: String,
    pub message_id: MessageId,
    pub content: Content,
    pub category: Category,
    pub repeated: bool,
}

/// A content key to seal events under, and its wrap.
pub struct Inbound {
    pub key: ContentKey,
    pub wrap: Vec<u8>,
}

impl Vault {
    pub fn new(number: &str, business: &Seeds) -> Self {
        let secret = |seed| Secret::from_bytes(seed);
        let hpke = HpkeSecretKey::from_seed(&secret(business.hpke)).unwrap();
        Self {
            number: number.parse().unwrap(),
            signing: SigningKey::generate(&mut OsEntropy).unwrap(),
            hpke: HpkeSecretKey::generate(&mut OsEntropy).unwrap(),
            sequence: 1,
            business_signing: SigningKey::from_seed(&secret(business.signing)).verifying_key(),
            business_hpke: hpke.public_key().clone(),
            known: HashMap::new(),
        }
    }

    pub fn publish(&self, now: UnixMillis) -> PublishedVaultKey {
        let statement = VaultKeyStatement {
            number: self.number.clone(),
            sequence: self.sequence,
            validity: Validity::new(now, UnixMillis(now.0 + 2 * HOUR)).unwrap(),
            public_key: self.hpke.public_key().clone(),
        };
        PublishedVaultKey {
            statement: statement.sign(&self.signing).into(),
            signing_key_rotations: Vec::new(),
            signing_key: self.signing.verifying_key().as_bytes().to_vec().into(),
        }
    }

    /// Throws the HPKE key away, and every content key with it.
    pub fn rotate_hpke(&mut self) {
        self.hpke = HpkeSecretKey::generate(&mut OsEntropy).unwrap();
        self.sequence += 1;
        self.known.clear();
    }

    /// Forgets content keys, as a restart does.
    pub fn forget(&mut self) {
        self.known.clear();
    }

    pub fn open(
        &mut self,
        item: &pb::OutboundMessage,
        now: UnixMillis,
    ) -> Result<Opened, SendError> {
        if !item.wrap.is_empty() {
            let wrap = UnverifiedWrap::parse(&item.wrap).map_err(|_| SendError::Malformed)?;
            let key = wrap
                .open(
                    &Opener {
                        number: &self.number,
                        direction: WrapDirection::Outbound,
                        sender: &self.business_signing,
                        recipient: &self.hpke,
                    },
                    now,
                )
                .map_err(|error| match error {
                    EnvelopeError::WrongRecipient | EnvelopeError::KeyExpired => {
                        SendError::KeyExpired
                    }
                    _ => SendError::Undecryptable,
                })?;
            self.known.insert(key.id(), key);
        }
        let sealed = item.message.as_ref().ok_or(SendError::Malformed)?;
        let claimed = UnverifiedHeader::parse(&sealed.header).map_err(|_| SendError::Malformed)?;
        let key = self
            .known
            .get(&claimed.content_key_id())
            .ok_or(SendError::UnknownContentKey)?;
        let opened = key
            .open(&sealed.header, &sealed.body, now)
            .map_err(|error| match error {
                EnvelopeError::KeyExpired => SendError::KeyExpired,
                _ => SendError::Undecryptable,
            })?;
        Ok(Opened {
            number: self.number.as_str().to_owned(),
            peer: opened.header.peer().expose().to_owned(),
            message_id: opened.header.message_id(),
            content: Content::decode(opened.content.as_bytes())
                .map_err(|_| SendError::Malformed)?,
            category: opened.header.category(),
            repeated: false,
        })
    }

    /// A content key for events of `number`, wrapped and signed as asked; the vault's own when nothing else is.
    pub fn inbound(&self, number: &str, signer: &SigningKey, now: UnixMillis) -> Inbound {
        let validity = Validity::new(now, UnixMillis(now.0 + HOUR)).unwrap();
        let terms =
            WrapTerms::new(number.parse().unwrap(), WrapDirection::Inbound, validity).unwrap();
        let (key, wrap) = seal_wrap(&terms, signer, &self.business_hpke, &mut OsEntropy).unwrap();
        Inbound { key, wrap }
    }

    pub fn own_inbound(&self, now: UnixMillis) -> Inbound {
        self.inbound(self.number.as_str(), &self.signing, now)
    }
}

impl Inbound {
    pub fn seal(
        &self,
        direction: Direction,
        peer: &str,
        id: [u8; 16],
        content: &[u8],
        now: UnixMillis,
    ) -> SealedMessage {
        let fields = HeaderFields {
            direction,
            peer: Peer::new(peer).unwrap(),
            message_id: MessageId::from_bytes(id),
            category: Category::Service,
            time: now,
        };
        let sealed = self.key.seal(&fields, content, &mut OsEntropy).unwrap();
        SealedMessage {
            header: sealed.header,
            body: sealed.body,
        }
    }

    pub fn message(
        &self,
        number: &str,
        cursor: u64,
        peer: &str,
        id: [u8; 16],
        content: &Content,
        now: UnixMillis,
    ) -> pb::Event {
        let sealed = self.seal(Direction::Inbound, peer, id, &content.encode_to_vec(), now);
        event_of(
            number,
            cursor,
            now,
            event::Event::Message(pb::InboundMessage {
                message: Some(sealed),
            }),
        )
    }

    pub fn status(
        &self,
        number: &str,
        cursor: u64,
        peer: &str,
        id: [u8; 16],
        status: pb::Status,
        now: UnixMillis,
    ) -> pb::Event {
        let header = self.seal(Direction::Status, peer, id, b"", now);
        event_of(
            number,
            cursor,
            now,
            event::Event::Status(pb::StatusChange {
                message_id: id.to_vec().into(),
                status: status.into(),
                error_code: if status == pb::Status::Failed {
                    131_026
                } else {
                    0
                },
                header: Some(header),
            }),
        )
    }

    pub fn response(&self, events: Vec<pb::Event>) -> pb::SubscribeEventsResponse {
        pb::SubscribeEventsResponse {
            wraps: vec![self.wrap.clone().into()],
            events,
        }
    }
}

pub fn event_of(number: &str, cursor: u64, now: UnixMillis, event: event::Event) -> pb::Event {
    pb::Event {
        phone_number_id: number.to_owned(),
        cursor,
        time_ms: now.0,
        event: Some(event),
    }
}
