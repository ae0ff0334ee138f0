//! What one stream of a gateway has seen: which wraps of the vault's content keys went over it.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use sealpost_envelope::ContentKeyId;

use crate::own_keys::OwnKey;

/// Beyond this the stream starts anew and sees wraps again, which does no harm.
const CAPACITY: usize = 65_536;

/// The state of one stream.
#[derive(Default)]
pub struct StreamState {
    sent: Mutex<HashSet<ContentKeyId>>,
}

impl StreamState {
    /// A stream that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The wrap to send with a message under `key`: on the key's first use on this stream, or when asked for.
    pub(super) fn wrap(&self, key: &OwnKey, asked: bool) -> Bytes {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() >= CAPACITY {
            sent.clear();
        }
        if sent.insert(key.key.id()) || asked {
            key.wrap.clone()
        } else {
            Bytes::new()
        }
    }
}
