//! Announcements: which numbers have new events, and which subscriptions were opened anew.
//!
//! Only what is committed, by whatever replica, and once for each watch of this process. Losing one is harmless: a listener that
//! falls behind reads the heads anew, and an older opening is told at its next acknowledgement.

use std::{collections::BTreeMap, time::Duration};

use tokio::{sync::broadcast, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    datastore::{Datastore, HEADS, OPENINGS},
    error::StoreError,
    ids::PhoneNumberId,
    tables::cursors::Opening,
};

/// Announcements that a slow listener may be behind before it reads the heads anew.
const BACKLOG: usize = 4_096;
/// Rows read at one time.
const PAGE: u64 = 1_000;
/// How long to wait after the database failed.
const PAUSE: Duration = Duration::from_secs(1);

/// The newest cursor of each number.
pub type Heads = BTreeMap<PhoneNumberId, u64>;

/// Where news are announced. Clones share it.
#[derive(Clone, Debug)]
pub struct Announcements {
    sender: broadcast::Sender<One>,
}

#[derive(Clone, Debug)]
enum One {
    Head(PhoneNumberId, u64),
    Opening(Opening),
}

impl Announcements {
    pub(crate) fn new() -> Self {
        Self {
            sender: broadcast::Sender::new(BACKLOG),
        }
    }

    /// Hears every announcement from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener {
            receiver: self.sender.subscribe(),
        }
    }

    fn publish(&self, news: impl IntoIterator<Item = One>) {
        for one in news {
            // Nobody may be listening.
            let _ = self.sender.send(one);
        }
    }
}

/// Hears announcements.
#[derive(Debug)]
pub struct Listener {
    receiver: broadcast::Receiver<One>,
}

/// Numbers that have new events, and openings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// The newest cursors.
    pub heads: Heads,
    /// In their order.
    pub openings: Vec<Opening>,
}

/// What a listener heard.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// These.
    News(News),
    /// Some announcements were missed: read the heads anew.
    Missed,
}

impl News {
    fn add(&mut self, one: One) {
        match one {
            One::Head(number, cursor) => {
                let newest = self.heads.entry(number).or_default();
                *newest = cursor.max(*newest);
            }
            One::Opening(opening) => self.openings.push(opening),
        }
    }

    fn len(&self) -> usize {
        self.heads.len() + self.openings.len()
    }
}

impl Listener {
    /// Waits for news and takes all there are, at most `limit`.
    pub async fn hear(&mut self, limit: usize) -> Heard {
        let mut news = News::default();
        match self.receiver.recv().await {
            Ok(one) => news.add(one),
            // Closed cannot be while the datastore stands; reading anew is right then, too.
            Err(_) => return Heard::Missed,
        }
        while news.len() < limit {
            match self.receiver.try_recv() {
                Ok(one) => news.add(one),
                Err(broadcast::error::TryRecvError::Lagged(_)) => return Heard::Missed,
                Err(_) => break,
            }
        }
        Heard::News(news)
    }
}

/// Announces what any replica commits, until `stop`.
///
/// # Errors
/// When the database fails at the start.
pub async fn start(datastore: &Datastore, stop: &CancellationToken) -> Result<(), StoreError> {
    // What is older needs no word: a watch begins with all heads, and none has begun.
    let (heads, openings) = datastore.last_changes().await?;
    for (topic, last) in [(Topic::Heads, heads), (Topic::Openings, openings)] {
        tokio::spawn(follow(datastore.clone(), topic, last, stop.clone()));
    }
    Ok(())
}

/// What is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Topic {
    Heads,
    Openings,
}

async fn follow(datastore: Datastore, topic: Topic, mut last: u64, stop: CancellationToken) {
    let mut notices = datastore.notices(match topic {
        Topic::Heads => HEADS,
        Topic::Openings => OPENINGS,
    });
    loop {
        if let Err(error) = catch_up(&datastore, topic, &mut last).await {
            tracing::warn!(error = %error, "what is new could not be looked up; trying again");
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(PAUSE) => continue,
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = notices.next() => {}
        }
    }
}

/// Announces everything of a topic after `last`.
async fn catch_up(datastore: &Datastore, topic: Topic, last: &mut u64) -> Result<(), StoreError> {
    loop {
        let (news, newest, more) = match topic {
            Topic::Heads => {
                let changed = datastore.heads_after(*last, PAGE).await?;
                let newest = changed.iter().map(|head| head.changed).max();
                let news = changed
                    .iter()
                    .map(|head| One::Head(head.number.clone(), head.cursor));
                (
                    news.collect::<Vec<_>>(),
                    newest,
                    changed.len() as u64 >= PAGE,
                )
            }
            Topic::Openings => {
                let opened = datastore.openings_after(*last, PAGE).await?;
                let newest = opened.last().map(|opening| opening.opening);
                let more = opened.len() as u64 >= PAGE;
                (opened.into_iter().map(One::Opening).collect(), newest, more)
            }
        };
        // The heads of one transaction share their count; a page that ends among them is read on from before it.
        *last = match newest {
            Some(newest) if more && topic == Topic::Heads => newest - 1,
            Some(newest) => newest,
            None => *last,
        };
        datastore.announcements().publish(news);
        if !more {
            return Ok(());
        }
    }
}
