//! Which store keeps a number's records, where there are several.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sealpost_proto::directory::v1::GetNumberRequest;
use tokio::time::Instant;
use tonic::Code;

use crate::{
    ids::PhoneNumberId,
    peers::{CallError, Peers, Store, called},
};

/// How long a number's region is believed. A store that keeps a number no more says so itself.
const LIFE: Duration = Duration::from_secs(5);

/// Numbers remembered.
const REMEMBERED: usize = 100_000;

/// The regions of numbers, as the directory knows them.
pub struct Regions {
    peers: Arc<Peers>,
    known: Mutex<HashMap<PhoneNumberId, (Instant, String)>>,
}

impl Regions {
    /// Asks the directory of `peers`.
    #[must_use]
    pub fn new(peers: Arc<Peers>) -> Self {
        Self {
            peers,
            known: Mutex::default(),
        }
    }

    /// The store that keeps a number's records.
    ///
    /// # Errors
    /// When the directory must be asked and has no answer; while the records are on their way from one store to another.
    pub async fn store_of(&self, number: &PhoneNumberId) -> Result<Arc<Store>, CallError> {
        if let Some(only) = self.peers.stores.only() {
            return Ok(only.clone());
        }
        if let Some(region) = self.remembered(number) {
            return Ok(self.peers.stores.of_region(&region).clone());
        }
        let request = GetNumberRequest {
            phone_number_id: number.into(),
        };
        let answer = called(self.peers.directory.clone().get_number(request)).await?;
        let found = answer.number.ok_or(CallError::NotFound)?;
        if !found.moving_to.is_empty() {
            return Err(CallError::Unreachable(Code::Unavailable));
        }
        let region = found.region;
        let store = self.peers.stores.of_region(&region).clone();
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(number.clone(), (Instant::now(), region));
        Ok(store)
    }

    fn remembered(&self, number: &PhoneNumberId) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, region) = known.get(number)?;
        (at.elapsed() < LIFE).then(|| region.clone())
    }
}
