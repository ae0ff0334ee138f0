//! Exported messages of a person: the file that an operator made, opened with the business's keys.
//!
//! One JSON object a line, each sealed by a number's vault under a key of its own (`docs/wire-format.md`, "Export"). Who carried the file
//! can leave lines and records out; forge, change or read one he cannot.

use base64::{Engine, engine::general_purpose::STANDARD};
use prost::Message as _;
use sealpost_envelope::{
    Category, Direction, EnvelopeError, MessageId, NumberId, Opener, Peer, UnixMillis,
    UnverifiedWrap, VerifyingKey, WrapDirection,
};
use serde::Deserialize;
use thiserror::Error;

use crate::{BusinessKeys, Content, Pins};

/// A message of an export.
#[derive(Clone, Debug)]
pub struct Exported {
    /// The business's number.
    pub phone_number_id: NumberId,
    /// The person.
    pub peer: Peer,
    /// Outbound or inbound.
    pub direction: Direction,
    /// Its id.
    pub message_id: MessageId,
    /// Why it was sent.
    pub category: Category,
    /// When it was sent, by its sender's clock.
    pub time: UnixMillis,
    /// What it said.
    pub content: Content,
    /// How far an outbound one came. The operator's word: nothing seals it.
    pub status: Option<String>,
    /// When the store kept it, milliseconds since the Unix epoch. The operator's word.
    pub kept_at_ms: u64,
}

/// Why a line does not open. No text here holds what stands in it.
#[derive(Debug, Error)]
pub enum ExportError {
    /// It is no line of an export that this version knows.
    #[error("this is no line of an export")]
    Format,
    /// No vault fingerprint is pinned for its number.
    #[error("no vault fingerprint is pinned for the number")]
    UnknownNumber,
    /// It names another vault key than the pinned one.
    #[error("the vault key is not the pinned one")]
    Untrusted,
    /// It does not open.
    #[error("it does not open: {0}")]
    Envelope(#[from] EnvelopeError),
}

#[derive(Deserialize)]
struct Sheet {
    sealpost_export: u32,
    phone_number_id: String,
    vault_signing_public_key: String,
    wrap: String,
    records: Vec<SealedRecord>,
}

#[derive(Deserialize)]
struct SealedRecord {
    sealed: String,
    status: Option<String>,
    kept_at_ms: u64,
}

/// Opens one line of the file.
///
/// # Errors
/// Why it does not open: then nothing of it is answered.
pub fn open_export(
    keys: &BusinessKeys,
    pins: &Pins,
    line: &str,
) -> Result<Vec<Exported>, ExportError> {
    let sheet: Sheet = serde_json::from_str(line).map_err(|_| ExportError::Format)?;
    if sheet.sealpost_export != 1 {
        return Err(ExportError::Format);
    }
    let number = NumberId::new(&sheet.phone_number_id)?;
    let pin = pins.get(&number).ok_or(ExportError::UnknownNumber)?;
    let signer = key(&sheet.vault_signing_public_key).ok_or(ExportError::Format)?;
    let signer = VerifyingKey::from_bytes(&signer)?;
    if signer.fingerprint() != *pin {
        return Err(ExportError::Untrusted);
    }
    let opener = Opener {
        number: &number,
        direction: WrapDirection::Export,
        sender: &signer,
        recipient: &keys.hpke,
    };
    // An export opens at any time.
    let key = UnverifiedWrap::parse(&bytes(&sheet.wrap)?)?.open(&opener, UnixMillis(0))?;
    let open = |record: SealedRecord| {
        let opened = key.open_export(&bytes(&record.sealed)?)?;
        let header = opened.header;
        Ok(Exported {
            phone_number_id: header.number().clone(),
            peer: header.peer().clone(),
            direction: header.direction(),
            message_id: header.message_id(),
            category: header.category(),
            time: header.time(),
            // It is authentic; that its author wrote what we cannot read is no reason to lose it.
            content: Content::decode(opened.content.as_bytes()).unwrap_or_default(),
            status: record.status,
            kept_at_ms: record.kept_at_ms,
        })
    };
    sheet.records.into_iter().map(open).collect()
}

fn bytes(text: &str) -> Result<Vec<u8>, ExportError> {
    STANDARD.decode(text).map_err(|_| ExportError::Format)
}

fn key(hex: &str) -> Option<[u8; 32]> {
    let mut key = [0; 32];
    let digit = |at: usize| char::from(*hex.as_bytes().get(at)?).to_digit(16);
    for (at, byte) in key.iter_mut().enumerate() {
        *byte = u8::try_from(digit(2 * at)? << 4 | digit(2 * at + 1)?).ok()?;
    }
    (hex.len() == 64).then_some(key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sealpost_envelope::{
        HeaderFields, OsEntropy, Secret, SigningKey, Validity, WrapTerms, pad, seal_wrap,
    };

    use super::*;
    use crate::content;

    const NUMBER: &str = "106540352242922";

    struct Ends {
        keys: BusinessKeys,
        pins: Pins,
        vault: SigningKey,
    }

    impl Ends {
        fn new() -> Self {
            let secret = || Secret::<32>::generate(&mut OsEntropy).unwrap();
            let vault = SigningKey::generate(&mut OsEntropy).unwrap();
            let pins = Pins::from([(NUMBER.parse().unwrap(), vault.verifying_key().fingerprint())]);
            Self {
                keys: BusinessKeys::new(&secret(), &secret(), secret()).unwrap(),
                pins,
                vault,
            }
        }

        fn line(&self, text: &str) -> String {
            let validity = Validity::new(UnixMillis(5), UnixMillis(6)).unwrap();
            let terms =
                WrapTerms::new(NUMBER.parse().unwrap(), WrapDirection::Export, validity).unwrap();
            let business = self.keys.hpke.public_key();
            let (key, wrap) = seal_wrap(&terms, &self.vault, business, &mut OsEntropy).unwrap();
            let fields = HeaderFields {
                direction: Direction::Outbound,
                peer: Peer::new("15551234567").unwrap(),
                message_id: MessageId::from_bytes([1; 16]),
                category: Category::Service,
                time: UnixMillis(4),
            };
            let content = pad(&content::text(text).encode_to_vec()).unwrap();
            let sealed = key.seal_export(&fields, &content, &mut OsEntropy).unwrap();
            let signer: String = self
                .vault
                .verifying_key()
                .as_bytes()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            format!(
                r#"{{"sealpost_export":1,"phone_number_id":"{NUMBER}","vault_signing_public_key":"{signer}","wrap":"{}","records":[{{"sealed":"{}","status":"read","kept_at_ms":7}}]}}"#,
                STANDARD.encode(wrap),
                STANDARD.encode(sealed),
            )
        }
    }

    #[test]
    fn a_line_opens_for_the_business_that_pinned_its_vault() {
        let ends = Ends::new();
        let opened = open_export(&ends.keys, &ends.pins, &ends.line("said")).unwrap();
        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].content, content::text("said"));
        assert_eq!(opened[0].peer.expose(), "15551234567");
        assert_eq!(opened[0].status.as_deref(), Some("read"));
    }

    #[test]
    fn a_line_of_another_vault_for_another_business_or_changed_on_the_way_does_not_open() {
        let (ends, other) = (Ends::new(), Ends::new());
        let line = ends.line("said");
        fn refused(keys: &BusinessKeys, pins: &Pins, line: &str) -> ExportError {
            open_export(keys, pins, line).unwrap_err()
        }
        assert!(matches!(
            refused(&ends.keys, &other.pins, &line),
            ExportError::Untrusted
        ));
        assert!(matches!(
            refused(&other.keys, &ends.pins, &line),
            ExportError::Envelope(EnvelopeError::WrongRecipient)
        ));
        assert!(matches!(
            refused(&ends.keys, &Pins::new(), &line),
            ExportError::UnknownNumber
        ));
        let other_line = ends.line("said");
        let cut = |line: &str| line.split("\"sealed\":\"").nth(1).unwrap()[..40].to_owned();
        let swapped = line.replace(&cut(&line), &cut(&other_line));
        assert!(matches!(
            refused(&ends.keys, &ends.pins, &swapped),
            ExportError::Envelope(EnvelopeError::Undecryptable)
        ));
        assert!(matches!(
            refused(&ends.keys, &ends.pins, "{}"),
            ExportError::Format
        ));
    }
}
