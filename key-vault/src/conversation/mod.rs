//! A conversation: one subject of one number with its sessions, in memory for one batch.
//!
//! Owns what a message does to it. Pure: rows come in sealed and go out sealed; items of one batch chain on it. Invariant: an
//! item that fails leaves it as it was.
//!
//! Only a bundle that the relay signed says which devices a peer has and which identity key. An inbound message that shows
//! another key than the pinned one is not looked at without such a bundle: so no gateway can make the vault encrypt to a device
//! of its own, or believe a sender of its own.

mod next;
mod rows;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rand::{CryptoRng, Rng};
use sealpost_envelope::{Entropy, EnvelopeError};
use sealpost_proto::{
    signal::v1::{DeviceAddress, DeviceCiphertext},
    vault::v1::Refusal,
};
use sealpost_runtime::Timestamp;
use zeroize::Zeroizing;

use next::Next;

use crate::{
    bundle::VerifiedBundle,
    number::Number,
    prekey_shelf::{Shelf, Spent},
    signal::{Ends, InboundMessage, Session, SignalError, pinned_identity_key},
    subject::{Subject, SubjectId, Tag},
};

/// A conversation at work.
pub(crate) struct Conversation {
    number: Arc<Number>,
    id: SubjectId,
    tag: Tag,
    /// Row version as loaded; 0 when there is no row yet.
    version: u64,
    subject: Subject,
    /// Device → its session's row, as loaded or last sealed.
    loaded: BTreeMap<u8, SessionLoaded>,
    sessions: BTreeMap<u8, Session>,
    /// Devices whose session is another than loaded.
    moved: BTreeSet<u8>,
    changed: bool,
    spent: Vec<Spent>,
}

/// What is known of a session's row.
#[derive(Clone, Copy)]
struct SessionLoaded {
    version: u64,
    /// Of its sealed bytes.
    length: usize,
}

/// How a frame is to be encrypted.
#[derive(Clone, Copy)]
pub(crate) struct EncryptOrder<'a> {
    pub(crate) frame: &'a [u8],
    pub(crate) bundle: Option<&'a VerifiedBundle>,
    /// Make the sessions anew.
    pub(crate) renew: bool,
    /// Only for this device.
    pub(crate) only: Option<u8>,
    pub(crate) now: Timestamp,
}

/// What came of it.
pub(crate) enum Encryption {
    Done {
        ciphertexts: Vec<DeviceCiphertext>,
        identity_changed: bool,
    },
    /// A bundle is needed; these devices need no prekeys in it.
    SessionRequired(Vec<DeviceAddress>),
}

/// A decrypted message, not yet taken into the conversation.
pub(crate) struct Decrypted {
    pub(crate) plaintext: Zeroizing<Vec<u8>>,
    pub(crate) identity_changed: bool,
    next: Next,
    used: Option<crate::signal::Used>,
}

impl Conversation {
    /// With someone never met before.
    ///
    /// # Errors
    /// [`EnvelopeError::NoRandomness`].
    pub(crate) fn begin(
        number: Arc<Number>,
        id: SubjectId,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, EnvelopeError> {
        let subject = Subject::generate(entropy)?;
        Ok(Self {
            number,
            id,
            tag: subject.tag()?,
            version: 0,
            subject,
            loaded: BTreeMap::new(),
            sessions: BTreeMap::new(),
            moved: BTreeSet::new(),
            changed: false,
            spent: Vec::new(),
        })
    }

    pub(crate) fn number(&self) -> &Arc<Number> {
        &self.number
    }

    /// The number as it stands now.
    pub(crate) fn set_number(&mut self, number: Arc<Number>) {
        self.number = number;
    }

    /// About how many bytes of memory it takes: a session in memory is about twice as large as its row.
    pub(crate) fn weight(&self) -> usize {
        const BESIDE: usize = 1024;
        let rows: usize = self.loaded.values().map(|session| session.length).sum();
        BESIDE + 2 * rows
    }

    /// Whether a message of a device belongs to the session that it has: it needs no prekeys then.
    pub(crate) fn goes_on(&self, device: u8, message: &InboundMessage) -> bool {
        let session = self.sessions.get(&device);
        session.is_some_and(|session| session.began_with(message))
    }

    pub(crate) fn id(&self) -> SubjectId {
        self.id
    }

    pub(crate) fn tag(&self) -> Tag {
        self.tag
    }

    pub(crate) fn subject(&self) -> &Subject {
        &self.subject
    }

    /// Counts an outbound message; answers its sequence, and whether nothing before it waits.
    pub(crate) fn accept(&mut self) -> (u64, bool) {
        let facts = &mut self.subject.facts;
        let nothing_waits = facts.encrypted_through == facts.accepted;
        facts.accepted += 1;
        self.changed = true;
        (facts.accepted, nothing_waits)
    }

    /// Notes that an outbound message was encrypted. The sequence comes from a record's outside and is believed only as far
    /// as messages were accepted.
    pub(crate) fn encrypted_through(&mut self, sequence: u64) {
        let facts = &mut self.subject.facts;
        facts.encrypted_through = facts.encrypted_through.max(sequence.min(facts.accepted));
        self.changed = true;
    }

    /// Counts an inbound message; answers its sequence.
    pub(crate) fn receive(&mut self) -> u64 {
        self.subject.facts.received += 1;
        self.changed = true;
        self.subject.facts.received
    }

    /// Encrypts a frame for every known device, or for one.
    ///
    /// # Errors
    /// [`Refusal::BundleInvalid`] when the bundle lacks or forges what is needed of it.
    pub(crate) fn encrypt(
        &mut self,
        order: &EncryptOrder<'_>,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<Encryption, Refusal> {
        let mut next = self.next();
        let identity_changed = match order.bundle {
            Some(bundle) => next.take_devices(bundle)?,
            None => false,
        };
        next.facts.change_untold |= identity_changed;
        let targets: Vec<u8> = match order.only {
            Some(device) => next
                .facts
                .devices
                .contains_key(&device)
                .then_some(device)
                .into_iter()
                .collect(),
            None => next.facts.devices.keys().copied().collect(),
        };
        if targets.is_empty() {
            return match order.bundle {
                Some(_) => Err(Refusal::BundleInvalid),
                None => Ok(self.session_required(order)),
            };
        }
        let identity = next.identity().map_err(|_| Refusal::Undecryptable)?;
        let mut ciphertexts = Vec::with_capacity(targets.len());
        for device in targets {
            let ends = Ends {
                local: &self.number.identity,
                subject: self.id,
                device,
                identity,
            };
            let known = next.sessions.get(&device);
            let registration_id = next.facts.devices.get(&device).copied();
            // A session that a message under another device's name made is none with this device.
            let serves = |session: &&Session| {
                !order.renew
                    && session.registration_id() == registration_id
                    && session.can_send(order.now)
            };
            let mut session = match known.filter(serves) {
                Some(session) => session.clone(),
                None => {
                    let Some(bundle) = order.bundle else {
                        return Ok(self.session_required(order));
                    };
                    let offer = bundle
                        .devices
                        .get(&device)
                        .and_then(|offer| offer.prekeys.as_ref());
                    let offer = offer.ok_or(Refusal::BundleInvalid)?;
                    Session::begin(&ends, known, offer, order.now, rng)
                        .map_err(|_| Refusal::BundleInvalid)?
                }
            };
            let (kind, ciphertext) = session
                .encrypt(&ends, order.frame, order.now, rng)
                .map_err(|_| Refusal::Undecryptable)?;
            next.put(device, session);
            ciphertexts.push(DeviceCiphertext {
                device: Some(DeviceAddress {
                    device_id: device.into(),
                    registration_id: registration_id.unwrap_or(0),
                }),
                r#type: kind.into(),
                ciphertext: ciphertext.into(),
            });
        }
        self.take(next);
        Ok(Encryption::Done {
            ciphertexts,
            identity_changed,
        })
    }

    /// Whether a message shows an identity key that is not the pinned one, so that the relay must vouch for its sender.
    pub(crate) fn is_strange(&self, message: &InboundMessage) -> bool {
        let pinned = self.subject.facts.identity;
        message
            .identity()
            .is_some_and(|shown| pinned.is_none_or(|pinned| pinned[..] != shown.serialize()[..]))
    }

    /// Decrypts a message of a device. The conversation is as before until [`Conversation::commit`]. `voucher` is what the
    /// relay says of the peer, where the message is a strange one.
    ///
    /// # Errors
    /// [`Refusal::SenderUnverified`], [`Refusal::BundleInvalid`], [`Refusal::Duplicate`] or [`Refusal::Undecryptable`].
    pub(crate) fn decrypt(
        &self,
        device: u8,
        message: &InboundMessage,
        voucher: Option<&VerifiedBundle>,
        shelf: &Shelf,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<Decrypted, Refusal> {
        let mut next = self.next();
        let mut identity_changed = false;
        if self.is_strange(message) {
            let voucher = voucher
                .filter(|voucher| voucher.vouches_for(device, message))
                .ok_or(Refusal::SenderUnverified)?;
            // With another identity, what was said to and by the old one is over.
            identity_changed = next.take_devices(voucher)?;
        }
        identity_changed |= std::mem::take(&mut next.facts.change_untold);
        self.try_decrypt(next, device, message, shelf, rng)
            .map(|(plaintext, next, used)| Decrypted {
                plaintext,
                identity_changed,
                next,
                used,
            })
            .map_err(|error| match error {
                SignalError::Duplicate => Refusal::Duplicate,
                SignalError::Malformed
                | SignalError::Undecryptable
                | SignalError::Bundle
                | SignalError::State => Refusal::Undecryptable,
            })
    }

    /// Takes a decrypted message in.
    pub(crate) fn commit(&mut self, decrypted: Decrypted, shelf: &mut Shelf) {
        if let Some(used) = decrypted.used {
            self.spent.push(shelf.spend(used));
        }
        self.take(decrypted.next);
    }

    #[allow(clippy::type_complexity, reason = "read once, above")]
    fn try_decrypt(
        &self,
        mut next: Next,
        device: u8,
        message: &InboundMessage,
        shelf: &Shelf,
        rng: &mut (impl Rng + CryptoRng),
    ) -> Result<(Zeroizing<Vec<u8>>, Next, Option<crate::signal::Used>), SignalError> {
        let pinned = next.facts.identity.ok_or(SignalError::Undecryptable)?;
        let ends = Ends {
            local: &self.number.identity,
            subject: self.id,
            device,
            identity: pinned_identity_key(&pinned)?,
        };
        let prekeys = shelf.offer(&self.number, message)?;
        let decryption =
            Session::decrypt(&ends, next.sessions.get(&device), message, &prekeys, rng)?;
        next.put(device, decryption.session);
        Ok((decryption.plaintext, next, decryption.used))
    }

    /// Asks for a bundle without prekeys for the devices whose sessions stay in use.
    fn session_required(&self, order: &EncryptOrder<'_>) -> Encryption {
        let kept = |device: &u8| !(order.renew && order.only.is_none_or(|only| only == *device));
        let known = self
            .sessions
            .iter()
            .filter(|(device, session)| kept(device) && session.can_send(order.now))
            .filter_map(|(device, session)| {
                Some(DeviceAddress {
                    device_id: u32::from(*device),
                    registration_id: session.registration_id()?,
                })
            })
            .collect();
        Encryption::SessionRequired(known)
    }

    fn next(&self) -> Next {
        Next {
            facts: self.subject.facts.clone(),
            sessions: self.sessions.clone(),
            moved: self.moved.clone(),
        }
    }

    fn take(&mut self, next: Next) {
        self.subject.facts = next.facts;
        self.sessions = next.sessions;
        self.moved = next.moved;
        self.changed = true;
    }
}
