//! Tokens that were found in the database a moment ago.
//!
//! Owns how long that is believed, and that a device which was replaced in this process is forgotten at once. Another replica may
//! replace one without a word: for so long its old token still passes the door. Whatever a device writes is checked against the
//! database in its own transaction. Invariant: nothing that was read before a device was forgotten is remembered after it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    auth::TokenDigest,
    ids::{DeviceIdentity, HolderId},
};

/// How long a token is believed.
const BELIEVED: Duration = Duration::from_secs(2);
/// Tokens remembered; past that all are looked up anew.
const MOST: usize = 16_384;

/// The tokens of the process.
#[derive(Default)]
pub(crate) struct Tokens(Mutex<Known>);

#[derive(Default)]
struct Known {
    devices: HashMap<TokenDigest, (DeviceIdentity, Instant)>,
    /// How often something was forgotten.
    age: u64,
}

/// When a look-up began.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    age: u64,
    at: Instant,
}

impl Tokens {
    /// The device, or where its look-up begins.
    pub(crate) fn find(&self, token: &TokenDigest, now: Instant) -> Result<DeviceIdentity, Begun> {
        let known = self.known();
        match known.devices.get(token) {
            Some((device, until)) if now < *until => Ok(device.clone()),
            _ => Err(Begun {
                age: known.age,
                at: now,
            }),
        }
    }

    /// Remembers what was found.
    pub(crate) fn remember(&self, token: TokenDigest, device: &DeviceIdentity, begun: Begun) {
        let mut known = self.known();
        if known.age != begun.age {
            return;
        }
        if known.devices.len() >= MOST {
            known.devices.clear();
        }
        let until = begun.at + BELIEVED;
        known.devices.insert(token, (device.clone(), until));
    }

    /// Forgets devices that are no more.
    pub(crate) fn forget(&self, holders: &[HolderId]) {
        let mut known = self.known();
        known.age += 1;
        known
            .devices
            .retain(|_, (device, _)| !holders.contains(&device.holder));
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::ids::PhoneNumber;

    #[test]
    fn a_token_is_believed_for_a_moment_and_not_when_its_device_went_meanwhile() {
        let (tokens, now) = (Tokens::default(), Instant::now());
        let token = TokenDigest::of("sd_x");
        let device = DeviceIdentity {
            holder: HolderId(1),
            phone_number: PhoneNumber::parse("4915112345678").unwrap(),
            device_id: 1,
        };
        let begun = |at| tokens.find(&token, at).map(|_| ()).unwrap_err();
        tokens.remember(token, &device, begun(now));
        assert!(tokens.find(&token, now).is_ok());
        let later = begun(now + BELIEVED);
        tokens.forget(&[HolderId(1)]);
        tokens.remember(token, &device, later);
        tokens.remember(token, &device, begun(now));
        tokens.forget(&[HolderId(1)]);
        assert!(tokens.find(&token, now).is_err());
    }
}
