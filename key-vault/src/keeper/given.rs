//! The shares that their holders gave, until there are enough.

use std::time::{Duration, Instant};

use crate::custody::unseal::{SealedRoot, Share, UnsealError};

/// How long shares wait for the others.
const SHARES_WAIT: Duration = Duration::from_secs(1800);

/// Shares that were given since the last attempt.
#[derive(Default)]
pub(super) struct Given {
    pub(super) shares: Vec<Share>,
    last: Option<Instant>,
}

impl Given {
    /// Takes one; the same one twice counts once.
    ///
    /// # Errors
    /// [`UnsealError::Unfit`] when it belongs to no set that is asked for; [`UnsealError::Refused`] when it contradicts another.
    pub(super) fn take(&mut self, share: Share, sealed: &SealedRoot) -> Result<(), UnsealError> {
        if !sealed.takes(&share) {
            return Err(UnsealError::Unfit(
                "the share belongs to another vault, or to another set of this one",
            ));
        }
        if self.is_over() {
            self.shares.clear();
        }
        self.shares.retain(|other| sealed.takes(other));
        let same_place = |other: &&Share| other.place() == share.place();
        match self.shares.iter().find(same_place) {
            Some(same) if same.is(&share) => {}
            // One of the two is forged, and nobody can tell which: it must not keep the right one out.
            Some(_) => {
                self.shares.clear();
                return Err(UnsealError::Refused);
            }
            None => self.shares.push(share),
        }
        self.last = Some(Instant::now());
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.last.is_some_and(|last| last.elapsed() > SHARES_WAIT)
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        if self.is_over() {
            return 0;
        }
        u32::try_from(self.shares.len()).unwrap_or(u32::MAX)
    }
}
