//! The directory's tables behind units of work.
//!
//! Owns which statements stand in one transaction. Invariant: phone numbers and ids are unique, and a token names
//! only numbers of its own business.

mod businesses;
mod moves;
mod numbers;
mod removal;
mod tokens;

use sealpost_database::{Database, DatabaseConfig, Migration, PoolOptions};

use crate::{
    DirectoryError,
    ids::{PhoneNumberId, Uuid},
    token::TokenDigest,
    validate::{NewNumber, NewToken},
};

pub(crate) use businesses::{Business, PublicKeys};
pub(crate) use moves::{MoveState, NumberMove, Step};
pub(crate) use numbers::Number;
pub(crate) use tokens::Token;

/// The directory's schema. Append only.
pub const MIGRATIONS: &[Migration] = &[
    Migration::new(
        1,
        "directory",
        include_str!("../../migrations/sqlite/0001_directory.sql"),
        include_str!("../../migrations/postgres/0001_directory.sql"),
    ),
    Migration::new(
        2,
        "number_moves",
        include_str!("../../migrations/sqlite/0002_number_moves.sql"),
        include_str!("../../migrations/postgres/0002_number_moves.sql"),
    ),
    Migration::new(
        3,
        "removal",
        include_str!("../../migrations/sqlite/0003_removal.sql"),
        include_str!("../../migrations/postgres/0003_removal.sql"),
    ),
];

/// Tokens that one transaction deletes for either reason.
const TOKENS_AT_A_TIME: u32 = 500;

/// Numbers that a business may have; bounds the answer to a token that may act for all of them.
pub(crate) const MAX_NUMBERS: u32 = 10_000;

/// The directory's database. Clones share it.
#[derive(Clone, Debug)]
pub struct Datastore {
    database: Database,
}

impl Datastore {
    /// Opens the `database` and brings it to this binary's schema.
    ///
    /// # Errors
    /// When it cannot be opened or was made by a newer binary.
    pub async fn open(database: DatabaseConfig) -> Result<Self, DirectoryError> {
        let database = Database::open(database, MIGRATIONS, PoolOptions::default()).await?;
        Ok(Self { database })
    }

    /// Waits for what has begun and closes.
    ///
    /// # Errors
    /// When the log could not be emptied.
    pub async fn close(&self) -> Result<(), DirectoryError> {
        Ok(self.database.close().await?)
    }

    pub(crate) async fn create_business(&self, business: Business) -> Result<(), DirectoryError> {
        self.database
            .run_tx("create_business", move |tx| {
                let business = business.clone();
                Box::pin(async move { businesses::business_insert(tx, &business).await })
            })
            .await
    }

    pub(crate) async fn list_businesses(
        &self,
        after: Option<Uuid>,
        limit: u32,
    ) -> Result<Vec<Business>, DirectoryError> {
        self.database
            .read("list_businesses", move |db| {
                Box::pin(async move { businesses::business_page(db, after, limit).await })
            })
            .await
    }

    pub(crate) async fn set_business_keys(
        &self,
        id: Uuid,
        keys: PublicKeys,
    ) -> Result<(), DirectoryError> {
        self.database
            .run_tx("set_business_keys", move |tx| {
                let keys = keys.clone();
                Box::pin(async move { businesses::business_set_keys(tx, id, &keys).await })
            })
            .await
    }

    /// Makes a number under `wish`'s id, or `chosen` when it names none. The very same wish by the same id answers
    /// the number that it made before.
    pub(crate) async fn create_number(
        &self,
        wish: NewNumber,
        chosen: PhoneNumberId,
        now: i64,
    ) -> Result<Number, DirectoryError> {
        self.database
            .run_tx("create_number", move |tx| {
                let (wish, chosen) = (wish.clone(), chosen.clone());
                Box::pin(async move {
                    businesses::business_exists(tx, wish.business_id).await?;
                    if let Some(id) = &wish.phone_number_id
                        && let Some(found) = numbers::number_find(tx, id).await?
                    {
                        let same = found.is_as_wished(&wish);
                        return if same {
                            Ok(found)
                        } else {
                            Err(DirectoryError::NumberIdTaken)
                        };
                    }
                    if numbers::number_count(tx, wish.business_id).await? >= MAX_NUMBERS {
                        return Err(DirectoryError::TooManyNumbers);
                    }
                    let number = Number::made(wish, chosen, now);
                    numbers::number_insert(tx, &number).await?;
                    Ok(number)
                })
            })
            .await
    }

    pub(crate) async fn number(&self, id: PhoneNumberId) -> Result<Number, DirectoryError> {
        self.database
            .read("get_number", move |db| {
                Box::pin(async move {
                    numbers::number_find(db, &id)
                        .await?
                        .ok_or(DirectoryError::NumberUnknown)
                })
            })
            .await
    }

    pub(crate) async fn list_numbers(
        &self,
        business: Option<Uuid>,
        after: Option<PhoneNumberId>,
        limit: u32,
    ) -> Result<Vec<Number>, DirectoryError> {
        self.database
            .read("list_numbers", move |db| {
                Box::pin(
                    async move { numbers::number_page(db, business, after.as_ref(), limit).await },
                )
            })
            .await
    }

    pub(crate) async fn issue_token(
        &self,
        id: Uuid,
        digest: TokenDigest,
        wish: NewToken,
        now: i64,
    ) -> Result<(), DirectoryError> {
        self.database
            .run_tx("issue_token", move |tx| {
                let wish = wish.clone();
                Box::pin(async move {
                    businesses::business_exists(tx, wish.business_id).await?;
                    tokens::token_insert(tx, id, digest, &wish, now).await?;
                    for number in &wish.phone_number_ids {
                        let found = numbers::number_find(tx, number).await?;
                        if found.is_none_or(|found| found.business_id != wish.business_id) {
                            return Err(DirectoryError::NumberUnknown);
                        }
                        tokens::token_add_number(tx, id, number).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    pub(crate) async fn revoke_token(&self, id: Uuid, now: i64) -> Result<(), DirectoryError> {
        self.database
            .run_tx("revoke_token", move |tx| {
                Box::pin(async move { tokens::token_revoke(tx, id, now).await })
            })
            .await
    }

    /// Deletes a number; one that is not there is as good as deleted.
    pub(crate) async fn delete_number(&self, id: PhoneNumberId) -> Result<(), DirectoryError> {
        self.database
            .run_tx("delete_number", move |tx| {
                let id = id.clone();
                Box::pin(async move {
                    if removal::number_is_moving(tx, &id).await? {
                        return Err(DirectoryError::NumberMoving);
                    }
                    removal::number_delete(tx, &id).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Deletes a business with its tokens; one that is not there is as good as deleted.
    pub(crate) async fn delete_business(&self, id: Uuid) -> Result<(), DirectoryError> {
        self.database
            .run_tx("delete_business", move |tx| {
                Box::pin(async move {
                    if removal::business_has_numbers(tx, id).await? {
                        return Err(DirectoryError::BusinessHasNumbers);
                    }
                    removal::business_delete(tx, id).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Deletes some of the tokens that ended or were revoked at `latest` or before; answers how many.
    pub(crate) async fn forget_tokens(&self, latest: i64) -> Result<u64, DirectoryError> {
        self.database
            .run_tx("forget_tokens", move |tx| {
                Box::pin(async move {
                    let over = removal::tokens_over(tx, latest, TOKENS_AT_A_TIME).await?;
                    for id in &over {
                        removal::token_delete(tx, id).await?;
                    }
                    Ok(over.len() as u64)
                })
            })
            .await
    }

    /// The token with this digest, when it works at `now`, and the numbers that it may act for.
    pub(crate) async fn authenticate(
        &self,
        digest: TokenDigest,
        now: i64,
    ) -> Result<(Token, Vec<Number>), DirectoryError> {
        self.database
            .read("authenticate_token", move |db| {
                Box::pin(async move {
                    let token = tokens::token_find(db, digest, now).await?;
                    let numbers = if token.all_numbers {
                        numbers::number_page(db, Some(token.business_id), None, MAX_NUMBERS).await?
                    } else {
                        tokens::token_numbers(db, token.token_id, MAX_NUMBERS).await?
                    };
                    Ok((token, numbers))
                })
            })
            .await
    }
}

/// A stored value that does not fit its type: only a damaged database has one.
pub(crate) fn damaged<T>(value: Option<T>) -> Result<T, sealpost_database::DatabaseError> {
    value.ok_or(sealpost_database::DatabaseError::Damaged)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_dialects_make_the_same_tables() {
        sealpost_database::testing::assert_same_schema(MIGRATIONS).await;
    }
}
