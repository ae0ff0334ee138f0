//! One subscriber's stream: reads pages, sends them, hears acknowledgements.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use futures::{
    StreamExt,
    future::{BoxFuture, try_join_all},
    stream::FuturesUnordered,
};
use prost::Message;
use sealpost_failpoints::failpoint;
use sealpost_proto::{
    directory::v1::Scope,
    gateway::v1::{
        OpenSubscription, SubscribeEventsRequest, SubscribeEventsResponse,
        subscribe_events_request::Request,
    },
    store::v1::{ListEventsRequest, OpenCursorRequest, OpenCursorResponse},
};
use tokio::{
    pin,
    sync::{mpsc, oneshot},
    time::{interval, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, Streaming};

use super::{
    Answers, Contents, Feed, Fetch, Listener, StatusHeaders, Subscription, Wraps,
    cursors::Cursors,
    sealing::{SealedEvent, Sealer},
};
use crate::{
    authentication::{Caller, Session},
    backoff::{Backoff, Patience},
    ids::{ContentKeyId, PhoneNumberId},
    meters,
    peers::{Peers, called},
    regions::Regions,
    status::Error,
};

/// Pages read at one time for one stream.
const CONCURRENT_READS: usize = 8;

/// Answers that wait for the transport.
const AHEAD: usize = 2;

/// Bytes of events in one answer.
const ANSWER_BYTES: usize = 1024 * 1024;

/// How long a subscriber may take to open.
const OPENING: Duration = Duration::from_secs(30);

/// How often the numbers are looked at again, in case a word was lost or the token's numbers changed.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Content keys whose wrap went over one stream; beyond that they are sent again.
const REMEMBERED_WRAPS: usize = 4096;

const USUAL_UNACKNOWLEDGED: usize = 256;
const MOST_UNACKNOWLEDGED: u32 = 1024;
const MOST_NUMBERS: usize = 1000;

/// What subscriptions work with; clones share it.
#[derive(Clone)]
pub struct Events {
    /// The services.
    pub peers: Arc<Peers>,
    /// Who keeps what.
    pub regions: Arc<Regions>,
    /// Content sealed lately.
    pub contents: Arc<Contents>,
    /// Wraps of content keys.
    pub wraps: Arc<Wraps>,
    /// Headers for statuses of messages that this gateway admitted lately.
    pub headers: Arc<StatusHeaders>,
    /// Who has new events, and who has which subscription open.
    pub feed: Arc<Feed>,
    /// Waits for what still saves cursors at the end.
    pub tasks: TaskTracker,
}

/// A number, and how the store opened the subscription on it.
type Joined = (PhoneNumberId, OpenCursorResponse);

/// A page, ready to be sent; none where an event is passed over.
type Page = (Fetch, Vec<(u64, Option<SealedEvent>)>);

impl Events {
    /// Serves one stream until it ends, is replaced, or `stop` is cancelled.
    #[must_use]
    pub fn subscribe(
        &self,
        session: Session,
        requests: Streaming<SubscribeEventsRequest>,
        stop: CancellationToken,
    ) -> Answers {
        let (events, receiver) = mpsc::channel(AHEAD);
        let (end, ended) = oneshot::channel();
        let this = self.clone();
        tokio::spawn(async move {
            let result = tokio::select! {
                result = this.drive(session, requests, &events, stop) => result,
                () = events.closed() => Ok(()),
            };
            // Said before `events` goes, so that it is there when the stream looks.
            let _ = end.send(result);
            drop(events);
        });
        Answers::new(receiver, ended)
    }

    async fn drive(
        &self,
        session: Session,
        mut requests: Streaming<SubscribeEventsRequest>,
        events: &mpsc::Sender<SubscribeEventsResponse>,
        stop: CancellationToken,
    ) -> Result<(), Status> {
        let revoked = session.ended();
        pin!(revoked);
        let first = tokio::select! {
            error = &mut revoked => return Err(error.into()),
            () = stop.cancelled() => return Ok(()),
            first = timeout(OPENING, requests.message()) => first.map_err(|_| Error::Deadline)??,
        };
        let Some(SubscribeEventsRequest {
            request: Some(Request::Open(open)),
        }) = first
        else {
            return Err(Error::Malformed("open", "must come first").into());
        };
        let mut stream = Stream::open(self, &session.caller(), &open)?;
        let mut look_again = interval(LOOK_AGAIN);
        loop {
            stream.start_reads();
            tokio::select! {
                () = stream.cursors.replaced() => return Err(Error::SubscriptionReplaced.into()),
                error = &mut revoked => return Err(error.into()),
                () = stop.cancelled() => return Ok(()),
                request = requests.message() => match request? {
                    Some(request) => stream.hear(request)?,
                    None => return Ok(()),
                },
                news = stream.listener.news() => {
                    for (number, newest) in news.cursors {
                        stream.subscription.wake(&number, newest);
                    }
                    for (number, opening) in news.openings {
                        stream.opened(number, opening)?;
                    }
                }
                _ = look_again.tick() => stream.look_again(&session.caller())?,
                Some((number, opened)) = stream.joining.next(), if !stream.joining.is_empty() => {
                    stream.take_hold(&number, opened.opening)?;
                    let newest = self.feed.listen(&stream.listener, &number);
                    stream.subscription.add(number, opened.cursor, newest);
                }
                Some(page) = stream.reads.next(),
                    if !stream.reads.is_empty() && stream.outbox.is_empty() => stream.take(page),
                room = events.reserve(), if !stream.outbox.is_empty() => {
                    // Closed: the subscriber is gone.
                    let Ok(room) = room else { return Ok(()) };
                    if let Some(answer) = stream.outbox.pop_front() {
                        meters::events_delivered(answer.events.len());
                        room.send(answer);
                        failpoint!("events.sent");
                    }
                }
            }
        }
    }

    /// Opens a subscription on a number, as soon as the store answers: whoever had it open before gives way.
    async fn open(self, subscription: String, number: PhoneNumberId) -> Joined {
        let mut patience = Patience::new(Backoff::LINK);
        loop {
            if let Ok(store) = self.regions.store_of(&number).await {
                let request = OpenCursorRequest {
                    subscription: subscription.clone(),
                    phone_number_id: (&number).into(),
                };
                if let Ok(answer) = called(store.client.clone().open_cursor(request)).await {
                    return (number, answer);
                }
            }
            sleep(patience.next_delay()).await;
        }
    }

    /// A page, as soon as store and vault answer.
    async fn page(self, fetch: Fetch) -> Page {
        let mut patience = Patience::new(Backoff::LINK);
        loop {
            if let Some(events) = self.try_page(&fetch).await {
                return (fetch, events);
            }
            sleep(patience.next_delay()).await;
        }
    }

    async fn try_page(&self, fetch: &Fetch) -> Option<Vec<(u64, Option<SealedEvent>)>> {
        let store = self.regions.store_of(&fetch.number).await.ok()?;
        let mut request = ListEventsRequest {
            phone_number_id: (&fetch.number).into(),
            after: fetch.after,
            limit: u32::try_from(fetch.limit).ok()?,
            without_records: true,
        };
        let sealer = Sealer {
            vault: &self.peers.vault,
            contents: &self.contents,
            wraps: &self.wraps,
            headers: &self.headers,
        };
        // Most of what is told is at hand: the vault sealed it when the message passed.
        let bare = called(store.client.clone().list_events(request.clone()))
            .await
            .ok()?
            .events;
        let mut page = Vec::with_capacity(bare.len());
        for event in &bare {
            match sealer.at_hand(&fetch.number, event) {
                Some(sealed) => page.push((event.cursor, sealed)),
                None => break,
            }
        }
        if page.len() == bare.len() {
            return Some(page);
        }
        if let Some((cursor, _)) = page.last() {
            request.after = *cursor;
        }
        request.limit = u32::try_from(bare.len() - page.len()).ok()?;
        request.without_records = false;
        let stored = called(store.client.clone().list_events(request))
            .await
            .ok()?
            .events;
        let sealing = stored.into_iter().map(async |event| {
            let cursor = event.cursor;
            if let Some(sealed) = sealer.at_hand(&fetch.number, &event) {
                return Ok((cursor, sealed));
            }
            let sealed = sealer.seal(&fetch.number, event).await?;
            if sealed.is_none() {
                meters::event_skipped();
            }
            Ok::<_, super::sealing::NotNow>((cursor, sealed))
        });
        page.extend(try_join_all(sealing).await.ok()?);
        Some(page)
    }
}

/// The state of one stream.
struct Stream<'a> {
    events: &'a Events,
    /// `<business_id>/<name>`, as the store knows it.
    name: String,
    /// Whether it has all numbers of the token, also those that come later.
    all: bool,
    numbers: HashSet<PhoneNumberId>,
    subscription: Subscription,
    listener: Listener,
    cursors: Cursors,
    joining: FuturesUnordered<BoxFuture<'static, Joined>>,
    /// This stream's opening of each number.
    mine: HashMap<PhoneNumberId, u64>,
    /// The newest opening of each number that was heard of before this stream's own.
    others: HashMap<PhoneNumberId, u64>,
    reads: FuturesUnordered<BoxFuture<'static, Page>>,
    outbox: VecDeque<SubscribeEventsResponse>,
    wraps_sent: HashSet<ContentKeyId>,
}

impl<'a> Stream<'a> {
    fn open(events: &'a Events, caller: &Caller, open: &OpenSubscription) -> Result<Self, Error> {
        let allowed = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'_' | b'-')
        };
        if open.name.is_empty() || open.name.len() > 64 || !open.name.bytes().all(allowed) {
            return Err(Error::Malformed(
                "open.name",
                "must be 1 to 64 of [a-z0-9._-]",
            ));
        }
        if open.max_unacknowledged > MOST_UNACKNOWLEDGED {
            return Err(Error::Malformed(
                "open.max_unacknowledged",
                "must be at most 1024",
            ));
        }
        let all = open.phone_number_ids.is_empty();
        let numbers: HashSet<_> = if all {
            caller.numbers.keys().cloned().collect()
        } else if open.phone_number_ids.len() > MOST_NUMBERS {
            return Err(Error::Malformed(
                "open.phone_number_ids",
                "must be at most 1000",
            ));
        } else {
            let ids = open.phone_number_ids.iter();
            ids.map(|id| Ok(caller.number(id)?.0))
                .collect::<Result<_, Error>>()?
        };
        let most = match usize::try_from(open.max_unacknowledged) {
            Ok(most) if most > 0 => most,
            _ => USUAL_UNACKNOWLEDGED,
        };
        let name = format!("{}/{}", caller.business_id, open.name);
        let (cursors, saving) = Cursors::new(name.clone(), events.regions.clone());
        events.tasks.spawn(saving);
        let mut stream = Self {
            events,
            listener: events.feed.subscribe(&name),
            name,
            all,
            numbers: HashSet::new(),
            subscription: Subscription::new(most),
            cursors,
            joining: FuturesUnordered::new(),
            mine: HashMap::new(),
            others: HashMap::new(),
            reads: FuturesUnordered::new(),
            outbox: VecDeque::new(),
            wraps_sent: HashSet::new(),
        };
        for number in numbers {
            stream.join(number);
        }
        Ok(stream)
    }

    fn join(&mut self, number: PhoneNumberId) {
        if self.numbers.insert(number.clone()) {
            let opened = self.events.clone().open(self.name.clone(), number);
            self.joining.push(Box::pin(opened));
        }
    }

    /// This stream opened the subscription on a number.
    fn take_hold(&mut self, number: &PhoneNumberId, opening: u64) -> Result<(), Error> {
        if self
            .others
            .remove(number)
            .is_some_and(|other| other > opening)
        {
            return Err(Error::SubscriptionReplaced);
        }
        self.mine.insert(number.clone(), opening);
        Ok(())
    }

    fn save(&self, number: PhoneNumberId, cursor: u64) {
        let opening = self.mine.get(&number).copied().unwrap_or_default();
        self.cursors.save(number, cursor, opening);
    }

    /// Word came that the subscription was opened on a number, by this stream or another: the newest has it.
    fn opened(&mut self, number: PhoneNumberId, opening: u64) -> Result<(), Error> {
        match self.mine.get(&number) {
            Some(mine) if opening > *mine => return Err(Error::SubscriptionReplaced),
            Some(_) => return Ok(()),
            None => {}
        }
        // Word of another may come before the answer to this stream's own call.
        let newest = self.others.entry(number).or_default();
        *newest = opening.max(*newest);
        Ok(())
    }

    fn start_reads(&mut self) {
        while self.outbox.is_empty()
            && self.reads.len() < CONCURRENT_READS
            && let Some(fetch) = self.subscription.next_fetch()
        {
            self.reads.push(Box::pin(self.events.clone().page(fetch)));
        }
    }

    fn hear(&mut self, request: SubscribeEventsRequest) -> Result<(), Error> {
        let Some(Request::Acknowledge(acknowledge)) = request.request else {
            return Err(Error::Malformed("request", "must be an acknowledgement"));
        };
        let number = PhoneNumberId::parse(&acknowledge.phone_number_id)
            .map_err(|_| Error::Malformed("phone_number_id", "must be 1 to 32 digits"))?;
        if !self.numbers.contains(&number) {
            return Err(Error::NumberNotAllowed);
        }
        // A number whose cursor is not known yet has sent nothing on this stream: what it acknowledges is sent again.
        if let Some(cursor) = self.subscription.acknowledge(&number, acknowledge.cursor) {
            self.save(number, cursor);
        }
        Ok(())
    }

    /// Holds the stream to what the token may do now.
    fn look_again(&mut self, caller: &Caller) -> Result<(), Error> {
        caller.must_have(Scope::Receive)?;
        if !self
            .numbers
            .iter()
            .all(|number| caller.numbers.contains_key(number))
        {
            return Err(Error::NumberNotAllowed);
        }
        if self.all {
            for number in caller.numbers.keys() {
                self.join(number.clone());
            }
        }
        self.subscription.wake_all();
        Ok(())
    }

    fn take(&mut self, (fetch, events): Page) {
        let fetched = self
            .subscription
            .fetched(&fetch.number, fetch.limit, events);
        if let Some(cursor) = fetched.advance {
            self.save(fetch.number, cursor);
        }
        let mut answer = SubscribeEventsResponse::default();
        let mut bytes = 0;
        for SealedEvent { event, wrap } in fetched.send {
            if bytes > ANSWER_BYTES {
                self.outbox.push_back(std::mem::take(&mut answer));
                bytes = 0;
            }
            if let Some((key, wrap)) = wrap {
                if self.wraps_sent.len() >= REMEMBERED_WRAPS {
                    self.wraps_sent.clear();
                }
                if self.wraps_sent.insert(key) {
                    bytes += wrap.len();
                    answer.wraps.push(wrap);
                }
            }
            bytes += event.encoded_len();
            answer.events.push(event);
        }
        if !answer.events.is_empty() {
            self.outbox.push_back(answer);
        }
    }
}
