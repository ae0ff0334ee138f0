//! The token that callers present.

use http::{HeaderMap, header::AUTHORIZATION};
use sealpost_envelope::kdf::sha256;
use subtle::ConstantTimeEq;

use super::CloudError;

/// The digest of the token: compared in constant time, whatever the length of what is presented.
pub(super) struct RestToken([u8; 32]);

impl RestToken {
    pub(super) fn new(token: &str) -> Self {
        Self(sha256(&[token.as_bytes()]))
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), CloudError> {
        let presented = headers
            .get(AUTHORIZATION)
            .ok_or_else(CloudError::no_token)?
            .as_bytes();
        let token = presented
            .split_at_checked(7)
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"Bearer "))
            .map(|(_, token)| token.trim_ascii())
            .ok_or_else(CloudError::no_token)?;
        if bool::from(sha256(&[token]).ct_eq(&self.0)) {
            Ok(())
        } else {
            Err(CloudError::wrong_token())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn passes(header: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, header.parse().unwrap());
        RestToken::new("secret").check(&headers).is_ok()
    }

    #[test]
    fn only_the_token_passes() {
        assert!(passes("Bearer secret"));
        assert!(passes("bearer secret"));
        for wrong in [
            "secret",
            "Bearer",
            "Bearer ",
            "Bearer secre",
            "Bearer secrets",
            "Basic secret",
        ] {
            assert!(!passes(wrong), "{wrong}");
        }
        assert!(RestToken::new("secret").check(&HeaderMap::new()).is_err());
    }
}
