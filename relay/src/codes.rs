//! Verification codes.
//!
//! Pure. Owns their shape, life and digest. Six digits can be guessed from a plain hash, so what is kept is an HMAC under
//! a key that the database does not have.

use std::{fmt, time::Duration};

use ring::hmac;

use crate::{
    RelayError,
    ids::{PhoneNumber, random},
};

/// How long a code works.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);
/// Wrong guesses after which it no longer works.
pub(crate) const ATTEMPTS: i64 = 5;

/// Six decimal digits.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Code(String);

impl Code {
    /// A fresh one, each as likely as any other.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub(crate) fn random() -> Result<Self, RelayError> {
        loop {
            if let Some(code) = Self::from_random(u32::from_be_bytes(random()?)) {
                return Ok(code);
            }
        }
    }

    /// `None` for the few numbers that would make some codes likelier than others.
    fn from_random(number: u32) -> Option<Self> {
        const CODES: u32 = 1_000_000;
        let fair = number < u32::MAX / CODES * CODES;
        fair.then(|| Self(format!("{:06}", number % CODES)))
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit());
        fits.then(|| Self(text.to_owned()))
    }

    /// For the sender of codes.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(..)")
    }
}

/// Makes and checks the digests that are kept.
#[derive(Clone)]
pub(crate) struct CodeDigests(hmac::Key);

impl CodeDigests {
    pub(crate) fn new(key: hmac::Key) -> Self {
        Self(key)
    }

    pub(crate) fn digest(&self, number: &PhoneNumber, code: &Code) -> Vec<u8> {
        hmac::sign(&self.0, &Self::input(number, code))
            .as_ref()
            .to_vec()
    }

    /// In constant time.
    pub(crate) fn matches(&self, number: &PhoneNumber, code: &Code, digest: &[u8]) -> bool {
        hmac::verify(&self.0, &Self::input(number, code), digest).is_ok()
    }

    /// Neither part has a zero byte, so the input reads in one way only.
    fn input(number: &PhoneNumber, code: &Code) -> Vec<u8> {
        [number.as_str().as_bytes(), &[0], code.0.as_bytes()].concat()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_code_has_six_digits_and_no_bias() {
        assert_eq!(Code::from_random(42).unwrap().reveal(), "000042");
        assert_eq!(Code::from_random(4_293_999_999).unwrap().reveal(), "999999");
        assert_eq!(Code::from_random(4_294_000_000), None);
        assert_eq!(Code::from_random(u32::MAX), None);
    }

    #[test]
    fn a_digest_is_of_one_number_and_one_code() {
        let digests = CodeDigests::new(hmac::Key::new(hmac::HMAC_SHA256, &[1; 32]));
        let number = PhoneNumber::parse("4915112345678").unwrap();
        let other = PhoneNumber::parse("4915112345679").unwrap();
        let code = Code::parse("123456").unwrap();
        let kept = digests.digest(&number, &code);
        assert!(digests.matches(&number, &code, &kept));
        assert!(!digests.matches(&other, &code, &kept));
        assert!(!digests.matches(&number, &Code::parse("123457").unwrap(), &kept));
        let elsewhere = CodeDigests::new(hmac::Key::new(hmac::HMAC_SHA256, &[2; 32]));
        assert!(!elsewhere.matches(&number, &code, &kept));
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for text in ["", "12345", "1234567", "12345a", "１２３４５６"] {
            assert_eq!(Code::parse(text), None, "{text}");
        }
    }
}
