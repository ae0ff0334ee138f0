//! Check: whether records open, without giving anything of them.

use sealpost_proto::vault::v1::{CheckRequest, CheckResponse, Refusal};

use super::{
    Vault,
    batch::{self, Outcome},
    blocking,
};
use crate::{VaultError, custody::Now, record::ClosedRecord};

impl Vault {
    /// Checks records.
    ///
    /// # Errors
    /// What failed the whole call.
    pub async fn check(&self, request: CheckRequest) -> Result<CheckResponse, VaultError> {
        let records = request.records;
        batch::check_len(records.len())?;
        let outcomes = match self.0.time.now() {
            Ok(now) => {
                self.check_items(records.iter().map(ClosedRecord::parse).collect(), now)
                    .await?
            }
            Err(_) => batch::all(records.len(), Refusal::ClockUnconfirmed),
        };
        batch::count("check", &outcomes);
        let finding =
            |outcome: Outcome<()>| i32::from(outcome.err().unwrap_or(Refusal::Unspecified));
        Ok(CheckResponse {
            findings: outcomes.into_iter().map(finding).collect(),
        })
    }

    async fn check_items(
        &self,
        records: Vec<Outcome<ClosedRecord>>,
        now: Now,
    ) -> Result<Vec<Outcome<()>>, VaultError> {
        let openers = self
            .openers(records.iter().flatten().cloned().collect(), now)
            .await?;
        blocking(move || {
            records
                .into_iter()
                .map(|record| record.and_then(|record| openers.open(&record).map(drop)))
                .collect()
        })
        .await
    }
}
