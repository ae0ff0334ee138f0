//! The task behind an event stream: opens the gateway's stream, reads, acknowledges, and begins again when it breaks.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use sealpost_envelope::{EnvelopeError, NumberId, UnverifiedWrap};
use sealpost_proto::gateway::v1::{
    AcknowledgeEvents, Event, OpenSubscription, SubscribeEventsRequest, SubscribeEventsResponse,
    subscribe_events_request::Request,
};
use sealpost_runtime::status::reason_of;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until, timeout},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    Ack, Delivery, Incoming, Refusal, Subscription, Warning,
    ledger::{Arrival, Ledger},
    open::Keyring,
};
use crate::{BusinessKeys, SdkError, gateway::Gateway, vault_keys::VaultKeys};

/// How long opening the stream may take.
const OPENING: Duration = Duration::from_secs(10);
/// Requests on their way; further acknowledgements of a number wait as one.
const REQUESTS: usize = 16;
/// How long to leave a subscription to another process that took it over, so that two of one name do not fight for it.
const REPLACED: Duration = Duration::from_secs(30);
/// How often an event whose content key does not come is asked for again before it is given up.
const TRIES: u32 = 5;
/// While a number is left out, the stream is opened again this often to try once more.
const LEFT_OUT_RETRY: Duration = Duration::from_secs(60);

type Done = mpsc::UnboundedReceiver<(NumberId, u64)>;

pub(super) struct Task {
    subscription: Subscription,
    gateway: Gateway,
    keys: Arc<BusinessKeys>,
    vaults: Arc<VaultKeys>,
    deliveries: mpsc::Sender<Delivery>,
    done: mpsc::UnboundedSender<(NumberId, u64)>,
    keyring: Keyring,
    ledgers: BTreeMap<NumberId, Ledger>,
    /// What the gateway is yet to hear: the last cursor of each number.
    unsaid: BTreeMap<NumberId, u64>,
    /// How often the event at a place did not open.
    failed: HashMap<(NumberId, u64), u32>,
    delays: ExponentialBackoff,
    /// Whether the gateway is asked for each number before the stream is opened, known or not.
    asks_anew: bool,
}

/// Why a stream was left.
enum End {
    /// The app dropped its side.
    Dropped,
    /// It broke, or must be opened anew.
    Broken,
    /// Another process opened the subscription.
    Replaced,
}

/// An open stream.
struct Open {
    requests: mpsc::Sender<SubscribeEventsRequest>,
    answers: Streaming<SubscribeEventsResponse>,
    /// When to open it anew, for the numbers that are left out.
    renew_at: Option<Instant>,
}

impl Task {
    pub(super) fn new(
        subscription: Subscription,
        gateway: Gateway,
        keys: Arc<BusinessKeys>,
        vaults: Arc<VaultKeys>,
        deliveries: mpsc::Sender<Delivery>,
        done: mpsc::UnboundedSender<(NumberId, u64)>,
    ) -> Self {
        let ledgers = subscription
            .numbers
            .iter()
            .map(|number| (number.clone(), Ledger::default()))
            .collect();
        Self {
            subscription,
            gateway,
            keys,
            vaults,
            deliveries,
            done,
            keyring: Keyring::default(),
            ledgers,
            unsaid: BTreeMap::new(),
            failed: HashMap::new(),
            delays: delays(),
            asks_anew: false,
        }
    }

    pub(super) async fn run(mut self, mut acknowledged: Done) {
        loop {
            let deliveries = self.deliveries.clone();
            let end = tokio::select! {
                end = self.once(&mut acknowledged) => end,
                () = deliveries.closed() => End::Dropped,
            };
            if matches!(end, End::Dropped) {
                return;
            }
            let pause = match end {
                End::Replaced => REPLACED,
                _ => self.delays.next().unwrap_or_default(),
            };
            let again = Instant::now() + pause;
            while let Ok(Some(place)) = tokio::time::timeout_at(again, acknowledged.recv()).await {
                self.finish(&place);
            }
            sleep_until(again).await;
        }
    }

    async fn once(&mut self, acknowledged: &mut Done) -> End {
        let mut open = match self.open().await {
            Ok(open) => open,
            Err(error) => {
                tracing::warn!(%error, "the event stream does not open");
                return End::Broken;
            }
        };
        loop {
            let renew_at = open
                .renew_at
                .unwrap_or_else(|| Instant::now() + LEFT_OUT_RETRY);
            let end = tokio::select! {
                biased;
                place = acknowledged.recv() => match place {
                    Some(place) => {
                        self.finish(&place);
                        None
                    }
                    None => Some(End::Dropped),
                },
                permit = open.requests.reserve(), if !self.unsaid.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some((number, cursor)) = self.unsaid.pop_first() {
                            permit.send(acknowledgement(&number, cursor));
                        }
                        None
                    }
                    Err(_) => Some(End::Broken),
                },
                answer = open.answers.message() => match answer {
                    Ok(Some(answer)) => self.receive(answer).await,
                    Ok(None) => Some(End::Broken),
                    Err(status) => Some(self.broken(&status)),
                },
                () = sleep_until(renew_at), if open.renew_at.is_some() => Some(End::Broken),
            };
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Opens the stream for the numbers whose vault can be verified.
    async fn open(&mut self) -> Result<Open, SdkError> {
        let mut numbers = Vec::new();
        let mut untrusted = Vec::new();
        for number in &self.subscription.numbers {
            match self.vaults.signer(number, self.asks_anew).await {
                Ok(_) => numbers.push(number.as_str().to_owned()),
                Err(error) if error.is_transient() => return Err(error),
                Err(SdkError::Untrusted(_)) => untrusted.push(number.clone()),
                Err(SdkError::Unauthenticated) => return Err(SdkError::Unauthenticated),
                Err(error) => tracing::warn!(%error, "a number is left out of the event stream"),
            }
        }
        let is_complete = numbers.len() == self.subscription.numbers.len();
        let renew_at = (!is_complete).then(|| Instant::now() + LEFT_OUT_RETRY);
        for number in untrusted {
            self.warn(Some(number), Refusal::UntrustedVault, None).await;
        }
        // An empty list would mean every number of the token to the gateway.
        if numbers.is_empty() {
            return Err(SdkError::Subscription);
        }
        let (requests, stream) = mpsc::channel(REQUESTS);
        let opening = Request::Open(OpenSubscription {
            name: self.subscription.name.clone(),
            phone_number_ids: numbers,
            max_unacknowledged: self.subscription.max_unacknowledged,
        });
        // The channel is new and has room.
        let _ = requests.try_send(SubscribeEventsRequest {
            request: Some(opening),
        });
        let mut gateway = self.gateway.clone();
        let answers = timeout(
            OPENING,
            gateway.subscribe_events(ReceiverStream::new(stream)),
        )
        .await
        .unwrap_or_else(|_| Err(Status::deadline_exceeded("not opened in time")))
        .map_err(|status| {
            self.note_refusal(&status);
            SdkError::from_status(&status)
        })?
        .into_inner();
        Ok(Open {
            requests,
            answers,
            renew_at,
        })
    }

    fn broken(&mut self, status: &Status) -> End {
        if reason_of(status).as_deref() == Some("SUBSCRIPTION_REPLACED") {
            tracing::error!("another process opened this subscription; its name must be its own");
            return End::Replaced;
        }
        self.note_refusal(status);
        let code = status.code().description();
        tracing::warn!(code, "the event stream broke");
        End::Broken
    }

    /// A stream is refused whole when the token may not act for one of its numbers any more; asking for each leaves out that one.
    fn note_refusal(&mut self, status: &Status) {
        self.asks_anew |= status.code() == Code::PermissionDenied;
    }

    async fn receive(&mut self, answer: SubscribeEventsResponse) -> Option<End> {
        for wrap in answer.wraps {
            self.take_wrap(wrap).await;
        }
        for event in answer.events {
            if let Some(end) = self.take_event(event).await {
                return Some(end);
            }
        }
        None
    }

    /// A wrap that is refused is remembered as such; the event that needs it says so.
    async fn take_wrap(&mut self, wire: Bytes) {
        let wrap = match UnverifiedWrap::parse(&wire) {
            Ok(wrap) => wrap,
            Err(error) => return refused_wrap(error),
        };
        let number = wrap.number().clone();
        if !self.ledgers.contains_key(&number) {
            return refused_wrap(EnvelopeError::WrongNumber);
        }
        let Ok(mut signer) = self.vaults.signer(&number, false).await else {
            return refused_wrap(EnvelopeError::WrongSender);
        };
        // Another signing key may be the next one: the gateway is asked, and its answer verified from the known key on.
        if wrap.sender_key_id() != signer.key_id()
            && let Ok(next) = self.vaults.signer(&number, true).await
        {
            signer = next;
        }
        let now = self.vaults.now();
        let hpke = &self.keys.hpke;
        if let Err(error) = self.keyring.take(wrap, &number, &signer, hpke, now) {
            refused_wrap(error);
        }
    }

    async fn take_event(&mut self, event: Event) -> Option<End> {
        let number = event.phone_number_id.parse::<NumberId>().ok();
        let known = number.and_then(|number| {
            let ledger = self.ledgers.get_mut(&number)?;
            Some((ledger.arrive(event.cursor), number))
        });
        let Some((arrival, number)) = known else {
            // Nothing to acknowledge: it was never asked for.
            return self.warn(None, Refusal::UnknownNumber, None).await;
        };
        let place = (number, event.cursor);
        match arrival {
            Arrival::Out => return None,
            Arrival::Acknowledged(cursor) => {
                self.unsaid.insert(place.0, cursor);
                return None;
            }
            Arrival::New => {}
        }
        match self.keyring.open(&place.0, &event, self.vaults.now()) {
            Ok(incoming) => {
                self.failed.remove(&place);
                // Only now: a stream that breaks over an event that does not open must not begin again at once.
                self.delays = delays();
                if self.is_repeated(&incoming) {
                    metrics::counter!("sealpost_connector_replays_total").increment(1);
                    self.finish(&place);
                    return None;
                }
                self.deliver(incoming, Some(place)).await
            }
            Err(refusal) if self.may_come_again(&place, refusal) => {
                if let Some(ledger) = self.ledgers.get_mut(&place.0) {
                    ledger.withdraw(place.1);
                }
                tracing::warn!(error = %refusal, "an event does not open; asking for it again");
                Some(End::Broken)
            }
            Err(refusal) => {
                self.failed.remove(&place);
                let number = Some(place.0.clone());
                self.warn(number, refusal, Some(place)).await
            }
        }
    }

    fn is_repeated(&self, incoming: &Incoming) -> bool {
        match incoming {
            Incoming::Message(message) => !self.subscription.seen.is_new(&message.replay_key()),
            _ => false,
        }
    }

    fn may_come_again(&mut self, place: &(NumberId, u64), refusal: Refusal) -> bool {
        // To give up over a clock that somebody will put right would lose what is whole.
        if refusal.waits_for_clock() {
            return true;
        }
        if !refusal.is_transient() {
            return false;
        }
        let failures = self.failed.entry(place.clone()).or_default();
        *failures += 1;
        *failures < TRIES
    }

    async fn warn(
        &self,
        phone_number_id: Option<NumberId>,
        refusal: Refusal,
        place: Option<(NumberId, u64)>,
    ) -> Option<End> {
        metrics::counter!("sealpost_connector_refused_events_total").increment(1);
        tracing::error!(error = %refusal, "an event was refused");
        let warning = Warning {
            phone_number_id,
            refusal,
        };
        self.deliver(Incoming::Warning(warning), place).await
    }

    async fn deliver(&self, incoming: Incoming, place: Option<(NumberId, u64)>) -> Option<End> {
        let ack = Ack {
            place,
            done: self.done.clone(),
        };
        let sent = self.deliveries.send(Delivery { incoming, ack }).await;
        sent.err().map(|_| End::Dropped)
    }

    fn finish(&mut self, (number, cursor): &(NumberId, u64)) {
        let ledger = self.ledgers.get_mut(number);
        if let Some(cursor) = ledger.and_then(|ledger| ledger.finish(*cursor)) {
            self.unsaid.insert(number.clone(), cursor);
        }
    }
}

fn acknowledgement(number: &NumberId, cursor: u64) -> SubscribeEventsRequest {
    let request = Request::Acknowledge(AcknowledgeEvents {
        phone_number_id: number.as_str().to_owned(),
        cursor,
    });
    SubscribeEventsRequest {
        request: Some(request),
    }
}

fn refused_wrap(error: EnvelopeError) {
    metrics::counter!("sealpost_connector_refused_wraps_total").increment(1);
    tracing::warn!(%error, "a wrap was refused");
}

fn delays() -> ExponentialBackoff {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(Duration::from_secs(10))
        .with_jitter()
        .without_max_times()
        .build()
}
