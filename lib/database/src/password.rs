//! What a PostgreSQL server keeps of a password: a SCRAM-SHA-256 verifier (RFC 5803), made here, so that no statement and no log
//! of the server has the password itself.

use std::num::NonZeroU32;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ring::{
    digest, hmac, pbkdf2,
    rand::{SecureRandom, SystemRandom},
};

use crate::DatabaseError;

/// PostgreSQL's own default: passwords made for roles are random, so more would only cost.
const ITERATIONS: NonZeroU32 = NonZeroU32::new(4096).expect("it is not 0");

/// Random bytes that make two roles' verifiers differ.
pub(crate) fn salt() -> Result<[u8; 16], DatabaseError> {
    let mut salt = [0; 16];
    let filled = SystemRandom::new().fill(&mut salt);
    filled.map_err(|_| DatabaseError::File(std::io::Error::other("no random numbers")))?;
    Ok(salt)
}

/// Proves the password to whoever has it. The password is ASCII, so that its normal form is itself (RFC 4013).
pub(crate) fn verifier(password: &str, salt: &[u8]) -> String {
    let mut salted = [0; digest::SHA256_OUTPUT_LEN];
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA256,
        ITERATIONS,
        salt,
        password.as_bytes(),
        &mut salted,
    );
    let key = hmac::Key::new(hmac::HMAC_SHA256, &salted);
    let client = hmac::sign(&key, b"Client Key");
    let stored = digest::digest(&digest::SHA256, client.as_ref());
    let server = hmac::sign(&key, b"Server Key");
    format!(
        "SCRAM-SHA-256${ITERATIONS}:{}${}:{}",
        STANDARD.encode(salt),
        STANDARD.encode(stored),
        STANDARD.encode(server)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifier_is_that_of_the_specification() {
        // RFC 7677, section 3: the server's signature of that exchange follows from the server key.
        let salt = STANDARD
            .decode("W22ZaJ0SNY7soEsUEjb6gQ==")
            .unwrap_or_default();
        let made = verifier("pencil", &salt);
        let server_key = made.rsplit(':').next().unwrap_or_default();
        let key = STANDARD.decode(server_key).unwrap_or_default();
        let exchange = "n=user,r=rOprNGfwEbeRWgbNEkqO,\
            r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,\
            c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let signature = hmac::sign(
            &hmac::Key::new(hmac::HMAC_SHA256, &key),
            exchange.as_bytes(),
        );
        assert_eq!(
            STANDARD.encode(signature),
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
        );
        assert!(made.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"));
    }
}
