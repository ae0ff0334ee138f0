//! Seals what the application hands over: session, encrypt, commit, answer; a batch is whatever queued meanwhile.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prost::Message;
use rand::{Rng, TryRngCore, rngs::OsRng};
use sealpost_failpoints::failpoint;
use sealpost_proto::{content::v1::Content, relay::v1::FetchBusinessBundleRequest};
use sealpost_runtime::Timestamp;
use tokio::sync::{mpsc, oneshot};
use zeroize::Zeroizing;

use super::{broken, shared::Shared};
use crate::{
    ConsumerError, SignalFault,
    ids::{Business, MessageId, PhoneNumber, PhoneNumberId},
    padding,
    seal::{self, Note},
    signal::{self, Bundle, Draft},
    state::{Change, Model, State},
};

/// Letters sealed in one commit.
const LETTERS_AT_ONCE: usize = 64;
/// Sealed messages that may wait for the relay; past that, senders wait.
const MAX_WAITING: usize = 4096;
/// How long the relay may take to answer for a bundle.
const FETCH_TIMEOUT: Duration = Duration::from_secs(15);

type Reply = oneshot::Sender<Result<Vec<MessageId>, ConsumerError>>;

/// Messages for one business, padded already.
pub(super) struct Letter {
    to: Business,
    padded: Vec<Zeroizing<Vec<u8>>>,
    reply: Reply,
}

/// What a fetched bundle tells.
pub(super) struct Fetched {
    pub(super) number: PhoneNumberId,
    display_name: String,
    pub(super) bundle: Bundle,
}

impl Letter {
    pub(super) fn new(
        to: Business,
        contents: &[Content],
        reply: Reply,
    ) -> Result<Self, ConsumerError> {
        let padded = contents
            .iter()
            .map(|content| padding::pad(&Zeroizing::new(content.encode_to_vec())))
            .collect::<Result<_, _>>()?;
        Ok(Self { to, padded, reply })
    }
}

/// Seals until the client stops.
pub(super) async fn run(shared: Arc<Shared>, mut letters: mpsc::Receiver<Letter>) {
    let mut batch = Vec::new();
    loop {
        tokio::select! {
            taken = letters.recv_many(&mut batch, LETTERS_AT_ONCE) => if taken == 0 { return },
            () = shared.stop.cancelled() => return,
        }
        let sealed = tokio::select! {
            sealed = seal_letters(&shared, std::mem::take(&mut batch)) => sealed,
            () = shared.stop.cancelled() => return,
        };
        if !sealed {
            return;
        }
    }
}

/// Answers whether the state can still be written.
async fn seal_letters(shared: &Shared, letters: Vec<Letter>) -> bool {
    while shared.state.lock().await.model().outbox.len() >= MAX_WAITING {
        shared.room.notified().await;
    }
    let mut fetched = BTreeMap::new();
    for to in without_session(shared, &letters).await {
        let found = fetch(shared, to.1).await;
        fetched.insert(to.0, found);
    }
    let (phone, now) = (shared.phone.clone(), shared.clock.now());
    let written = shared
        .with_state(move |state| seal_batch(state, &phone, letters, fetched, now))
        .await;
    shared.courier.notify_one();
    shared.arrived.notify_one();
    match written {
        Ok(()) => true,
        Err(error) => {
            broken(shared, &error);
            false
        }
    }
}

/// The businesses to which no usable session leads, with their phone number when it is known.
async fn without_session(
    shared: &Shared,
    letters: &[Letter],
) -> BTreeMap<Business, Option<PhoneNumber>> {
    let state = shared.state.lock().await;
    let (model, now) = (state.model(), shared.clock.now());
    letters
        .iter()
        .filter(|letter| {
            let session = number_of(model, &letter.to)
                .and_then(|number| model.sessions.get(number).map(Box::as_ref));
            !signal::has_session(session, now)
        })
        .map(|letter| {
            let phone = match &letter.to {
                Business::Phone(phone) => Some(phone.clone()),
                Business::Id(number) => model
                    .businesses
                    .get(number)
                    .map(|business| business.phone.clone()),
            };
            (letter.to.clone(), phone)
        })
        .collect()
}

/// Asks the relay for a business's keys.
pub(super) async fn fetch(
    shared: &Shared,
    phone: Option<PhoneNumber>,
) -> Result<(PhoneNumber, Fetched), ConsumerError> {
    let phone = phone.ok_or(ConsumerError::BusinessUnknown)?;
    let request = FetchBusinessBundleRequest {
        phone_number: phone.as_str().to_owned(),
        without_prekeys: false,
    };
    let mut request = shared.session.request(request);
    request.set_timeout(FETCH_TIMEOUT);
    let found = shared
        .session
        .device()
        .fetch_business_bundle(request)
        .await?
        .into_inner();
    let number: PhoneNumberId = found.phone_number_id.parse()?;
    let signed = found.bundle.ok_or(SignalFault::Bundle)?;
    let bundle = Bundle::read(&signed, &shared.phone, &number, shared.clock.now())?;
    Ok((
        phone,
        Fetched {
            number,
            display_name: found.display_name,
            bundle,
        },
    ))
}

/// Seals every letter and commits once; answers come after the commit.
fn seal_batch(
    state: &mut State,
    me: &PhoneNumber,
    letters: Vec<Letter>,
    mut fetched: BTreeMap<Business, Result<(PhoneNumber, Fetched), ConsumerError>>,
    now: Timestamp,
) -> Result<(), crate::StateError> {
    let mut rng = OsRng.unwrap_err();
    let mut answers = Vec::new();
    let mut draft = Draft::of(state.model());
    let mut started: BTreeMap<Business, Result<PhoneNumberId, ConsumerError>> = BTreeMap::new();
    for letter in letters {
        if let Some(found) = fetched.remove(&letter.to) {
            let number =
                found.and_then(|(phone, found)| start(&mut draft, phone, &found, now, &mut rng));
            started.insert(letter.to.clone(), number);
        }
        let number = match started.get(&letter.to) {
            Some(Ok(number)) => Ok(number.clone()),
            Some(Err(error)) => Err(again(error)),
            None => number_of(draft.model(), &letter.to)
                .cloned()
                .ok_or(ConsumerError::BusinessUnknown),
        };
        let sealed = number.and_then(|number| {
            seal_letter(&mut draft, me, &number, &letter.padded, now, &mut rng)
                .map_err(ConsumerError::from)
        });
        answers.push((letter.reply, sealed));
    }
    let changes = draft.finish();
    failpoint!("send.sealed");
    let committed = state.commit(changes);
    failpoint!("send.committed");
    for (reply, sealed) in answers {
        let answer = if committed.is_ok() {
            sealed
        } else {
            Err(ConsumerError::Closed)
        };
        // Whoever asked may have gone; what was sealed goes out all the same.
        let _ = reply.send(answer);
    }
    committed
}

/// A session from a fetched bundle, unless one came in the meantime.
fn start(
    draft: &mut Draft<'_>,
    phone: PhoneNumber,
    found: &Fetched,
    now: Timestamp,
    rng: &mut (impl Rng + rand::CryptoRng),
) -> Result<PhoneNumberId, ConsumerError> {
    let number = found.number.clone();
    if !signal::has_session(draft.session(&number), now) {
        let effects = signal::establish(draft, &number, &found.bundle, now, rng)?;
        draft.absorb(&number, effects);
    }
    draft.add(Change::Business {
        number: number.clone(),
        phone,
        display_name: found.display_name.clone(),
    });
    Ok(number)
}

/// All the messages of one letter. A letter that fails midway has advanced the session by unused keys, which harms nothing, but
/// none of its messages goes out.
fn seal_letter(
    draft: &mut Draft<'_>,
    me: &PhoneNumber,
    number: &PhoneNumberId,
    padded: &[Zeroizing<Vec<u8>>],
    now: Timestamp,
    rng: &mut (impl Rng + rand::CryptoRng),
) -> Result<Vec<MessageId>, SignalFault> {
    let mut sealed = Vec::with_capacity(padded.len());
    for padded in padded {
        let note = Note {
            number: number.clone(),
            message_id: MessageId::random(rng),
            time: now,
            padded: padded.clone(),
        };
        let envelope_id = rng.random();
        sealed.push(seal::seal(draft, me, note, envelope_id, 0, now, rng)?);
    }
    let ids = sealed.iter().map(|one| one.outgoing.message_id).collect();
    for one in sealed {
        one.post(draft);
    }
    Ok(ids)
}

/// The same failure, for the next letter to the same business.
fn again(error: &ConsumerError) -> ConsumerError {
    match error {
        ConsumerError::Relay { code, reason } => ConsumerError::Relay {
            code: *code,
            reason: reason.clone(),
        },
        ConsumerError::Signal(fault) => ConsumerError::Signal(*fault),
        ConsumerError::Malformed(text) => ConsumerError::Malformed(text),
        _ => ConsumerError::BusinessUnknown,
    }
}

fn number_of<'a>(model: &'a Model, to: &'a Business) -> Option<&'a PhoneNumberId> {
    match to {
        Business::Phone(phone) => model.number_of(phone),
        Business::Id(number) => Some(number),
    }
}
