//! The vault's tables, one file each.
//!
//! Owns SQL and the shape of rows. Sealed bytes pass through unopened; what they mean is known above. Every statement is
//! bounded by key or by `LIMIT`.

mod conversations;
mod destructions;
mod erasures;
mod hpke_keys;
mod idle;
mod numbers;
mod pending;
mod prekeys;
mod receipts;
mod removals;
mod shards;
mod vault_keys;

pub(crate) use conversations::{
    ConversationRows, ConversationWrite, SessionRow, SubjectRow, conversations_by_id,
    conversations_by_tag, conversations_write, sessions_count, subjects_count,
};
pub(crate) use destructions::{
    destruction_begin, destruction_finish, destructions_begun, destructions_done,
    destructions_forget,
};
pub(crate) use erasures::{
    erased_among, erased_forget, erased_forget_subjects, erased_last, erased_mark, subject_erase,
    subject_tag, subjects_among, subjects_have_any,
};
pub(crate) use hpke_keys::{
    HpkeKeyRow, hpke_key_by_id, hpke_key_insert, hpke_key_newest, hpke_keys_delete_ended,
};
pub(crate) use idle::{numbers_idle, subjects_date, subjects_lapse};
pub(crate) use numbers::{
    Door, NumberRow, Serials, door, number_facts_update, number_find, number_insert,
    number_serials_take,
};
pub(crate) use pending::{
    Found as PendingFound, PendingRow, pending_delete, pending_delete_epoch, pending_delete_past,
    pending_find, pending_insert, pending_list,
};
pub(crate) use prekeys::{
    KemPrekeyRow, kem_last_resort, kem_prekey_delete, kem_prekey_find, kem_prekey_insert,
    kem_prekeys_count, kem_prekeys_trim, kem_used_exists, kem_used_insert, one_time_prekey_delete,
    one_time_prekey_find, one_time_prekey_insert, one_time_prekeys_count, one_time_prekeys_trim,
    signed_prekey_find, signed_prekey_insert, signed_prekey_newest,
};
pub(crate) use receipts::{
    ReceiptRow, receipt_keep, receipt_of_number, receipts_forget, receipts_list,
};
pub(crate) use removals::{number_keys_delete, number_rows_delete, numbers_removed};
pub(crate) use shards::{
    shard_give, shards_list, shards_of, shards_renew, vault_beat, vault_delete, vault_enter,
    vaults_list,
};
pub(crate) use vault_keys::{RECEIPT_KEY, vault_key_find, vault_key_insert};

use sealpost_database::Migration;

/// Append-only.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "start",
        include_str!("../../migrations/sqlite/0001_start.sql"),
        include_str!("../../migrations/postgres/0001_start.sql"),
    ),
    Migration::new(
        2,
        "erased_subjects",
        include_str!("../../migrations/sqlite/0002_erased_subjects.sql"),
        include_str!("../../migrations/postgres/0002_erased_subjects.sql"),
    ),
    Migration::new(
        3,
        "shards",
        include_str!("../../migrations/sqlite/0003_shards.sql"),
        include_str!("../../migrations/postgres/0003_shards.sql"),
    ),
    Migration::new(
        4,
        "receipts",
        include_str!("../../migrations/sqlite/0004_receipts.sql"),
        include_str!("../../migrations/postgres/0004_receipts.sql"),
    ),
    Migration::new(
        5,
        "idle_subjects",
        include_str!("../../migrations/sqlite/0005_idle_subjects.sql"),
        include_str!("../../migrations/postgres/0005_idle_subjects.sql"),
    ),
    Migration::new(
        6,
        "shard_changes",
        include_str!("../../migrations/sqlite/0006_shard_changes.sql"),
        include_str!("../../migrations/postgres/0006_shard_changes.sql"),
    ),
];

/// Counts are for people; beyond this many rows they stop.
const COUNT_LIMIT: i64 = 1_000_000;

/// A counter, a time or a version as SQL's integer; none of ours reaches its end.
fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// And back; a negative one was never written.
fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

/// A small id, likewise.
fn small(value: i64) -> u32 {
    u32::try_from(value).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_dialects_make_the_same_tables() {
        sealpost_database::testing::assert_same_schema(MIGRATIONS).await;
    }
}
