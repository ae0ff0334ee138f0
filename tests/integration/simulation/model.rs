//! What must be observable of one conversation, whatever fails meanwhile.
//!
//! Pure: it is shown a trace, entry by entry, and says which rule an entry breaks. The rules:
//!
//! 1. A message that was accepted is shown to the consumer once, as it was sent, in the order in which the business sent. Only a
//!    device that crashed shows again what it had not confirmed, and says so.
//! 2. A message that the consumer wrote reaches the business's program once, in order. Only a program that began again at an old
//!    acknowledgement hears again what came after that.
//! 3. The same key with the same content is the same message, and is recognised; with another content it is refused, and that
//!    content is never shown.
//! 4. How far a message is, only grows. One that was shown is told to be delivered, one that was read, read.
//! 5. Past its retention, or once the person is erased, a message is neither shown nor heard nor told of, and there is no answer
//!    but that it is gone. Within its time it is never forgotten. What a device had taken in when it went offline is its owner's, and
//!    may be shown when it comes back.
//! 6. After an erasure the consumer's device does not know yet that its session is gone: what it writes until there is another one
//!    it is asked for again, try by try, and so it may arrive late and out of order; it is not waited for. The same holds for what
//!    lay in the device at the erasure, also what had been heard: a device that was not there to learn so sends it again, and
//!    nobody is left who could recognise it.

use std::collections::BTreeMap;
use std::fmt;

use sealpost_connector_sdk::DeliveryStatus;

use super::trace::{Answer, Entry, Id};

/// A rule that a trace breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Broken {
    /// Accepted or written, and never shown or heard.
    Lost(String),
    /// Shown or heard once too often.
    Doubled(String),
    /// After one that was sent later.
    Disordered(String),
    /// Never sent, or with another content.
    Strange(String),
    /// A repeat was taken for a new message.
    Unrecognised(String),
    /// Another content was taken under the same key.
    Overwritten(String),
    /// Refused though nothing speaks against it.
    Refused(String),
    /// A status that is not beyond the last one.
    Backward(String, DeliveryStatus),
    /// Shown, read or handed over, and nobody was told.
    Untold(String, DeliveryStatus),
    /// Seen or answered after its time, or after the erasure.
    Outlived(String),
    /// Gone before its time.
    Forgotten(String),
    /// Shown to a device that is offline, or something that is never to be seen.
    Impossible(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A message of the business.
struct Out {
    id: Id,
    key: String,
    content: String,
    sent_at: u64,
    accepted: bool,
    shown: bool,
    /// Whether its device may have had it when it went offline.
    taken: bool,
    read: bool,
    told: Option<DeliveryStatus>,
    /// The furthest that was told in this life of the program.
    told_now: Option<DeliveryStatus>,
    erased: bool,
}

/// A message of the consumer.
struct In {
    content: String,
    heard: bool,
    /// Whether it must arrive, and in order: it was written on a session that was alive.
    promised: bool,
    /// Whether the device had the time to learn that it was heard.
    known: bool,
    erased: bool,
}

/// One conversation so far.
pub struct Model {
    /// How long a message lives, seconds.
    retention: u64,
    /// How far the clocks moved, seconds.
    now: u64,
    online: bool,
    crashed: bool,
    reconnected: bool,
    /// Whether the device's session is alive, as far as anybody can see.
    session: bool,
    out: Vec<Out>,
    into: Vec<In>,
    /// Contents that were refused, by key.
    misused: BTreeMap<String, String>,
    /// How far the message that is asked for was told to be when that began.
    told_before: Option<Option<DeliveryStatus>>,
}

impl Model {
    /// Nothing was said yet; the consumer is online. The number keeps messages for `retention` seconds.
    pub fn new(retention: u64) -> Self {
        Self {
            retention,
            now: 0,
            online: true,
            crashed: false,
            reconnected: false,
            session: true,
            out: Vec::new(),
            into: Vec::new(),
            misused: BTreeMap::new(),
            told_before: None,
        }
    }

    /// Takes in what was done or seen next.
    ///
    /// # Errors
    /// The rule that it breaks.
    pub fn observe(&mut self, entry: &Entry) -> Result<(), Broken> {
        match entry {
            Entry::Sends { key, id, content } => self.sends(key, *id, content),
            Entry::Accepted {
                key,
                id,
                content,
                repeated,
            } => {
                return self.accepted(key, *id, content, *repeated);
            }
            Entry::Conflicted { key, content } => {
                let first = self.living(|out| out.key == *key);
                if first.is_none_or(|out| out.content == *content) {
                    return Err(Broken::Refused(content.clone()));
                }
            }
            Entry::Refused { key, why } => return Err(Broken::Refused(format!("{key}: {why}"))),
            Entry::Asks { id } => {
                self.told_before = self
                    .out
                    .iter()
                    .rev()
                    .find(|out| out.id == *id)
                    .map(|out| out.told);
            }
            Entry::Asked { id, answer } => return self.asked(*id, *answer),
            Entry::Writes { content } => self.into.push(In {
                content: content.clone(),
                heard: false,
                promised: self.session,
                known: false,
                erased: false,
            }),
            Entry::Shown { id, content, again } => return self.shown(*id, content, *again),
            Entry::Reads { id } => {
                if let Some(out) = self.out_mut(*id) {
                    out.read = true;
                }
            }
            Entry::Left => self.offline(),
            Entry::Crashed => {
                self.crashed = true;
                self.offline();
            }
            Entry::Came => self.online = true,
            Entry::Heard { content } => return self.heard(content),
            Entry::Told { id, status } => return self.told(*id, *status),
            Entry::Reconnected => {
                self.reconnected = true;
                self.out.iter_mut().for_each(|out| out.told_now = None);
            }
            Entry::Surprised { by } => return Err(Broken::Impossible(by.clone())),
            Entry::Erased => self.erase(),
            Entry::Advanced { seconds } => self.now += seconds,
            Entry::Settled => return self.settled(),
        }
        Ok(())
    }

    fn settled(&mut self) -> Result<(), Broken> {
        if let Some(missing) = self.missing().into_iter().next() {
            return Err(missing);
        }
        if self.online {
            self.into.iter_mut().for_each(|it| it.known = it.heard);
        }
        Ok(())
    }

    /// What must yet come: empty once everything has arrived that can.
    pub fn missing(&self) -> Vec<Broken> {
        let mut missing = Vec::new();
        for out in self
            .out
            .iter()
            .filter(|out| out.accepted && self.lives(out))
        {
            if self.online && !out.shown {
                missing.push(Broken::Lost(out.content.clone()));
            }
            let must_be_told = match (out.shown && self.online, out.read && self.online) {
                (_, true) => DeliveryStatus::Read,
                (true, false) => DeliveryStatus::Delivered,
                (false, false) => DeliveryStatus::Sent,
            };
            if out.told < Some(must_be_told) {
                missing.push(Broken::Untold(out.content.clone(), must_be_told));
            }
        }
        if self.online {
            let unheard = |it: &&In| it.promised && !it.heard && !it.erased;
            let unheard = self.into.iter().filter(unheard);
            missing.extend(unheard.map(|it| Broken::Lost(it.content.clone())));
        }
        missing
    }

    fn sends(&mut self, key: &str, id: Id, content: &str) {
        match self.living(|out| out.key == key) {
            Some(first) if first.content != content => {
                self.misused.insert(key.to_owned(), content.to_owned());
            }
            Some(_) => {}
            None => self.out.push(Out {
                id,
                key: key.to_owned(),
                content: content.to_owned(),
                sent_at: self.now,
                accepted: false,
                shown: false,
                taken: false,
                read: false,
                told: None,
                told_now: None,
                erased: false,
            }),
        }
    }

    fn accepted(&mut self, key: &str, id: Id, content: &str, repeated: bool) -> Result<(), Broken> {
        if self.misused.get(key).is_some_and(|other| other == content) {
            return Err(Broken::Overwritten(content.to_owned()));
        }
        let Some(out) = self.out_mut(id).filter(|out| out.key == key) else {
            return Err(Broken::Strange(content.to_owned()));
        };
        if out.accepted && !repeated {
            return Err(Broken::Unrecognised(content.to_owned()));
        }
        out.accepted = true;
        Ok(())
    }

    fn shown(&mut self, id: Id, content: &str, again: bool) -> Result<(), Broken> {
        let named = || content.to_owned();
        if !self.online {
            return Err(Broken::Impossible(format!("{content} shown offline")));
        }
        let Some(place) = self.out.iter().rposition(|out| out.id == id) else {
            return Err(Broken::Strange(named()));
        };
        let out = &self.out[place];
        if out.content != content {
            return Err(Broken::Strange(named()));
        }
        if out.shown {
            let excused = again && self.crashed;
            return if excused {
                Ok(())
            } else {
                Err(Broken::Doubled(named()))
            };
        }
        if !self.lives(out) && !out.taken {
            return Err(Broken::Outlived(named()));
        }
        if self.out[place + 1..].iter().any(|later| later.shown) {
            return Err(Broken::Disordered(named()));
        }
        self.out[place].shown = true;
        // What a device had taken in before the erasure came on the session that is gone.
        self.session |= !self.out[place].erased;
        Ok(())
    }

    fn heard(&mut self, content: &str) -> Result<(), Broken> {
        let named = || content.to_owned();
        let place = self.into.iter().position(|it| it.content == content);
        let Some(place) = place else {
            return Err(Broken::Strange(named()));
        };
        let it = &self.into[place];
        if it.erased {
            return Err(Broken::Outlived(named()));
        }
        if it.heard {
            return if self.reconnected {
                Ok(())
            } else {
                Err(Broken::Doubled(named()))
            };
        }
        let overtaken = |later: &In| later.promised && later.heard;
        if it.promised && self.into[place + 1..].iter().any(overtaken) {
            return Err(Broken::Disordered(named()));
        }
        self.into[place].heard = true;
        // Whatever was opened, a session opened it.
        self.session = true;
        Ok(())
    }

    fn told(&mut self, id: Id, status: DeliveryStatus) -> Result<(), Broken> {
        let now = self.now;
        let retention = self.retention;
        let Some(out) = self.out_mut(id) else {
            return Err(Broken::Strange(format!("{status:?} of an unknown message")));
        };
        if out.told_now.is_some_and(|before| status <= before) {
            return Err(Broken::Backward(out.content.clone(), status));
        }
        let lives = !out.erased && now - out.sent_at < retention;
        // That its time is over is the last that may be told of it.
        if !lives || status == DeliveryStatus::Failed {
            return Err(Broken::Outlived(format!("{}: {status:?}", out.content)));
        }
        out.told_now = Some(status);
        out.told = out.told.max(Some(status));
        Ok(())
    }

    fn asked(&mut self, id: Id, answer: Answer) -> Result<(), Broken> {
        let before = self.told_before.take();
        let Some(out) = self.out.iter().rev().find(|out| out.id == id) else {
            return Err(Broken::Strange("asked for an unknown message".to_owned()));
        };
        match answer {
            Answer::At(_) if !self.lives(out) => Err(Broken::Outlived(out.content.clone())),
            Answer::At(status) if Some(status) < before.unwrap_or(out.told) => {
                Err(Broken::Backward(out.content.clone(), status))
            }
            Answer::Gone if self.lives(out) => Err(Broken::Forgotten(out.content.clone())),
            _ => Ok(()),
        }
    }

    fn offline(&mut self) {
        self.online = false;
        self.out.iter_mut().for_each(|out| out.taken = true);
    }

    fn erase(&mut self) {
        self.out.iter_mut().for_each(|out| out.erased = true);
        for it in &mut self.into {
            // What lies in the device yet may arrive as a stranger's.
            it.erased = it.known;
            it.heard = it.known;
            it.promised = it.known;
        }
        self.session = false;
    }

    /// Clocks move by less than a twelfth of a retention or by more than the whole: what lies between is not judged.
    fn lives(&self, out: &Out) -> bool {
        !out.erased && self.now - out.sent_at < self.retention
    }

    fn living(&self, wanted: impl Fn(&Out) -> bool) -> Option<&Out> {
        let living = self.out.iter().rev().filter(|out| self.lives(out));
        living.into_iter().find(|out| wanted(out))
    }

    fn out_mut(&mut self, id: Id) -> Option<&mut Out> {
        self.out.iter_mut().rev().find(|out| out.id == id)
    }
}
