//! What the `sealpost` command shares with the tests: the ledger that says whether everything arrived once and in order.
//!
//! The command itself is `main.rs`; nothing else of it is anybody's to link.

pub mod ledger;
