//! The fence: which shards a transaction may work on.

use sealpost_proto::vault::v1::Refusal;

use super::{Shard, View};

/// The shards that this vault holds, as its open transaction sees it: of those that the table gives it, the ones whose tokens it
/// knows. A token that it does not know was given to another process of its name, or to it a moment ago.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Fence {
    /// A bit for each of the 64.
    ours: u64,
}

impl Fence {
    /// From the rows of the table that carry our name, and from what we know.
    pub(crate) fn new(rows: &[(Shard, u64)], known: &View) -> Self {
        let ours = rows
            .iter()
            .filter(|(shard, token)| known.token(*shard) == Some(*token));
        Self {
            ours: ours.fold(0, |ours, (shard, _)| ours | bit(*shard)),
        }
    }

    /// Whether the transaction may work on a conversation of `shard`.
    ///
    /// # Errors
    /// [`Refusal::ShardElsewhere`].
    pub(crate) fn admit(self, shard: Shard) -> Result<(), Refusal> {
        if self.ours & bit(shard) != 0 {
            Ok(())
        } else {
            Err(Refusal::ShardElsewhere)
        }
    }

    /// Whether the table and `known` agree on what is ours. If not, the next round tells.
    pub(crate) fn agrees(self, rows: &[(Shard, u64)], known: &View) -> bool {
        let ours = usize::try_from(self.ours.count_ones()).unwrap_or(0);
        ours == rows.len() && ours == Shard::all().filter(|shard| known.holds(*shard)).count()
    }
}

fn bit(shard: Shard) -> u64 {
    1 << shard.number()
}

impl View {
    /// The token under which the shard is ours.
    pub(crate) fn token(&self, shard: Shard) -> Option<u64> {
        self.holds(shard).then(|| self.holdings.of(shard).token)
    }
}
