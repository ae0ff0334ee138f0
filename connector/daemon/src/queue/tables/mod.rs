//! The tables, one file each: statements and the reading of rows, no decisions. They see sealed bytes and digests only.

pub(super) mod deliveries;
pub(super) mod notes;
pub(super) mod seen;

use sealpost_runtime::Timestamp;

/// SQLite's integers are signed; no time of ours comes near their end.
fn column(time: Timestamp) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}
