//! The table `businesses`.

use sealpost_database::{
    Connection, DatabaseError, Row, Tx,
    sqlx::{Row as _, query, query_scalar},
};

use super::damaged;
use crate::{DirectoryError, ids::Uuid};

/// One business.
#[derive(Clone, Debug)]
pub(crate) struct Business {
    pub(crate) business_id: Uuid,
    pub(crate) name: String,
    /// Milliseconds since the Unix epoch.
    pub(crate) created_at: i64,
    pub(crate) keys: Option<PublicKeys>,
}

/// What the operator was told are the business's keys: X-Wing (1,216 bytes) and Ed25519 (32 bytes).
#[derive(Clone, Debug)]
pub(crate) struct PublicKeys {
    pub(crate) hpke: Vec<u8>,
    pub(crate) signing: Vec<u8>,
}

pub(super) async fn business_insert(
    tx: &mut Tx,
    business: &Business,
) -> Result<(), DirectoryError> {
    query("INSERT INTO businesses (business_id, name, created_at) VALUES ($1, $2, $3)")
        .bind(business.business_id.as_bytes())
        .bind(&business.name)
        .bind(business.created_at)
        .execute(&mut **tx)
        .await
        .map_err(DatabaseError::from)?;
    Ok(())
}

/// # Errors
/// `BusinessUnknown` when there is no such business.
pub(super) async fn business_exists(db: &mut Connection, id: Uuid) -> Result<(), DirectoryError> {
    let found: Option<i64> = query_scalar("SELECT 1 FROM businesses WHERE business_id = $1")
        .bind(id.as_bytes())
        .fetch_optional(db)
        .await
        .map_err(DatabaseError::from)?;
    found.map(|_| ()).ok_or(DirectoryError::BusinessUnknown)
}

pub(super) async fn business_page(
    db: &mut Connection,
    after: Option<Uuid>,
    limit: u32,
) -> Result<Vec<Business>, DirectoryError> {
    let rows = query(
        "SELECT business_id, name, created_at, hpke_public_key, signing_public_key
         FROM businesses WHERE business_id > $1 ORDER BY business_id LIMIT $2",
    )
    // Every id is longer than the empty one, which therefore comes before all.
    .bind(after.as_ref().map_or(&[][..], Uuid::as_bytes))
    .bind(i64::from(limit))
    .fetch_all(db)
    .await
    .map_err(DatabaseError::from)?;
    Ok(rows.iter().map(from_row).collect::<Result<_, _>>()?)
}

/// # Errors
/// `BusinessUnknown` when there is no such business.
pub(super) async fn business_set_keys(
    tx: &mut Tx,
    id: Uuid,
    keys: &PublicKeys,
) -> Result<(), DirectoryError> {
    let done = query(
        "UPDATE businesses SET hpke_public_key = $2, signing_public_key = $3 WHERE business_id = $1",
    )
    .bind(id.as_bytes())
    .bind(&keys.hpke)
    .bind(&keys.signing)
    .execute(&mut **tx)
    .await
    .map_err(DatabaseError::from)?;
    if done.rows_affected() == 0 {
        return Err(DirectoryError::BusinessUnknown);
    }
    Ok(())
}

fn from_row(row: &Row) -> Result<Business, DatabaseError> {
    let hpke: Option<Vec<u8>> = row.try_get("hpke_public_key")?;
    let signing: Option<Vec<u8>> = row.try_get("signing_public_key")?;
    Ok(Business {
        business_id: damaged(Uuid::from_slice(row.try_get("business_id")?))?,
        name: row.try_get("name")?,
        created_at: row.try_get("created_at")?,
        keys: hpke
            .zip(signing)
            .map(|(hpke, signing)| PublicKeys { hpke, signing }),
    })
}
