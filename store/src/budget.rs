//! How much fits into one answer.
//!
//! Pure. A page is bounded by items and by bytes, since a caller decodes no more than
//! [`sealpost_runtime::MAX_MESSAGE_BYTES`].

/// Bytes of sealed parts in one answer; ids and framing fit into what is left.
const PAGE_BYTES: usize = 3 * 1024 * 1024;

/// What an item weighs beside its sealed part, in bytes, generously.
const ITEM_BYTES: usize = 256;

/// What is left of an answer.
#[derive(Debug)]
pub(crate) struct Budget {
    left: usize,
    spent: bool,
}

impl Budget {
    /// A whole answer.
    #[must_use]
    pub(crate) fn page() -> Self {
        Self {
            left: PAGE_BYTES,
            spent: false,
        }
    }

    /// Takes an item with `sealed` bytes in; false when it does not fit and the page ends. The first one always fits.
    pub(crate) fn spend(&mut self, sealed: usize) -> bool {
        let weight = sealed.saturating_add(ITEM_BYTES);
        let fits = !self.spent || weight <= self.left;
        self.spent = true;
        self.left = if fits {
            self.left.saturating_sub(weight)
        } else {
            0
        };
        fits
    }

    /// Whether nothing more fits.
    #[must_use]
    pub(crate) fn is_used_up(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_item_always_fits_and_the_page_ends_at_the_first_that_does_not() {
        let mut budget = Budget::page();
        assert!(budget.spend(PAGE_BYTES * 2));
        assert!(!budget.spend(1));

        let mut budget = Budget::page();
        assert!(budget.spend(PAGE_BYTES / 2));
        assert!(!budget.spend(PAGE_BYTES));
        assert!(budget.is_used_up());
        assert!(!budget.spend(1));
    }
}
