//! Forgets what was sent, once nobody will ask for it again: asks the relay, more and more rarely.

use std::{sync::Arc, time::Duration};

use sealpost_proto::relay::v1::{CheckEnvelopesRequest, EnvelopeState};

use super::{broken, shared::Shared};
use crate::{
    ConsumerError, StateError,
    resend::KEPT_FOR,
    state::{Change, Model},
};

/// Envelopes in one call.
const AT_ONCE: usize = 256;
/// After something was handed over: most businesses take it within this.
const FIRST: Duration = Duration::from_secs(2);
/// The pauses double up to this.
const LIMIT: Duration = Duration::from_secs(900);
/// How long the relay may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Asks until the client stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pause = FIRST;
    loop {
        let waits = !handed_over(shared.state.lock().await.model()).is_empty();
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = shared.handed_over.notified() => {
                pause = FIRST;
                // What comes in a row is asked about together.
                tokio::select! {
                    () = shared.stop.cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
            }
            () = tokio::time::sleep(pause), if waits => {}
        }
        match check(&shared).await {
            Ok(()) => {}
            Err(ConsumerError::State(error)) => return broken(&shared, &error),
            Err(error) => tracing::debug!(%error, "the relay was not asked what it has"),
        }
        pause = (pause * 2).min(LIMIT);
    }
}

async fn check(shared: &Shared) -> Result<(), ConsumerError> {
    let ids = handed_over(shared.state.lock().await.model());
    for ids in ids.chunks(AT_ONCE) {
        let request = CheckEnvelopesRequest {
            envelope_ids: ids.iter().map(|id| id.to_vec().into()).collect(),
        };
        let mut request = shared.session.request(request);
        request.set_timeout(CALL_TIMEOUT);
        let answer = shared.session.device().check_envelopes(request).await?;
        let over = |state| matches!(state, EnvelopeState::Taken | EnvelopeState::Unknown);
        let done = ids
            .iter()
            .zip(answer.into_inner().states())
            .filter(|(_, state)| over(*state))
            .map(|(id, _)| *id)
            .collect();
        forget(shared, done).await?;
    }
    let before = shared.clock.now() - KEPT_FOR;
    let old = {
        let state = shared.state.lock().await;
        let kept = state.model().kept.iter();
        kept.filter(|(_, kept)| kept.note.time < before)
            .map(|(id, _)| *id)
            .collect()
    };
    Ok(forget(shared, old).await?)
}

/// What the relay has, and what it was not asked to have again.
fn handed_over(model: &Model) -> Vec<[u8; 16]> {
    let kept = model.kept.keys();
    kept.filter(|id| !model.is_on_its_way(id) && !model.asked.contains_key(*id))
        .copied()
        .collect()
}

/// Forgets messages, unless they were asked for while the relay answered.
async fn forget(shared: &Shared, ids: Vec<[u8; 16]>) -> Result<(), StateError> {
    if ids.is_empty() {
        return Ok(());
    }
    let work = move |state: &mut crate::state::State| {
        let still = handed_over(state.model());
        let gone = ids.into_iter().filter(|id| still.contains(id));
        let changes = gone
            .map(|envelope_id| Change::KeptDone { envelope_id })
            .collect();
        state.commit(changes)
    };
    shared.with_state(work).await
}
