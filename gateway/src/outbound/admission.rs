//! Takes messages in: three stages, so that a stream can have many under way and still keep their order.
//!
//! [`Admission::admit`] queues for the vault, [`Admission::append`] waits for the vault and queues for the store,
//! [`Admission::settle`] waits for the store and hands over to the dispatcher. Run each stage in the messages' order.

use std::{sync::Arc, time::Duration};

use sealpost_proto::{
    directory::v1::Scope,
    envelope::v1::SealedMessage,
    gateway::v1::{
        self as gateway, OutboundMessage, Refused, SendError, SendOutcome, send_outcome,
    },
    store::v1::{
        AppendOutboundItem, Appended, MessageStatus, append_outbound_outcome::Outcome as Append,
    },
    vault::v1::{AdmitItem, Admitted, Refusal, admit_outcome::Outcome as Admit},
};
use sealpost_runtime::Timestamp;

use super::{Accepted, Addressed, Dispatcher, Place};
use crate::{
    authentication::Caller,
    events::StatusHeaders,
    ids::ContentKeyId,
    lanes::{AppendOutboundHop, Ticket},
    limits::SendLimits,
    meters,
    peers::{Peers, Store},
    readiness::Readiness,
    record::{Outbound, status_of},
    status::{Error, refusal_to_business, refused, refused_for},
    vault::AdmittingTicket,
};

/// How often a message whose epoch closed on the way is admitted anew.
const READMISSIONS: u32 = 2;

/// When a number that moves to another region may have arrived.
const MOVING: Duration = Duration::from_secs(2);

/// The way in.
pub struct Admission {
    /// The services.
    pub peers: Arc<Peers>,
    /// Where accepted messages go.
    pub dispatcher: Dispatcher,
    /// The numbers' pace.
    pub limits: SendLimits,
    /// Nothing is accepted before the last run's messages are back.
    pub readiness: Readiness,
    /// The gateway's name in leases.
    pub owner: String,
    /// Where the headers of their statuses are kept.
    pub headers: Arc<StatusHeaders>,
}

/// What a message needs all along its way in.
pub(super) struct Entering {
    item: AdmitItem,
    store: Arc<Store>,
    place: Place,
}

/// A message queued for the vault, or refused.
pub(super) type Admitting = Result<(AdmittingTicket, Entering), Refused>;

/// A message queued for the store, or refused.
pub(super) type Appending = Result<Kept, Refused>;

/// A message that the vault admitted, queued for the store.
pub(super) struct Kept {
    ticket: Ticket<AppendOutboundHop>,
    entering: Entering,
    outbound: Outbound,
    addressed: Option<Addressed>,
    status: Option<(ContentKeyId, SealedMessage)>,
}

impl Admission {
    /// Takes one message in, all stages.
    pub async fn send(&self, caller: &Caller, message: OutboundMessage) -> SendOutcome {
        let admitting = self.admit(caller, message).await;
        let appending = self.append(admitting).await;
        self.settle(appending).await
    }

    pub(super) async fn admit(&self, caller: &Caller, message: OutboundMessage) -> Admitting {
        let entering = self.enter(caller, message).await?;
        self.queue_for_vault(entering).await
    }

    pub(super) async fn append(&self, admitting: Admitting) -> Appending {
        let (ticket, entering) = admitting?;
        let outcome = ticket
            .outcome()
            .await
            .map_err(|_| refused(SendError::Unavailable))?;
        match outcome.outcome {
            Some(Admit::Admitted(admitted)) => self.queue_for_store(entering, admitted).await,
            Some(Admit::Refused(refusal)) => Err(refusal_to_business(
                Refusal::try_from(refusal).unwrap_or_default(),
            )),
            None => Err(refused(SendError::Unavailable)),
        }
    }

    pub(super) async fn settle(&self, appending: Appending) -> SendOutcome {
        let mut appending = appending;
        let mut readmissions = 0;
        let settled = loop {
            let kept = match appending {
                Ok(kept) => kept,
                Err(refused) => break Err(refused),
            };
            match self.settle_once(kept).await {
                Settled::Accepted(accepted) => break Ok(accepted),
                Settled::Refused(refused) => break Err(refused),
                Settled::EpochClosed(entering) if readmissions < READMISSIONS => {
                    readmissions += 1;
                    let admitting = self.queue_for_vault(entering).await;
                    appending = self.append(admitting).await;
                }
                Settled::EpochClosed(_) => break Err(refused(SendError::Unavailable)),
            }
        };
        let outcome = match settled {
            Ok(accepted) => {
                meters::accepted(accepted.repeated);
                send_outcome::Outcome::Accepted(accepted)
            }
            Err(refused) => {
                meters::refused(refused.error());
                send_outcome::Outcome::Refused(refused)
            }
        };
        SendOutcome {
            outcome: Some(outcome),
        }
    }

    async fn enter(&self, caller: &Caller, message: OutboundMessage) -> Result<Entering, Refused> {
        caller
            .must_have(Scope::Send)
            .map_err(|_| refused(SendError::NotAllowed))?;
        let (id, number) = caller.number(&message.phone_number_id).map_err(|error| {
            refused(match error {
                Error::NumberNotAllowed => SendError::NotAllowed,
                _ => SendError::Malformed,
            })
        })?;
        if message.message.is_none() {
            return Err(refused(SendError::Malformed));
        }
        if !self.readiness.is_ready() {
            return Err(refused(SendError::Unavailable));
        }
        if !number.moving_to.is_empty() {
            return Err(refused_for(SendError::NumberMoving, MOVING));
        }
        self.limits
            .take(&id, number.messages_per_second)
            .map_err(|wait| refused_for(SendError::RateLimited, wait))?;
        let place = self
            .dispatcher
            .places()
            .take_in_turn()
            .await
            .ok_or_else(|| refused(SendError::Overloaded))?;
        Ok(Entering {
            store: self.peers.stores.of_region(&number.region).clone(),
            place,
            item: AdmitItem {
                phone_number_id: message.phone_number_id,
                message: message.message,
                wrap: message.wrap,
            },
        })
    }

    async fn queue_for_vault(&self, entering: Entering) -> Admitting {
        match self.peers.vault.admit.send(entering.item.clone()).await {
            Ok(ticket) => Ok((ticket, entering)),
            Err(_) => Err(refused(SendError::Unavailable)),
        }
    }

    async fn queue_for_store(&self, entering: Entering, admitted: Admitted) -> Appending {
        let outbound = admitted.record.map(Outbound::parse);
        let Some(Ok(outbound)) = outbound else {
            tracing::error!(
                reason = "RECORD_MALFORMED",
                "the vault's record cannot be read"
            );
            return Err(refused(SendError::Unavailable));
        };
        if outbound.number.as_str() != entering.item.phone_number_id {
            tracing::error!(
                reason = "RECORD_MISMATCH",
                "the vault's record is of another number"
            );
            return Err(refused(SendError::Unavailable));
        }
        let item = AppendOutboundItem {
            record: Some(outbound.record.clone()),
            digest: admitted.digest,
            lease_owner: self.owner.clone(),
        };
        let addressed = (!admitted.ciphertexts.is_empty()).then_some(Addressed {
            peer: admitted.peer,
            category: admitted.category,
            ciphertexts: admitted.ciphertexts,
        });
        let status_key = ContentKeyId::parse(&admitted.status_content_key_id).ok();
        let status = status_key.zip(admitted.status_header);
        match entering.store.append_outbound.send(item).await {
            Ok(ticket) => Ok(Kept {
                status,
                ticket,
                entering,
                outbound,
                addressed,
            }),
            Err(_) => Err(refused(SendError::Unavailable)),
        }
    }

    async fn settle_once(&self, kept: Kept) -> Settled {
        let Kept {
            ticket,
            entering,
            outbound,
            addressed,
            status,
        } = kept;
        let outcome = match ticket.outcome().await {
            Ok(outcome) => outcome.outcome,
            Err(error) => {
                // What the store may keep though its answer is lost is dispatched by recovery.
                if error.is_outcome_unknown() {
                    entering.store.nudge.now();
                }
                return Settled::Refused(refused(SendError::Unavailable));
            }
        };
        match outcome {
            Some(Append::Appended(appended)) => {
                // Only of what is kept: under the same id another message may have been refused, to somebody else.
                if let Some((key, header)) = status {
                    self.headers.keep(outbound.key(), key, header);
                }
                Settled::Accepted(self.dispatch(entering, outbound, addressed, &appended, false))
            }
            Some(Append::Repeated(appended)) => {
                // Kept before, by an append whose answer was lost or whose gateway ended. While nobody has it in a queue it takes
                // its place now: what is accepted after this answer must not overtake it. What is sent twice the relay drops.
                if appended.status() == MessageStatus::Accepted {
                    Settled::Accepted(self.dispatch(entering, outbound, addressed, &appended, true))
                } else {
                    Settled::Accepted(accepted(&outbound, &appended, true))
                }
            }
            Some(Append::Conflict(_)) => Settled::Refused(refused(SendError::Conflict)),
            Some(Append::EpochClosed(_)) => Settled::EpochClosed(entering),
            // The directory's word for where it is now has not come here yet.
            Some(Append::NumberDeparted(_)) => {
                Settled::Refused(refused_for(SendError::NumberMoving, MOVING))
            }
            None => Settled::Refused(refused(SendError::Unavailable)),
        }
    }

    /// Queues a kept message, unless it is queued already or another gateway's, and answers the business.
    fn dispatch(
        &self,
        entering: Entering,
        outbound: Outbound,
        addressed: Option<Addressed>,
        appended: &Appended,
        repeated: bool,
    ) -> gateway::Accepted {
        let answer = accepted(&outbound, appended, repeated);
        if appended.in_other_hands {
            // Another gateway dispatches this conversation: recovery brings the message to whoever has its turn.
            entering.store.handed_on.now();
            return answer;
        }
        self.dispatcher.take(Accepted {
            outbound,
            store: entering.store,
            attempt: 0,
            accepted_at: Timestamp::from_millis(appended.appended_at_ms),
            addressed,
            place: entering.place,
        });
        answer
    }
}

/// How one append ended.
enum Settled {
    Accepted(gateway::Accepted),
    Refused(Refused),
    EpochClosed(Entering),
}

fn accepted(outbound: &Outbound, appended: &Appended, repeated: bool) -> gateway::Accepted {
    gateway::Accepted {
        message_id: outbound.record.message_id.clone(),
        accepted_at_ms: appended.appended_at_ms,
        repeated,
        status: status_of(appended.status()).into(),
    }
}
