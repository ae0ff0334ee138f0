//! Brings to the relay what waits in the state: sealed messages, receipts, retry requests, prekeys; and keeps confirmations.
//!
//! Everything is kept until the relay has it, and all of it may be said twice: messages carry an envelope id, receipts and retry
//! requests mean the same when repeated.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use futures::future;
use rand::{TryRngCore, rngs::OsRng};
use sealpost_failpoints::failpoint;
use sealpost_proto::relay::v1::{GetPrekeyCountRequest, UploadPrekeysRequest};
use sealpost_runtime::Timestamp;

use super::{
    Connection, broken,
    calls::{receipt, retry, submit},
    shared::{OnStream, Pace, Shared},
};
use crate::{
    ConsumerError, StateError,
    event::EventKind,
    signal::{self, Draft},
    state::{Change, MessageKey, Model, Outgoing, ReceiptMark, State},
};

/// What the relay takes in one call.
const ITEMS_AT_ONCE: usize = 256;
/// Ciphertext bytes in one call; the relay reads at most 4 MiB.
const BYTES_AT_ONCE: usize = 3 * 1024 * 1024;
/// Retry requests made at one time, each a call of its own.
const RETRIES_AT_ONCE: usize = 16;

/// What waits, copied out of the state.
#[derive(Default)]
struct Load {
    /// With their attempt.
    messages: Vec<(u64, Outgoing, u32)>,
    receipts: Vec<(MessageKey, ReceiptMark, Timestamp)>,
    retries: Vec<(MessageKey, u32)>,
}

impl Load {
    fn is_empty(&self) -> bool {
        self.messages.is_empty() && self.receipts.is_empty() && self.retries.is_empty()
    }
}

/// What is put off after a failure; confirmations never are, since they need no relay.
struct Delays {
    pace: Pace,
    /// Nothing goes to the relay before this.
    calls: Option<Instant>,
    /// No message goes before this: the relay has no room for them.
    messages: Option<Instant>,
}

/// Carries until the client stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut delays = Delays {
        pace: Pace::new(),
        calls: None,
        messages: None,
    };
    while !shared.stop.is_cancelled() {
        let carried = tokio::select! {
            carried = carry(&shared, &mut delays) => carried,
            () = shared.stop.cancelled() => return,
        };
        match carried {
            Ok(true) => {}
            Ok(false) => delays.wait(&shared).await,
            Err(ConsumerError::State(error)) => return broken(&shared, &error),
            Err(error) if error.is_unauthenticated() => return shared.over(Connection::Refused),
            Err(error) => {
                tracing::debug!(%error, "the relay could not be given everything");
                delays.calls = Some(Instant::now() + delays.pace.next());
            }
        }
    }
}

impl Delays {
    /// Forgets what is over.
    fn pass(&mut self, shared: &Shared) {
        let now = Instant::now();
        let anew = shared.reconnected.swap(false, Ordering::SeqCst);
        for delay in [&mut self.calls, &mut self.messages] {
            if anew || delay.is_some_and(|until| until <= now) {
                *delay = None;
            }
        }
    }

    /// Waits for something new, or for the next delay to be over.
    async fn wait(&self, shared: &Shared) {
        let next = self.calls.into_iter().chain(self.messages).min();
        let over = async {
            match next {
                Some(until) => tokio::time::sleep_until(until.into()).await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            () = shared.courier.notified() => {}
            () = over => {}
            () = shared.stop.cancelled() => {}
        }
    }
}

/// One round over everything that waits. Answers whether there was anything to do.
async fn carry(shared: &Shared, delays: &mut Delays) -> Result<bool, ConsumerError> {
    delays.pass(shared);
    let confirmed = shared.confirmations().await;
    let mut load = load(shared.state.lock().await.model(), &shared.on_stream);
    if delays.calls.is_some() {
        load = Load::default();
    } else if delays.messages.is_some() {
        load.messages.clear();
    }
    let check_prekeys = delays.calls.is_none() && shared.check_prekeys.load(Ordering::SeqCst);
    if confirmed.is_empty() && load.is_empty() && !check_prekeys {
        return Ok(false);
    }

    let (submitted, receipted, retried) = future::join3(
        submit(shared, load.messages),
        receipt(shared, load.receipts),
        retry(shared, load.retries),
    )
    .await;
    failpoint!("courier.answered");
    let handed_over = !submitted.changes.is_empty();
    let (mut changes, mut failed, mut error, mut called) = (confirmed, Vec::new(), None, false);
    if submitted.full {
        delays.messages = Some(Instant::now() + delays.pace.next());
    }
    for round in [submitted, receipted, retried] {
        called |= !round.changes.is_empty();
        changes.extend(round.changes);
        failed.extend(round.failed);
        error = error.or(round.error);
    }
    shared
        .with_state(move |state| keep(state, changes, failed))
        .await?;
    if handed_over {
        shared.handed_over.notify_one();
    }
    shared.room.notify_waiters();
    shared.room.notify_one();
    shared.arrived.notify_one();
    if let Some(status) = error {
        return Err(status.into());
    }
    if called && delays.messages.is_none() {
        delays.pace.reset();
    }
    if check_prekeys {
        shared.check_prekeys.store(false, Ordering::SeqCst);
        if let Err(error) = replenish(shared).await {
            shared.check_prekeys.store(true, Ordering::SeqCst);
            return Err(error);
        }
    }
    Ok(true)
}

fn load(model: &Model, on_stream: &OnStream) -> Load {
    let mut bytes = 0;
    let messages = model
        .outbox
        .iter()
        .take(ITEMS_AT_ONCE)
        .take_while(|(_, message)| {
            bytes += message.ciphertext.len();
            bytes <= BYTES_AT_ONCE
        })
        .map(|(sequence, message)| {
            let kept = model.kept.get(&message.envelope_id);
            let attempt = kept.map_or(0, |kept| kept.attempt);
            (*sequence, message.clone(), attempt)
        })
        .collect();
    let said = on_stream.names();
    let receipts = model
        .receipts
        .iter()
        .filter(|(name, _)| !said.contains(*name))
        .take(ITEMS_AT_ONCE)
        .map(|((key, mark), time)| (key.clone(), *mark, *time))
        .collect();
    let retries = model
        .retries
        .iter()
        .take(RETRIES_AT_ONCE)
        .cloned()
        .collect();
    Load {
        messages,
        receipts,
        retries,
    }
}

fn keep(
    state: &mut State,
    changes: Vec<Change>,
    failed: Vec<(u64, Outgoing)>,
) -> Result<(), StateError> {
    let mut draft = Draft::of(state.model());
    for change in changes {
        draft.add(change);
    }
    for (sequence, message) in failed {
        draft.add(Change::OutgoingDone { sequence });
        draft.add(Change::KeptDone {
            envelope_id: message.envelope_id,
        });
        draft.tell(EventKind::SendFailed {
            phone_number_id: message.number,
            message_id: message.message_id,
        });
    }
    let changes = draft.finish();
    state.commit(changes)
}

/// Renews and refills the relay's stock: private halves become durable first.
async fn replenish(shared: &Shared) -> Result<(), ConsumerError> {
    let session = &shared.session;
    let now = shared.clock.now();
    let counted = session
        .device()
        .get_prekey_count(session.request(GetPrekeyCountRequest {}))
        .await?
        .into_inner();
    let left = (counted.one_time_prekeys, counted.kem_prekeys);
    let upload = shared
        .with_state(move |state| prekeys_to_upload(state, left, now))
        .await?;
    if let Some((upload, done)) = upload {
        let request = UploadPrekeysRequest {
            upload: Some(upload),
        };
        session
            .device()
            .upload_prekeys(session.request(request))
            .await?;
        shared.with_state(move |state| state.commit(done)).await?;
    }
    Ok(())
}

type Upload = (sealpost_proto::signal::v1::PrekeyUpload, Vec<Change>);

fn prekeys_to_upload(
    state: &mut State,
    left: (u32, u32),
    now: Timestamp,
) -> Result<Option<Upload>, ConsumerError> {
    let mut rng = OsRng.unwrap_err();
    let (pair, _) = Draft::of(state.model()).own()?;
    let renewed = signal::renewals(state.model(), &pair, now, &mut rng)?;
    state.commit(renewed)?;
    let refilled = signal::refill(state.model(), &pair, left, now, &mut rng)?;
    state.commit(refilled)?;
    Ok(signal::upload(state.model())?)
}
