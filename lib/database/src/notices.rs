//! Wake-ups after a commit.
//!
//! Owns who waits for which topic and how a commit in another process reaches them. A notice carries nothing: who is woken looks
//! in the tables. Invariant: a commit that notified a topic wakes everybody who began to wait for it before, at the latest when
//! the safety net does; nobody may rely on being woken only then.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{
    Executor as _,
    postgres::{PgConnectOptions, PgListener, PgPoolOptions},
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{sleep, timeout},
};

use crate::source::{Kind, Source};

/// The server's channel; the topic is its payload.
pub(crate) const CHANNEL: &str = "sealpost";
/// The safety net on a server, where a notice can be lost with the connection that listens.
const SAFETY_NET: Duration = Duration::from_secs(5);
/// A silent connection is asked for life this often.
const HEARTBEAT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(500);

/// Waits for notices of one topic.
#[derive(Debug)]
pub struct Notices {
    seen: watch::Receiver<u64>,
    net: Option<Duration>,
}

impl Notices {
    /// Waits until the topic was notified since this was last asked (or was made); on a server also after a few seconds without
    /// one. Dropping the wait loses nothing.
    pub async fn next(&mut self) {
        let notified = async {
            // A closed database notifies nobody any more.
            if self.seen.changed().await.is_err() {
                pending::<()>().await;
            }
        };
        match self.net {
            Some(net) => drop(timeout(net, notified).await),
            None => notified.await,
        }
    }
}

/// Everybody who waits in this process. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Hub(Arc<Shared>);

#[derive(Default)]
struct Shared {
    topics: Mutex<BTreeMap<&'static str, watch::Sender<u64>>>,
    listener: Mutex<Option<AbortHandle>>,
}

impl Hub {
    pub(crate) fn wait(&self, topic: &'static str, source: &Source) -> Notices {
        let net = match source.kind() {
            Kind::Sqlite => None,
            Kind::Postgres => {
                self.listen(source);
                Some(SAFETY_NET)
            }
        };
        let mut topics = lock(&self.0.topics);
        let sender = topics.entry(topic).or_insert_with(|| watch::Sender::new(0));
        Notices {
            seen: sender.subscribe(),
            net,
        }
    }

    pub(crate) fn wake(&self, topics: &BTreeSet<&'static str>) {
        if topics.is_empty() {
            return;
        }
        let waiting = lock(&self.0.topics);
        for topic in topics {
            if let Some(sender) = waiting.get(topic) {
                sender.send_modify(|count| *count += 1);
            }
        }
    }

    fn wake_named(&self, topic: &str) {
        if let Some(sender) = lock(&self.0.topics).get(topic) {
            sender.send_modify(|count| *count += 1);
        }
    }

    fn wake_all(&self) {
        for sender in lock(&self.0.topics).values() {
            sender.send_modify(|count| *count += 1);
        }
    }

    /// Listens to the server, once, until the hub is closed or gone.
    fn listen(&self, source: &Source) {
        let mut listener = lock(&self.0.listener);
        if listener.is_some() {
            return;
        }
        let Source::Server { options, .. } = source else {
            return;
        };
        let Ok(options) = options.database_url.as_str().parse::<PgConnectOptions>() else {
            return;
        };
        let shared = Arc::downgrade(&self.0);
        let task = tokio::spawn(async move {
            // Said once for each time that they stop, not for each try.
            let mut is_heard = true;
            loop {
                let hub = || shared.upgrade().map(Hub);
                let lost = follow(&options, &hub, &mut is_heard).await;
                if hub().is_none() {
                    return;
                }
                if lost.is_err() && std::mem::take(&mut is_heard) {
                    tracing::warn!("notices of the database are not heard; trying again");
                }
                sleep(PAUSE).await;
            }
        });
        *listener = Some(task.abort_handle());
    }

    pub(crate) fn close(&self) {
        if let Some(task) = lock(&self.0.listener).take() {
            task.abort();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.listener).take() {
            task.abort();
        }
    }
}

/// One connection's notices, until it is lost.
async fn follow(
    options: &PgConnectOptions,
    hub: &impl Fn() -> Option<Hub>,
    is_heard: &mut bool,
) -> Result<(), sqlx::Error> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    if !std::mem::replace(is_heard, true) {
        tracing::info!("notices of the database are heard again");
    }
    // Whatever was committed while nobody listened.
    if let Some(hub) = hub() {
        hub.wake_all();
    }
    loop {
        match timeout(HEARTBEAT, listener.try_recv()).await {
            Ok(Ok(Some(notice))) => {
                let Some(hub) = hub() else { return Ok(()) };
                hub.wake_named(notice.payload());
            }
            // Lost: the caller connects anew.
            Ok(Ok(None)) => return Ok(()),
            Ok(Err(error)) => return Err(error),
            Err(_) => {
                let alive = timeout(HEARTBEAT, listener.execute("SELECT 1")).await;
                alive.map_err(|_| sqlx::Error::PoolTimedOut)??;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
