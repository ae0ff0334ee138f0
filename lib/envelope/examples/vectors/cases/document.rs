//! The shape of `docs/vectors/envelope.json`. All bytes are lowercase hex; all times are Unix milliseconds.

use serde::{Deserialize, Serialize};

/// Bytes that stand in JSON as hex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Hex(String);

impl Hex {
    pub(crate) fn new(bytes: impl AsRef<[u8]>) -> Self {
        Self(hex::encode(bytes))
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        hex::decode(&self.0).unwrap_or_default()
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) about: String,
    pub(crate) message_ids: Vec<MessageIdCase>,
    pub(crate) padding: Vec<PaddingCase>,
    pub(crate) wraps: Vec<WrapCase>,
    pub(crate) messages: Vec<MessageCase>,
    pub(crate) vault_keys: Vec<VaultKeyCase>,
    pub(crate) rotations: Vec<RotationCase>,
    pub(crate) refused_wraps: Vec<RefusedWrap>,
    pub(crate) refused_messages: Vec<RefusedMessage>,
    pub(crate) refused_vault_keys: Vec<RefusedVaultKey>,
    pub(crate) refused_rotations: Vec<RefusedRotation>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct MessageIdCase {
    pub(crate) key: Hex,
    pub(crate) number: String,
    pub(crate) idempotency_key: Hex,
    pub(crate) message_id: Hex,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PaddingCase {
    pub(crate) content_length: usize,
    pub(crate) padded_length: usize,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct WrapCase {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) direction: u8,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) nonce: Hex,
    pub(crate) sender_seed: Hex,
    pub(crate) sender_public_key: Hex,
    pub(crate) sender_key_id: Hex,
    pub(crate) recipient_seed: Hex,
    pub(crate) recipient_public_key: Hex,
    pub(crate) recipient_key_id: Hex,
    pub(crate) encapsulation_randomness: Hex,
    pub(crate) context: Hex,
    pub(crate) enc: Hex,
    pub(crate) ct: Hex,
    pub(crate) signature: Hex,
    pub(crate) wire: Hex,
    pub(crate) now: u64,
    pub(crate) content_key: Hex,
    pub(crate) content_key_id: Hex,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MessageCase {
    pub(crate) name: String,
    /// The name of the wrap whose content key sealed it.
    pub(crate) wrap: String,
    pub(crate) direction: u8,
    pub(crate) peer: String,
    pub(crate) message_id: Hex,
    pub(crate) category: u8,
    pub(crate) time: u64,
    pub(crate) message_key: Hex,
    pub(crate) header: Hex,
    pub(crate) body: Hex,
    pub(crate) now: u64,
    pub(crate) padded: Hex,
    pub(crate) content: Hex,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct VaultKeyCase {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) sequence: u64,
    pub(crate) not_before: u64,
    pub(crate) not_after: u64,
    pub(crate) public_key: Hex,
    pub(crate) key_id: Hex,
    pub(crate) signer_seed: Hex,
    pub(crate) signer_public_key: Hex,
    pub(crate) signer_fingerprint: String,
    pub(crate) statement: Hex,
    pub(crate) wire: Hex,
    pub(crate) now: u64,
    pub(crate) highest_sequence: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RotationCase {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) old_seed: Hex,
    pub(crate) old_public_key: Hex,
    pub(crate) old_key_id: Hex,
    pub(crate) new_public_key: Hex,
    pub(crate) new_fingerprint: String,
    pub(crate) statement: Hex,
    pub(crate) wire: Hex,
}

/// Opened as the wrap named, but for what is said here, it must be refused with `error`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RefusedWrap {
    pub(crate) name: String,
    pub(crate) wrap: String,
    pub(crate) number: String,
    pub(crate) direction: u8,
    pub(crate) now: u64,
    pub(crate) wire: Hex,
    pub(crate) error: String,
}

/// Opened with the content key of the wrap named, it must be refused with `error`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RefusedMessage {
    pub(crate) name: String,
    pub(crate) wrap: String,
    pub(crate) now: u64,
    pub(crate) header: Hex,
    pub(crate) body: Hex,
    pub(crate) error: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RefusedVaultKey {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) signer_public_key: Hex,
    pub(crate) now: u64,
    pub(crate) highest_sequence: u64,
    pub(crate) wire: Hex,
    pub(crate) error: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RefusedRotation {
    pub(crate) name: String,
    pub(crate) number: String,
    pub(crate) pinned_public_key: Hex,
    pub(crate) wire: Hex,
    pub(crate) error: String,
}

impl Document {
    /// The file's text.
    pub(crate) fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).unwrap_or_default();
        json.push('\n');
        json
    }
}
