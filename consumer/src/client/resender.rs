//! Answers businesses that ask for a message again; the courier brings what comes of it.

use std::{collections::BTreeMap, sync::Arc};

use rand::{TryRngCore, rngs::OsRng};

use super::{
    broken,
    sender::fetch,
    shared::{Pace, Shared},
};
use crate::{ConsumerError, resend, signal::Draft};

/// Answers until the client stops.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut pace = Pace::new();
    while !shared.stop.is_cancelled() {
        let answered = tokio::select! {
            answered = answer(&shared) => answered,
            () = shared.stop.cancelled() => return,
        };
        match answered {
            Ok(true) => pace.reset(),
            Ok(false) => tokio::select! {
                () = shared.asked.notified() => {}
                () = shared.stop.cancelled() => return,
            },
            Err(ConsumerError::State(error)) => return broken(&shared, &error),
            Err(error) => {
                tracing::debug!(%error, "a request for a message could not be answered yet");
                tokio::select! {
                    () = tokio::time::sleep(pace.next()) => {}
                    () = shared.stop.cancelled() => return,
                }
            }
        }
    }
}

/// One round over every request. Answers whether there was any; an error when some must wait for the relay.
async fn answer(shared: &Shared) -> Result<bool, ConsumerError> {
    let now = shared.clock.now();
    let (wanted, any) = {
        let state = shared.state.lock().await;
        let model = state.model();
        let phone = |number| Some(model.businesses.get(&number)?.phone.clone());
        let wanted: Vec<_> = resend::wants_bundles(model, now)
            .into_iter()
            .map(phone)
            .collect();
        (wanted, !model.asked.is_empty())
    };
    if !any {
        return Ok(false);
    }
    let (mut bundles, mut failure) = (BTreeMap::new(), None);
    for phone in wanted {
        match fetch(shared, phone).await {
            Ok((_, found)) => {
                bundles.insert(found.number, found.bundle);
            }
            Err(error) => failure = Some(error),
        }
    }
    let me = shared.phone.clone();
    let written = shared.with_state(move |state| {
        let mut draft = Draft::of(state.model());
        resend::answer_all(&mut draft, &me, &bundles, now, &mut OsRng.unwrap_err());
        let changes = draft.finish();
        state.commit(changes)
    });
    written.await?;
    shared.courier.notify_one();
    shared.arrived.notify_one();
    failure.map_or(Ok(true), Err)
}
