//! Reseal: records sealed anew after a change of class or region, never to live longer than before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use sealpost_envelope::OsEntropy;
use sealpost_proto::{
    record::v1::Record,
    vault::v1::{Refusal, ResealOutcome, ResealRequest, ResealResponse, reseal_outcome},
};

use super::{
    Vault,
    batch::{self, Outcome},
    blocking,
    deliver::Openers,
    records::{key_of, number_of},
};
use crate::{
    VaultError,
    custody::{EpochKey, Now},
    epoch::EpochId,
    record::{ClosedRecord, RecordId},
};

type Targets = BTreeMap<EpochId, Arc<EpochKey>>;

impl Vault {
    /// Seals records anew.
    ///
    /// # Errors
    /// What failed the whole call.
    pub async fn reseal(&self, request: ResealRequest) -> Result<ResealResponse, VaultError> {
        let records = request.records;
        batch::check_len(records.len())?;
        let outcomes = match self.0.time.now() {
            Ok(now) => {
                self.reseal_items(records.iter().map(ClosedRecord::parse).collect(), now)
                    .await?
            }
            Err(_) => batch::all(records.len(), Refusal::ClockUnconfirmed),
        };
        batch::count("reseal", &outcomes);
        let outcome = |outcome: Outcome<Record>| match outcome {
            Ok(record) => reseal_outcome::Outcome::Record(record),
            Err(refusal) => reseal_outcome::Outcome::Refused(refusal.into()),
        };
        let outcomes = outcomes
            .into_iter()
            .map(|item| ResealOutcome {
                outcome: Some(outcome(item)),
            })
            .collect();
        Ok(ResealResponse { outcomes })
    }

    async fn reseal_items(
        &self,
        records: Vec<Outcome<ClosedRecord>>,
        now: Now,
    ) -> Result<Vec<Outcome<Record>>, VaultError> {
        let openers = self
            .openers(records.iter().flatten().cloned().collect(), now)
            .await?;
        // Only epochs that can be opened lead anywhere: no file is made for what is over.
        let epochs: BTreeSet<EpochId> = records
            .iter()
            .flatten()
            .filter(|record| key_of(&openers.keys, record.id.epoch).is_ok())
            .filter_map(|record| openers.target(record, now).ok())
            .collect();
        let keyring = self.0.keyring.clone();
        let targets: Targets = blocking(move || {
            epochs
                .into_iter()
                .map(|epoch| Ok((epoch, keyring.for_sealing(epoch)?)))
                .collect::<Result<_, VaultError>>()
        })
        .await??;
        blocking(move || {
            let one = |record: Outcome<ClosedRecord>| match record {
                Ok(record) => openers.reseal(&record, &targets, now),
                Err(refusal) => Ok(Err(refusal)),
            };
            records.into_iter().map(one).collect()
        })
        .await?
    }
}

impl Openers {
    fn target(&self, record: &ClosedRecord, now: Now) -> Outcome<EpochId> {
        let number = number_of(&self.numbers, &record.id.number)?;
        Ok(record
            .id
            .epoch
            .reseal_into(number.facts.retention, now.timestamp()))
    }

    fn reseal(
        &self,
        record: &ClosedRecord,
        targets: &Targets,
        now: Now,
    ) -> Result<Outcome<Record>, VaultError> {
        let opened = self.open(record).and_then(|(_, body)| {
            let epoch = self.target(record, now)?;
            let key = targets.get(&epoch).ok_or(Refusal::EpochExpired)?;
            Ok((body, epoch, key, self.conversation(record)?.1))
        });
        Ok(match opened {
            Ok((body, epoch, key, conversation)) => {
                let id = RecordId {
                    epoch,
                    ..record.id.clone()
                };
                Ok(id.seal(
                    record.sequence,
                    &body,
                    key,
                    &conversation.subject().key,
                    &mut OsEntropy,
                )?)
            }
            Err(refusal) => Err(refusal),
        })
    }
}
