//! Export of a person: stored records of both directions, sealed to the number's business for a file.
//!
//! The operator who asks names the person and carries the records; the answer opens for the business alone.

use bytes::Bytes;
use sealpost_envelope::{
    ContentKey, Direction as Way, HeaderFields, OsEntropy, Peer, UnixMillis, Validity,
    WrapDirection, WrapTerms, seal_wrap,
};
use sealpost_proto::vault::v1::{
    ExportOutcome, ExportSubjectRequest, ExportSubjectResponse, Refusal, export_outcome,
};

use super::{
    Vault,
    batch::{self, Outcome},
    blocking,
    deliver::Openers,
    erase::peer,
};
use crate::{
    VaultError,
    record::{ClosedRecord, Direction},
    subject::SubjectId,
};

/// A wrap says when it was made; an export's opens at any time.
const MADE_WITHIN_MS: u64 = 1_000;

/// Whose records are exported.
struct Person {
    id: SubjectId,
    peer: Peer,
}

impl Vault {
    /// Seals a person's records to the business.
    ///
    /// # Errors
    /// [`VaultError::Malformed`], [`VaultError::NumberUnknown`], [`VaultError::BusinessKeysMissing`], or what failed.
    pub async fn export_subject(
        &self,
        request: ExportSubjectRequest,
    ) -> Result<ExportSubjectResponse, VaultError> {
        batch::check_len(request.records.len())?;
        let number = self.number(&request.phone_number_id).await?;
        let peer = peer(&request.peer)?;
        let person = Person {
            id: number.subject_id(&peer),
            peer,
        };
        let now = self.0.time.now()?;
        let records: Vec<Outcome<ClosedRecord>> = request
            .records
            .iter()
            .map(|record| {
                let record = ClosedRecord::parse(record)?;
                if record.id.number == number.id {
                    Ok(record)
                } else {
                    Err(Refusal::Malformed)
                }
            })
            .collect();
        let openers = self
            .openers(records.iter().flatten().cloned().collect(), now)
            .await?;
        let asked = records.len();
        let response = blocking(move || {
            let business = number.facts.business.as_ref();
            let business = business.ok_or(VaultError::BusinessKeysMissing)?;
            let now = now.unix_millis();
            let validity = Validity::new(now, UnixMillis(now.0.saturating_add(MADE_WITHIN_MS)))?;
            let terms = WrapTerms::new(number.id.clone(), WrapDirection::Export, validity)?;
            let (key, wrap) = seal_wrap(&terms, &number.signing, &business.hpke, &mut OsEntropy)?;
            let mut outcomes = Vec::with_capacity(records.len());
            for record in records {
                let outcome = match record {
                    Ok(record) => openers.export(&record, &person, &key)?,
                    Err(refusal) => Err(refusal),
                };
                let outcome = match outcome {
                    Ok(sealed) => export_outcome::Outcome::Sealed(sealed),
                    Err(refusal) => export_outcome::Outcome::Refused(refusal.into()),
                };
                outcomes.push(ExportOutcome {
                    outcome: Some(outcome),
                });
            }
            Ok::<_, VaultError>(ExportSubjectResponse {
                wrap: wrap.into(),
                outcomes,
                vault_signing_public_key: Bytes::copy_from_slice(
                    number.signing.verifying_key().as_bytes(),
                ),
            })
        })
        .await??;
        tracing::info!(
            count = asked as u64,
            "an operator exported records of a person, sealed to the business"
        );
        Ok(response)
    }
}

impl Openers {
    fn export(
        &self,
        record: &ClosedRecord,
        person: &Person,
        key: &ContentKey,
    ) -> Result<Outcome<Bytes>, VaultError> {
        let opened = self.open(record).and_then(|(_, body)| {
            // The tag finds the record; whose it is, only its subject and what is inside say.
            let theirs = self.conversation(record)?.1.id() == person.id;
            if theirs && body.peer == person.peer {
                Ok(body)
            } else {
                Err(Refusal::Undecryptable)
            }
        });
        let body = match opened {
            Ok(body) => body,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let fields = HeaderFields {
            direction: match record.id.direction {
                Direction::Outbound => Way::Outbound,
                Direction::Inbound => Way::Inbound,
            },
            peer: body.peer.clone(),
            message_id: record.id.message_id,
            category: body.category,
            time: UnixMillis(body.time.as_millis()),
        };
        Ok(Ok(key.seal_export(
            &fields,
            &body.content,
            &mut OsEntropy,
        )?))
    }
}
