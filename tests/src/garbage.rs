//! Messages that parse and make no sense: every field of a type filled with something absurd, at any depth.
//!
//! Driven by the contracts, so that a new field is covered the day it is written. The same seed makes the same garbage.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes};
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

use crate::contracts::contracts;

/// Nothing deeper is filled: types may contain themselves.
const DEPTH: usize = 6;
/// A list in a crowded message.
const CROWD: usize = 600;
/// Stays under what any face reads, so that the fields are looked at.
const ROOM: usize = 3 * 1024 * 1024;

/// Words that a string field may get. Real ids among them, so that some garbage passes the first look.
const WORDS: &[&str] = &[
    "",
    "\0",
    "-1",
    "../../../../etc/passwd",
    "' OR 1=1; DROP TABLE numbers; --",
    "٠١٢٣٤٥٦٧٨٩",
    "\u{202e}\u{feff}💥",
    "00000000000000000000000000000000000000000000000000",
    "999999999999999999999999999999999",
    "15550200000",
];
const LENGTHS: &[usize] = &[
    0, 1, 12, 15, 16, 17, 31, 32, 33, 64, 65, 1_120, 1_216, 1_569, 70_000, 140_000,
];

/// Makes garbage of the contracts' types.
pub struct Garbage {
    types: BTreeMap<String, DescriptorProto>,
    rng: StdRng,
    /// Strings of the suite under test: ids that exist.
    known: Vec<String>,
}

impl Garbage {
    /// With a seed, and strings that exist in the suite under test.
    ///
    /// # Errors
    /// When the contracts do not read.
    pub fn new(seed: u64, known: Vec<String>) -> anyhow::Result<Self> {
        let mut types = BTreeMap::new();
        for file in contracts()?.file {
            for message in &file.message_type {
                types.insert(
                    format!(".{}.{}", file.package(), message.name()),
                    message.clone(),
                );
            }
        }
        Ok(Self {
            types,
            rng: StdRng::seed_from_u64(seed),
            known,
        })
    }

    /// Random bytes.
    pub fn noise(&mut self, length: usize) -> Bytes {
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        bytes.into()
    }

    /// A message of that type with absurd fields.
    pub fn absurd(&mut self, name: &str) -> Bytes {
        let mut out = Vec::new();
        self.fill(name, &mut out, DEPTH, false);
        out.into()
    }

    /// The same with far too many items in each list.
    pub fn crowded(&mut self, name: &str) -> Bytes {
        let mut out = Vec::new();
        self.fill(name, &mut out, DEPTH, true);
        out.into()
    }

    /// A message of that type whose strings are not UTF-8; none when it has no string at its top.
    #[must_use]
    pub fn not_utf8(&self, name: &str) -> Option<Bytes> {
        let field = self
            .types
            .get(name)?
            .field
            .iter()
            .find(|field| field.r#type() == Type::String)?;
        let mut out = Vec::new();
        put_bytes(&mut out, number(field), &[0xff, 0xfe, 0x80]);
        Some(out.into())
    }

    fn fill(&mut self, name: &str, out: &mut Vec<u8>, depth: usize, crowd: bool) {
        let Some(described) = self.types.get(name).cloned() else {
            return;
        };
        for field in &described.field {
            // Now and then a field is absent, as the first thing that a reader forgets.
            if !crowd && self.rng.random_ratio(1, 8) {
                continue;
            }
            let count = match (field.label() == Label::Repeated, crowd) {
                (true, true) => CROWD,
                (true, false) => self.rng.random_range(1..4),
                (false, _) => 1,
            };
            for _ in 0..count {
                if out.len() < ROOM {
                    self.put(field, out, depth, crowd);
                }
            }
        }
    }

    fn put(&mut self, field: &FieldDescriptorProto, out: &mut Vec<u8>, depth: usize, crowd: bool) {
        let tag = number(field);
        match field.r#type() {
            Type::Message if depth == 0 => {}
            Type::Message => {
                let mut inner = Vec::new();
                self.fill(field.type_name(), &mut inner, depth - 1, false);
                if !crowd || inner.len() < ROOM / CROWD {
                    put_bytes(out, tag, &inner);
                } else {
                    put_bytes(out, tag, &[]);
                }
            }
            Type::String => {
                let word = self.word();
                put_bytes(out, tag, word.as_bytes());
            }
            Type::Bytes => {
                let most = if crowd { 4 } else { LENGTHS.len() };
                let length = LENGTHS[self.rng.random_range(0..most)];
                let bytes = if self.rng.random() {
                    self.noise(length)
                } else {
                    vec![0; length].into()
                };
                put_bytes(out, tag, &bytes);
            }
            Type::Double | Type::Fixed64 | Type::Sfixed64 => {
                encode_key(tag, WireType::SixtyFourBit, out);
                out.put_u64_le(f64::NAN.to_bits());
            }
            Type::Float | Type::Fixed32 | Type::Sfixed32 => {
                encode_key(tag, WireType::ThirtyTwoBit, out);
                out.put_u32_le(f32::NAN.to_bits());
            }
            _ => {
                let absurd = [0, 1, 2, 999, u64::from(u32::MAX), i64::MAX as u64, u64::MAX];
                encode_key(tag, WireType::Varint, out);
                encode_varint(absurd[self.rng.random_range(0..absurd.len())], out);
            }
        }
    }

    fn word(&mut self) -> String {
        match self.rng.random_range(0..4) {
            0 => "9".repeat(self.rng.random_range(1..5_000)),
            1 if !self.known.is_empty() => {
                self.known[self.rng.random_range(0..self.known.len())].clone()
            }
            _ => WORDS[self.rng.random_range(0..WORDS.len())].to_owned(),
        }
    }
}

fn number(field: &FieldDescriptorProto) -> u32 {
    u32::try_from(field.number()).unwrap_or(1)
}

fn put_bytes(out: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;
    use sealpost_proto::vault::v1::{AdmitRequest, EncryptRequest};

    use super::*;

    #[test]
    fn garbage_parses_and_is_the_same_for_a_seed() {
        let make = || {
            Garbage::new(7, Vec::new())
                .unwrap()
                .absurd(".sealpost.vault.v1.EncryptRequest")
        };
        assert_eq!(make(), make());
        for seed in 0..50 {
            let mut garbage = Garbage::new(seed, Vec::new()).unwrap();
            EncryptRequest::decode(garbage.absurd(".sealpost.vault.v1.EncryptRequest")).unwrap();
            let crowded =
                AdmitRequest::decode(garbage.crowded(".sealpost.vault.v1.AdmitRequest")).unwrap();
            assert!(crowded.items.len() > 256);
        }
    }
}
