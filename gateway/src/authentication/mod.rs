//! Who calls: a token, as the directory knows it.
//!
//! Owns the hash of a token, never its text beyond the header it came in. A revoked token stops working within the cache's
//! time, on open streams too; while the directory is away a token that was good stays good for a minute.

mod cache;
mod session;
mod tokens;

use std::{collections::BTreeMap, fmt};

use ring::digest::{SHA256, digest};
use sealpost_proto::directory::v1::{AuthenticateTokenResponse, Number, Scope};
use sealpost_runtime::Timestamp;
use tonic::Request;

use crate::{ids::PhoneNumberId, status::Error};

pub use cache::{Answer, Lookup, TokenCache};
pub use session::Session;
pub use tokens::Tokens;

/// SHA-256 of a token's text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// Of the token in an `authorization: Bearer` header.
    ///
    /// # Errors
    /// When the header is missing or of another shape.
    pub fn from_header(value: Option<&http::HeaderValue>) -> Result<Self, Error> {
        let value = value.ok_or(Error::Unauthenticated)?.as_bytes();
        let (scheme, token) = value.split_at_checked(7).ok_or(Error::Unauthenticated)?;
        if !scheme.eq_ignore_ascii_case(b"bearer ") || token.is_empty() || token.len() > 512 {
            return Err(Error::Unauthenticated);
        }
        Ok(Self::of(token))
    }

    /// Of a token's text.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, token).as_ref());
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenDigest(..)")
    }
}

/// What a token may do. Stands in the extensions of every request behind the layer.
#[derive(Clone, PartialEq)]
pub struct Caller {
    /// Its business.
    pub business_id: String,
    /// The numbers it may act for.
    pub numbers: BTreeMap<PhoneNumberId, Number>,
    /// When it ends, if ever.
    expires_at: Option<Timestamp>,
    scopes: Vec<Scope>,
}

impl Caller {
    /// Reads the directory's answer; numbers that are not of their shape are left out.
    #[must_use]
    pub fn from_answer(answer: AuthenticateTokenResponse) -> Self {
        let expires_at = Some(answer.expires_at_ms).filter(|at| *at != 0);
        Self {
            scopes: answer.scopes().collect(),
            expires_at: expires_at.map(Timestamp::from_millis),
            business_id: answer.business_id,
            numbers: answer
                .numbers
                .into_iter()
                .filter_map(|number| {
                    Some((PhoneNumberId::parse(&number.phone_number_id).ok()?, number))
                })
                .collect(),
        }
    }

    /// Whether the token has ended by itself.
    #[must_use]
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|at| now >= at)
    }

    /// Whether it may do what `scope` covers.
    ///
    /// # Errors
    /// [`Error::ScopeMissing`].
    pub fn must_have(&self, scope: Scope) -> Result<(), Error> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Error::ScopeMissing)
    }

    /// A number, when the token may act for it.
    ///
    /// # Errors
    /// When it may not, or the id is not of its shape.
    pub fn number(&self, id: &str) -> Result<(PhoneNumberId, &Number), Error> {
        let id = PhoneNumberId::parse(id)
            .map_err(|_| Error::Malformed("phone_number_id", "must be 1 to 32 digits"))?;
        let number = self.numbers.get(&id).ok_or(Error::NumberNotAllowed)?;
        Ok((id, number))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller")
            .field("business_id", &self.business_id)
            .finish_non_exhaustive()
    }
}

/// The session that the layer put beside the request.
///
/// # Errors
/// When there is none: the call did not come through the layer.
pub fn session_of<T>(request: &Request<T>) -> Result<Session, Error> {
    request
        .extensions()
        .get::<Session>()
        .cloned()
        .ok_or(Error::Unauthenticated)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_a_bearer_token_is_read() {
        let digest =
            |text: &str| TokenDigest::from_header(Some(&HeaderValue::from_str(text).unwrap()));
        assert_eq!(digest("Bearer abc").unwrap(), TokenDigest::of(b"abc"));
        assert_eq!(digest("bearer abc").unwrap(), TokenDigest::of(b"abc"));
        for bad in [
            "",
            "Bearer",
            "Bearer ",
            "Basic abc",
            "abc",
            &format!("Bearer {}", "a".repeat(513)),
        ] {
            assert_eq!(digest(bad), Err(Error::Unauthenticated), "{bad}");
        }
        assert_eq!(TokenDigest::from_header(None), Err(Error::Unauthenticated));
    }

    #[test]
    fn a_caller_acts_for_its_numbers_and_scopes_only() {
        let caller = Caller::from_answer(AuthenticateTokenResponse {
            numbers: vec![Number {
                phone_number_id: "10".into(),
                ..Number::default()
            }],
            scopes: vec![Scope::Send.into()],
            expires_at_ms: 5000,
            ..AuthenticateTokenResponse::default()
        });
        assert!(caller.number("10").is_ok());
        assert_eq!(caller.number("11").unwrap_err(), Error::NumberNotAllowed);
        assert!(caller.must_have(Scope::Send).is_ok());
        assert_eq!(caller.must_have(Scope::Receive), Err(Error::ScopeMissing));
        assert!(!caller.has_ended(Timestamp::from_millis(4999)));
        assert!(caller.has_ended(Timestamp::from_millis(5000)));
    }
}
