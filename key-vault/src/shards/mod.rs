//! Shards: each conversation is worked on by one vault at a time, though several share a database.
//!
//! Owns which shard a conversation is in, and the rules by which vaults hold shards: pure, over rows and elapsed time. Knows no
//! SQL, no clock and no conversation. Invariant: a vault works on a shard only in a transaction that sees itself as the holder, with
//! the token that it knows: whatever clocks, pauses and dead letters do, two vaults never both pass that fence.
//!
//! No wall clock decides anything here. A vault that lives moves its beat; whoever watches counts how long it stood still, by its own
//! stopwatch, and only while it could itself read and write.

mod fence;
mod leases;
mod plan;
mod pulse;

use std::{fmt, sync::Arc};

use sealpost_envelope::{NumberId, Peer, kdf::sha256};

pub(crate) use fence::Fence;
pub(crate) use leases::{Leases, Rows, View};
pub(crate) use plan::{Move, leave, settle};
pub(crate) use pulse::{BEAT, Member, Pulse};

/// How many there are.
pub(crate) const SHARDS: u8 = 64;

/// One of the [`SHARDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Shard(u8);

impl Shard {
    /// The shard of a conversation, as `WatchShards` defines it.
    pub(crate) fn of(number: &NumberId, peer: &Peer) -> Self {
        let (number, peer) = (number.as_str().as_bytes(), peer.expose().as_bytes());
        // Neither is longer than 32 bytes.
        let hash = sha256(&[&[number.len() as u8], number, &[peer.len() as u8], peer]);
        Self(hash[0] % SHARDS)
    }

    /// The shard of that number, when there is one.
    pub(crate) fn new(shard: u32) -> Option<Self> {
        let shard = u8::try_from(shard).ok()?;
        (shard < SHARDS).then_some(Self(shard))
    }

    /// Every shard, in order.
    pub(crate) fn all() -> impl DoubleEndedIterator<Item = Self> {
        (0..SHARDS).map(Self)
    }

    pub(crate) fn number(self) -> u32 {
        self.0.into()
    }

    fn index(self) -> usize {
        self.0.into()
    }
}

/// What a shard's row says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lease {
    /// The vault's name; empty when it is nobody's.
    pub(crate) holder: String,
    pub(crate) token: u64,
}

/// Every shard's row. Clones share it until one is changed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Holdings(Arc<Vec<Lease>>);

impl Default for Holdings {
    fn default() -> Self {
        Self(Arc::new(vec![Lease::default(); SHARDS.into()]))
    }
}

impl Holdings {
    pub(crate) fn of(&self, shard: Shard) -> &Lease {
        &self.0[shard.index()]
    }

    pub(crate) fn put(&mut self, shard: Shard, lease: Lease) {
        Arc::make_mut(&mut self.0)[shard.index()] = lease;
    }

    /// Changes the holder, as the database does.
    pub(crate) fn apply(&mut self, change: &Move) {
        let lease = &mut Arc::make_mut(&mut self.0)[change.shard.index()];
        lease.holder.clone_from(&change.to);
        lease.token += 1;
    }

    pub(crate) fn all(&self) -> impl DoubleEndedIterator<Item = (Shard, &Lease)> {
        let numbered = self.0.iter().enumerate();
        numbered.map(|(number, lease)| (Shard(number as u8), lease))
    }
}

impl fmt::Debug for Holdings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.all()).finish()
    }
}

#[cfg(test)]
#[path = "law.rs"]
mod law;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The gateway computes the same: its test has the same words.
    #[test]
    fn the_shard_of_a_conversation_is_the_one_in_the_contract() {
        let shard = |number, peer| {
            Shard::of(&NumberId::new(number).unwrap(), &Peer::new(peer).unwrap()).number()
        };
        assert_eq!(shard("106540352242922", "15551234567"), VECTORS[0]);
        assert_eq!(shard("106540352242922", "15551234568"), VECTORS[1]);
        assert_eq!(shard("1", "491511234567"), VECTORS[2]);
    }

    const VECTORS: [u32; 3] = [48, 46, 1];

    #[test]
    fn conversations_spread_over_all_shards() {
        let number = NumberId::new("1065").unwrap();
        let met: std::collections::BTreeSet<Shard> = (0..2000)
            .map(|n| Shard::of(&number, &Peer::new(&format!("1555{n:07}")).unwrap()))
            .collect();
        assert_eq!(met.len(), usize::from(SHARDS));
        assert_eq!(Shard::new(63), Shard::all().next_back());
        assert_eq!(Shard::new(64), None);
    }
}
