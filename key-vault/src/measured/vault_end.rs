//! The vault's end of one conversation: the working set of a batch, without the database before and after it.

use std::sync::Arc;

use sealpost_envelope::{Category, MessageId, Peer, pad};
use zeroize::Zeroizing;

use super::{Ciphertext, Device, NOW, NUMBER, PEER, Seeded, device::DEVICE, number};
use crate::{
    conversation::{Conversation, EncryptOrder, Encryption},
    datastore::{ConversationRows, ConversationWrite, SessionRow},
    frame::{self, FrameFields},
    prekey_shelf::Shelf,
    signal::InboundMessage,
};

/// A conversation with a [`Device`], and the rows that it was sealed into last.
pub struct VaultEnd {
    conversation: Conversation,
    rows: Option<ConversationRows>,
    frame: Zeroizing<Vec<u8>>,
    random: Seeded,
}

impl VaultEnd {
    pub(super) fn new(content: usize, mut random: Seeded) -> Self {
        let number = Arc::new(number(&mut random));
        let id = number.subject_id(&Peer::new(PEER).unwrap());
        let fields = FrameFields {
            message_id: MessageId::from_bytes([7; 16]),
            from: NUMBER,
            to: PEER,
            time: NOW,
            category: Category::Utility,
        };
        Self {
            conversation: Conversation::begin(number, id, &mut random).unwrap(),
            rows: None,
            frame: frame::encode(&fields, &pad(&vec![b'a'; content]).unwrap()),
            random,
        }
    }

    pub(super) fn begin(&mut self, device: &Device) -> Ciphertext {
        let bundle = device.bundle();
        self.say(Some(&bundle))
    }

    /// Encrypts the frame, as Admit and Encrypt do.
    ///
    /// # Panics
    /// When there is no session.
    pub fn encrypt(&mut self) -> Ciphertext {
        self.say(None)
    }

    fn say(&mut self, bundle: Option<&crate::bundle::VerifiedBundle>) -> Ciphertext {
        let order = EncryptOrder {
            frame: &self.frame,
            bundle,
            renew: false,
            only: None,
            now: NOW,
        };
        let said = self.conversation.encrypt(&order, &mut self.random.0);
        let Ok(Encryption::Done { ciphertexts, .. }) = said else {
            panic!("there is no session");
        };
        let ciphertext = ciphertexts.into_iter().next().unwrap();
        Ciphertext {
            kind: ciphertext.r#type(),
            bytes: ciphertext.ciphertext.into(),
        }
    }

    /// Parses and decrypts a message within the session and takes it in, as Decrypt does.
    ///
    /// # Panics
    /// When it does not decrypt.
    pub fn decrypt(&mut self, ciphertext: &Ciphertext) -> Zeroizing<Vec<u8>> {
        let mut shelf = Shelf::default();
        let message = InboundMessage::parse(ciphertext.kind, &ciphertext.bytes).unwrap();
        let decrypted =
            self.conversation
                .decrypt(DEVICE, &message, None, &shelf, &mut self.random.0);
        let mut decrypted = decrypted.map_err(|refusal| refusal.as_str_name()).unwrap();
        let plaintext = std::mem::take(&mut decrypted.plaintext);
        self.conversation.commit(decrypted, &mut shelf);
        plaintext
    }

    /// Serialises and seals what changed, as every batch does at its end.
    ///
    /// # Panics
    /// When nothing changed.
    pub fn keep(&mut self) {
        let sealed = self.conversation.seal(&mut self.random).unwrap();
        let (write, _) = sealed.expect("something changed");
        let ConversationWrite {
            subject, sessions, ..
        } = write;
        self.rows = Some(ConversationRows { subject, sessions });
    }

    /// Opens and deserialises its rows, as a batch does that does not find it at hand.
    ///
    /// # Panics
    /// When they do not open.
    pub fn reopen(&mut self) {
        let number = self.conversation.number().clone();
        let rows = self.rows.as_ref().expect("it was kept");
        self.conversation = Conversation::open(number, rows).unwrap();
    }

    /// Bytes of the sealed rows of its subject and its session.
    #[must_use]
    pub fn row_bytes(&self) -> (usize, usize) {
        let rows = self.rows.as_ref();
        let session = |row: &SessionRow| row.sealed.len();
        rows.map_or((0, 0), |rows| {
            let sessions = rows.sessions.iter().map(session).sum();
            (rows.subject.sealed.len(), sessions)
        })
    }

    /// Bytes of the frame that it sends.
    #[must_use]
    pub fn frame_bytes(&self) -> usize {
        self.frame.len()
    }
}
