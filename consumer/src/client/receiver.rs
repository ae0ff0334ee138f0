//! Takes envelopes in: decrypt, commit, acknowledge, in batches of what has arrived.
//!
//! Where the relay takes receipts on the stream, they go with the acknowledgement. Each is kept until the relay has told of it; what
//! it has not told of when the stream ends is the courier's.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::StreamExt;
use rand::{TryRngCore, rngs::OsRng};
use sealpost_failpoints::failpoint;
use sealpost_proto::relay::v1::{ReceiptOutcome, ReceiveRequest, ReceiveResponse};
use sealpost_runtime::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Connection, broken,
    calls::device_receipt,
    shared::{Pace, ReceiptName, Shared},
};
use crate::{
    ConsumerError, StateError,
    ids::PhoneNumber,
    receive,
    signal::Draft,
    state::{Change, MessageKey, ReceiptMark, State},
};

/// Messages are remembered for this long: longer than any can live at the relay or in the store.
const SEEN_FOR: Duration = Duration::from_secs(35 * 24 * 3600);
/// Forgetting is put off until the oldest is this much older.
const SEEN_SLACK: Duration = Duration::from_secs(24 * 3600);
/// Answers of the relay that are taken in with one commit, when they are here already.
const ANSWERS_AT_ONCE: usize = 16;
/// Queue ids in one acknowledgement.
const ACKNOWLEDGED_AT_ONCE: usize = 256;
/// Receipts in one request.
const RECEIPTS_AT_ONCE: usize = 256;
/// A stream that lasted this long was a success: the pauses begin small again.
const STEADY: Duration = Duration::from_secs(5);

/// Receives until the client stops; comes back after every loss of the connection.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pace = Pace::new();
    while !shared.stop.is_cancelled() {
        let begun = Instant::now();
        let ended = tokio::select! {
            ended = listen(&shared) => ended,
            () = shared.stop.cancelled() => return,
        };
        match ended {
            Err(error) if error.is_unauthenticated() => return shared.over(Connection::Refused),
            Err(ConsumerError::State(error)) => return broken(&shared, &error),
            Err(error) => tracing::debug!(%error, "the relay's stream ended"),
            Ok(()) => {}
        }
        shared.on_stream.names().clear();
        shared.courier.notify_one();
        shared.reached(Connection::Connecting);
        if begun.elapsed() > STEADY {
            pace.reset();
        }
        tokio::select! {
            () = tokio::time::sleep(pace.next()) => {}
            () = shared.stop.cancelled() => return,
        }
    }
}

/// One stream, from its opening to its end.
async fn listen(shared: &Shared) -> Result<(), ConsumerError> {
    let (requests, outgoing) = mpsc::channel(ANSWERS_AT_ONCE);
    requests
        .try_send(ReceiveRequest::default())
        .map_err(|_| ConsumerError::Closed)?;
    let call = shared.session.request(ReceiverStream::new(outgoing));
    let answers = shared.session.device().receive(call).await?.into_inner();
    shared.reached(Connection::Connected);
    shared.check_prekeys.store(true, Ordering::SeqCst);
    shared.reconnected.store(true, Ordering::SeqCst);
    shared.courier.notify_one();

    // In the order in which the relay tells of them.
    let mut said = VecDeque::new();
    let mut answers = answers.ready_chunks(ANSWERS_AT_ONCE);
    while let Some(arrived) = answers.next().await {
        let mut batch = ReceiveResponse::default();
        let mut failure = None;
        for answer in arrived {
            match answer {
                Ok(answer) => {
                    batch.envelopes.extend(answer.envelopes);
                    batch.requests.extend(answer.requests);
                    batch.receipts.extend(answer.receipts);
                    batch.takes_receipts |= answer.takes_receipts;
                }
                Err(status) => failure = Some(status),
            }
        }
        let envelopes = batch.envelopes.iter().map(|envelope| envelope.queue_id);
        let asked = batch.requests.iter().map(|request| request.queue_id);
        let acknowledge: Vec<u64> = envelopes.chain(asked).collect();
        let told: Vec<_> = said
            .drain(..batch.receipts.len().min(said.len()))
            .zip(batch.receipts())
            .collect();
        if !acknowledge.is_empty() || !told.is_empty() {
            let receipts = take_in(shared, batch, told).await?;
            said.extend(receipts.iter().map(|(key, mark, _)| (key.clone(), *mark)));
            // Durable now: the relay may forget them. When it cannot hear us it sends them again.
            for request in requests_of(&acknowledge, &receipts) {
                let _ = requests.send(request).await;
            }
            failpoint!("receive.acknowledged");
        }
        if let Some(status) = failure {
            return Err(status.into());
        }
        wait_for_room(shared).await;
    }
    Ok(())
}

/// What is said after a commit, within the relay's bounds.
fn requests_of(acknowledge: &[u64], receipts: &[Receipt]) -> Vec<ReceiveRequest> {
    let mut requests: Vec<_> = acknowledge
        .chunks(ACKNOWLEDGED_AT_ONCE)
        .map(|ids| ReceiveRequest {
            acknowledge: ids.to_vec(),
            receipts: Vec::new(),
        })
        .collect();
    // There are receipts only after envelopes, and no more than one request has room for.
    if let Some(last) = requests.last_mut() {
        let wire = |(key, mark, time): &Receipt| device_receipt(key, *mark, *time);
        last.receipts = receipts.iter().map(wire).collect();
    }
    requests
}

/// A receipt that waits for the relay.
type Receipt = (MessageKey, ReceiptMark, Timestamp);

/// Takes a batch in, with what the relay tells of receipts. Answers the receipts that are to be said on the stream.
async fn take_in(
    shared: &Shared,
    batch: ReceiveResponse,
    told: Vec<(ReceiptName, ReceiptOutcome)>,
) -> Result<Vec<Receipt>, StateError> {
    let (me, now) = (shared.phone.clone(), shared.clock.now());
    let on_stream = shared.on_stream.clone();
    let (spent, receipts) = shared
        .with_state(move |state| {
            let spent = take_in_batch(state, &me, &batch, &told, now)?;
            // Before anybody else sees the state, so that nobody else sends them.
            let mut names = on_stream.names();
            for (name, _) in &told {
                names.remove(name);
            }
            let mut receipts = Vec::new();
            if batch.takes_receipts {
                let waiting = state.model().receipts.iter();
                let unsaid = waiting.filter(|(name, _)| !names.contains(*name));
                let next = unsaid.take(RECEIPTS_AT_ONCE);
                receipts.extend(next.map(|((key, mark), time)| (key.clone(), *mark, *time)));
                names.extend(receipts.iter().map(|(key, mark, _)| (key.clone(), *mark)));
            }
            Ok::<_, StateError>((spent, receipts))
        })
        .await?;
    if spent {
        shared.check_prekeys.store(true, Ordering::SeqCst);
    }
    shared.arrived.notify_one();
    shared.asked.notify_one();
    shared.courier.notify_one();
    Ok(receipts)
}

/// One commit for the whole batch. Answers whether a prekey was spent.
fn take_in_batch(
    state: &mut State,
    me: &PhoneNumber,
    batch: &ReceiveResponse,
    told: &[(ReceiptName, ReceiptOutcome)],
    now: Timestamp,
) -> Result<bool, StateError> {
    let mut draft = Draft::of(state.model());
    let mut rng = OsRng.unwrap_err();
    let mut spent = false;
    for envelope in &batch.envelopes {
        spent |= receive::take_in(&mut draft, me, envelope, now, &mut rng);
    }
    for request in &batch.requests {
        receive::take_request(&mut draft, request);
    }
    for ((key, mark), outcome) in told {
        // Whose message the relay does not know: nobody waits for this receipt any more. Else the courier brings it later.
        if matches!(
            outcome,
            ReceiptOutcome::Taken | ReceiptOutcome::MessageUnknown
        ) {
            draft.add(Change::ReceiptDone {
                key: key.clone(),
                mark: *mark,
            });
        }
    }
    let before = now - SEEN_FOR;
    if state
        .model()
        .oldest_seen()
        .is_some_and(|oldest| oldest < before - SEEN_SLACK)
    {
        draft.add(Change::SeenForgotten { before });
    }
    let changes = draft.finish();
    failpoint!("receive.decrypted");
    state.commit(changes)?;
    failpoint!("receive.committed");
    Ok(spent)
}

async fn wait_for_room(shared: &Shared) {
    while !shared.has_room().await {
        shared.room.notified().await;
    }
}
