//! Making a device known to the relay.

use std::fmt;

use rand::{TryRngCore, rngs::OsRng};
use sealpost_proto::relay::v1::{RegisterRequest, RequestCodeRequest};
use sealpost_runtime::{Clock, Timestamp};

use crate::{
    ConsumerError, Relay,
    ids::PhoneNumber,
    signal,
    state::{Change, Device, Registration, State},
};

/// A verification code: six digits.
#[derive(Clone, PartialEq, Eq)]
pub struct Code(String);

impl std::str::FromStr for Code {
    type Err = ConsumerError;

    fn from_str(text: &str) -> Result<Self, ConsumerError> {
        if text.len() == 6 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ConsumerError::Malformed("a code is six digits"))
        }
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Code(…)")
    }
}

/// Registers this device under `phone`: makes its keys, asks the relay for a code, takes the code from `code` (which is told
/// when it expires), and gives the relay the public keys. Earlier devices of that number stop working.
///
/// # Errors
/// When the state is registered already, `code` has none, or the relay refuses.
pub async fn register<F, Fut>(
    relay: &Relay,
    state: &mut State,
    clock: &Clock,
    phone: &PhoneNumber,
    code: F,
) -> Result<Registration, ConsumerError>
where
    F: FnOnce(Timestamp) -> Fut,
    Fut: Future<Output = Result<Code, ConsumerError>>,
{
    if state.registration().is_some() {
        return Err(ConsumerError::AlreadyRegistered);
    }
    if state.model().identity.is_none() {
        let keys = signal::first_keys(clock.now(), &mut OsRng.unwrap_err())?;
        state.commit(keys)?;
    }
    let (upload, uploaded) = signal::upload(state.model())?.ok_or(crate::SignalFault::OwnKeys)?;

    let mut service = relay.device();
    let asked = service
        .request_code(RequestCodeRequest {
            phone_number: phone.as_str().to_owned(),
        })
        .await?
        .into_inner();
    let Code(code) = code(Timestamp::from_millis(asked.expires_at_ms)).await?;
    let request = RegisterRequest {
        phone_number: phone.as_str().to_owned(),
        code,
        upload: Some(upload),
    };
    let registered = service.register(request).await?.into_inner();

    let mut changes = vec![Change::Registered(Device {
        phone: phone.clone(),
        device_id: registered.device_id,
        token: registered.device_token,
    })];
    changes.extend(uploaded);
    state.commit(changes)?;
    state.registration().ok_or(ConsumerError::NotRegistered)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_code_is_six_digits_and_does_not_print_itself() {
        let code: Code = "012345".parse().unwrap();
        assert!(!format!("{code:?}").contains("012345"));
        for text in ["", "12345", "1234567", "12345a", " 12345"] {
            assert!(text.parse::<Code>().is_err());
        }
    }
}
