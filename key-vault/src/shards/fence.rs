//! The fence: which shards a transaction may work on.

use std::collections::BTreeSet;

use sealpost_proto::vault::v1::Refusal;

use super::{Lease, Shard, View};

/// The shards that this vault holds, as its open transaction sees it: of those that the table gives it, the ones whose tokens it
/// knows. A token that it does not know was given to another process of its name, or to it a moment ago.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fence(BTreeSet<Shard>);

impl Fence {
    /// From the rows of the table that carry our name, and from what we know.
    pub(crate) fn new(rows: &[(Shard, u64)], known: &View) -> Self {
        let ours = rows
            .iter()
            .filter(|(shard, token)| known.token(*shard) == Some(*token));
        Self(ours.map(|(shard, _)| *shard).collect())
    }

    /// Whether the transaction may work on a conversation of `shard`.
    ///
    /// # Errors
    /// [`Refusal::ShardElsewhere`].
    pub(crate) fn admit(&self, shard: Shard) -> Result<(), Refusal> {
        if self.0.contains(&shard) {
            Ok(())
        } else {
            Err(Refusal::ShardElsewhere)
        }
    }

    /// Whether the table and `known` agree on what is ours. If not, the next round tells.
    pub(crate) fn agrees(&self, rows: &[(Shard, u64)], known: &View) -> bool {
        self.0.len() == rows.len() && self.0.len() == known.ours().count()
    }
}

impl View {
    fn token(&self, shard: Shard) -> Option<u64> {
        self.holds(shard).then(|| self.holdings.of(shard).token)
    }

    fn ours(&self) -> impl Iterator<Item = (Shard, &Lease)> {
        self.holdings.all().filter(|(shard, _)| self.holds(*shard))
    }
}
