//! Takes envelopes in: decrypt, commit, acknowledge, in batches of what has arrived.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures::StreamExt;
use rand::{TryRngCore, rngs::OsRng};
use sealpost_failpoints::failpoint;
use sealpost_proto::relay::v1::{ReceiveRequest, ReceiveResponse};
use sealpost_runtime::Timestamp;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{
    Connection, broken,
    shared::{Pace, Shared},
};
use crate::{
    ConsumerError, StateError,
    ids::PhoneNumber,
    receive,
    signal::Draft,
    state::{Change, State},
};

/// Messages are remembered for this long: longer than any can live at the relay or in the store.
const SEEN_FOR: Duration = Duration::from_secs(35 * 24 * 3600);
/// Forgetting is put off until the oldest is this much older.
const SEEN_SLACK: Duration = Duration::from_secs(24 * 3600);
/// Answers of the relay that are taken in with one commit, when they are here already.
const ANSWERS_AT_ONCE: usize = 16;
/// Queue ids in one acknowledgement.
const ACKNOWLEDGED_AT_ONCE: usize = 256;
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

    let mut answers = answers.ready_chunks(ANSWERS_AT_ONCE);
    while let Some(arrived) = answers.next().await {
        let mut batch = ReceiveResponse::default();
        let mut failure = None;
        for answer in arrived {
            match answer {
                Ok(answer) => {
                    batch.envelopes.extend(answer.envelopes);
                    batch.requests.extend(answer.requests);
                }
                Err(status) => failure = Some(status),
            }
        }
        let envelopes = batch.envelopes.iter().map(|envelope| envelope.queue_id);
        let asked = batch.requests.iter().map(|request| request.queue_id);
        let acknowledge: Vec<u64> = envelopes.chain(asked).collect();
        if !acknowledge.is_empty() {
            take_in(shared, batch).await?;
            // Durable now: the relay may forget them. When it cannot hear us it sends them again.
            for acknowledge in acknowledge.chunks(ACKNOWLEDGED_AT_ONCE) {
                let request = ReceiveRequest {
                    acknowledge: acknowledge.to_vec(),
                    ..ReceiveRequest::default()
                };
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

async fn take_in(shared: &Shared, batch: ReceiveResponse) -> Result<(), StateError> {
    let (me, now) = (shared.phone.clone(), shared.clock.now());
    let spent = shared
        .with_state(move |state| take_in_batch(state, &me, &batch, now))
        .await?;
    if spent {
        shared.check_prekeys.store(true, Ordering::SeqCst);
    }
    shared.arrived.notify_one();
    shared.asked.notify_one();
    shared.courier.notify_one();
    Ok(())
}

/// One commit for the whole batch. Answers whether a prekey was spent.
fn take_in_batch(
    state: &mut State,
    me: &PhoneNumber,
    batch: &ReceiveResponse,
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
