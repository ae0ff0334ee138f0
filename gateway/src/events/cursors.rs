//! Saves acknowledged cursors in the store: the newest of each number, in the background, so that a slow store holds up nobody.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sealpost_proto::store::v1::AdvanceCursorRequest;
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::{Backoff, Patience},
    ids::PhoneNumberId,
    peers::{CallError, called},
    regions::Regions,
};

/// Between two rounds of saving. A cursor that is saved late costs a repeat after a crash; one for each acknowledgement would cost the
/// store a transaction for each few events.
const SPACING: Duration = Duration::from_millis(50);

/// How long saving goes on after the stream ended: what is lost is only sent again.
const AFTERWARDS: Duration = Duration::from_secs(5);

/// One stream's cursors to save; dropping it lets the saver end.
pub(super) struct Cursors {
    shared: Arc<Shared>,
}

struct Shared {
    subscription: String,
    pending: Mutex<BTreeMap<PhoneNumberId, Acknowledged>>,
    replaced: CancellationToken,
    changed: Notify,
    closed: Mutex<Option<Instant>>,
}

/// How far a number's events are acknowledged, and by which opening.
#[derive(Clone, Copy, Debug, Default)]
struct Acknowledged {
    cursor: u64,
    opening: u64,
}

impl Cursors {
    /// For a subscription, by its name in the store. The future saves; whoever calls spawns it.
    pub(super) fn new(
        subscription: String,
        regions: Arc<Regions>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let shared = Arc::new(Shared {
            subscription,
            pending: Mutex::default(),
            replaced: CancellationToken::new(),
            changed: Notify::new(),
            closed: Mutex::default(),
        });
        let saving = shared.clone().save_all(regions);
        (Self { shared }, saving)
    }

    /// Everything of `number` up to `cursor` is acknowledged on the stream that has that opening.
    pub(super) fn save(&self, number: PhoneNumberId, cursor: u64, opening: u64) {
        self.shared.put(number, Acknowledged { cursor, opening });
        self.shared.changed.notify_one();
    }

    /// Waits until the store says that there is a newer opening.
    pub(super) async fn replaced(&self) {
        self.shared.replaced.cancelled().await;
    }
}

impl Drop for Cursors {
    fn drop(&mut self) {
        *self.shared.closed() = Some(Instant::now());
        self.shared.changed.notify_one();
    }
}

impl Shared {
    async fn save_all(self: Arc<Self>, regions: Arc<Regions>) {
        let mut patience = Patience::new(Backoff::LINK);
        loop {
            let next = self.pending().pop_first();
            let Some((number, acknowledged)) = next else {
                if self.closed().is_some() {
                    return;
                }
                self.changed.notified().await;
                if self.closed().is_none() {
                    sleep(SPACING).await;
                }
                continue;
            };
            match self.save(&regions, &number, acknowledged).await {
                Ok(()) => {
                    patience.reset();
                    continue;
                }
                // It is saved, and another stream has the subscription now.
                Err(CallError::Replaced) => {
                    self.replaced.cancel();
                    continue;
                }
                Err(_) => {}
            }
            if self.closed().is_some_and(|at| at.elapsed() > AFTERWARDS) {
                return;
            }
            self.put(number, acknowledged);
            sleep(patience.next_delay()).await;
        }
    }

    async fn save(
        &self,
        regions: &Regions,
        number: &PhoneNumberId,
        Acknowledged { cursor, opening }: Acknowledged,
    ) -> Result<(), CallError> {
        let store = regions.store_of(number).await?;
        let request = AdvanceCursorRequest {
            subscription: self.subscription.clone(),
            phone_number_id: number.into(),
            cursor,
            opening,
        };
        called(store.client.clone().advance_cursor(request))
            .await
            .map(drop)
    }

    fn put(&self, number: PhoneNumberId, acknowledged: Acknowledged) {
        let mut pending = self.pending();
        let newest = pending.entry(number).or_default();
        if acknowledged.cursor > newest.cursor {
            *newest = acknowledged;
        }
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<PhoneNumberId, Acknowledged>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn closed(&self) -> MutexGuard<'_, Option<Instant>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
