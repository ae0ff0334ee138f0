//! Edits good bytes into bad ones, and signs them again so that only the check in question can catch them.

use sealpost_envelope::SigningKey;

/// A number that no case is for.
pub(crate) const OTHER_NUMBER: &str = "106540352242923";
/// Five minutes.
pub(crate) const SKEW: u64 = 300_000;

pub(crate) fn edit(bytes: &[u8], at: usize, with: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + with.len()].copy_from_slice(with);
    bytes
}

pub(crate) fn resign_wrap(mut wire: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    let signature = wire.len() - 64;
    let signed = key.sign(&wire[2..signature]);
    wire[signature..].copy_from_slice(&signed);
    wire
}

/// A signed statement has the same frame.
pub(crate) fn resign_statement(wire: &[u8], key: &SigningKey) -> Vec<u8> {
    resign_wrap(wire.to_vec(), key)
}
