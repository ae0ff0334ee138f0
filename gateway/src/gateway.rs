//! Puts the rooms together and runs what runs in the background.

use std::{sync::Arc, time::Duration};

use sealpost_proto::gateway::v1::gateway_service_server::GatewayServiceServer;
use sealpost_runtime::{Clock, MAX_MESSAGE_BYTES};
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authentication::Tokens,
    config::LimitsConfig,
    events::{Contents, Events, Feed, StatusHeaders, Wraps, watch_events},
    inbound::{Collector, Context, sweep_pending},
    limits::SendLimits,
    outbound::{Admission, Delivery, Dispatcher, Recovery},
    peers::{Channels, Peers},
    readiness::Readiness,
    regions::Regions,
    service::{Lookups, Service},
};

/// A running gateway, whatever listens before it.
pub struct Gateway {
    service: Arc<Service>,
    tokens: Tokens,
    readiness: Readiness,
    tasks: TaskTracker,
    drain: Duration,
    /// Cancelled last: what is under way needs its lanes.
    lanes: CancellationToken,
}

impl Gateway {
    /// Starts everything that runs by itself; once `stop` is cancelled it comes to its end.
    ///
    /// `name` owns the leases in the store and stays the same over restarts.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    pub fn start(
        channels: Channels,
        limits: &LimitsConfig,
        name: &str,
        clock: &Clock,
        stop: &CancellationToken,
    ) -> Self {
        let (lanes, tasks) = (CancellationToken::new(), TaskTracker::new());
        let peers = Arc::new(Peers::start(channels, &lanes));
        let regions = Arc::new(Regions::new(peers.clone()));
        // Every store's first recovery, and the vault's first answer.
        let readiness = Readiness::of_parts(peers.stores.all().count() + 1);
        let delivery = Delivery {
            peers: peers.clone(),
            clock: clock.clone(),
            stop: stop.clone(),
        };
        let dispatcher = Dispatcher::new(delivery, limits.queued_messages, tasks.clone());
        let context = Context {
            peers: peers.clone(),
            regions: regions.clone(),
            clock: clock.clone(),
            contents: Arc::new(Contents::default()),
            wraps: Arc::new(Wraps::default()),
        };
        let feed = Arc::new(Feed::default());
        let headers = Arc::new(StatusHeaders::default());
        for store in peers.stores.all() {
            let recovery = Recovery {
                store: store.clone(),
                dispatcher: dispatcher.clone(),
                owner: name.to_owned(),
                readiness: readiness.clone(),
            };
            tasks.spawn(recovery.run(stop.clone()));
            tasks.spawn(watch_events(store.clone(), feed.clone(), stop.clone()));
        }
        tasks.spawn(sweep_pending(
            context.clone(),
            readiness.clone(),
            stop.clone(),
        ));
        let collector = Collector::new(
            context.clone(),
            name,
            limits.inbound_items,
            tasks.clone(),
            stop.clone(),
        );
        tasks.spawn(collector.run());
        let service = Service {
            admission: Arc::new(Admission {
                peers: peers.clone(),
                dispatcher,
                limits: SendLimits::new(limits.messages_per_second),
                readiness: readiness.clone(),
                owner: name.to_owned(),
                headers: headers.clone(),
            }),
            events: Events {
                peers: peers.clone(),
                regions,
                contents: context.contents,
                wraps: context.wraps,
                headers,
                feed,
                tasks: tasks.clone(),
            },
            lookups: Lookups::new(peers.clone(), clock.clone()),
            tasks: tasks.clone(),
            stop: stop.clone(),
        };
        Self {
            service: Arc::new(service),
            tokens: Tokens::new(peers.directory.clone(), clock.clone(), limits.token_cache()),
            readiness,
            tasks,
            drain: Duration::from_secs(limits.drain_seconds),
            lanes,
        }
    }

    /// The service for a public face; [`crate::layers`] belong around it.
    #[must_use]
    pub fn server(&self) -> GatewayServiceServer<Service> {
        GatewayServiceServer::from_arc(self.service.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// Who may call.
    #[must_use]
    pub fn tokens(&self) -> Tokens {
        self.tokens.clone()
    }

    /// Whether it can work.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.readiness.clone()
    }

    /// After `stop`: waits for what is under way, but not for ever, and closes the lanes.
    pub async fn drain(self) {
        self.tasks.close();
        if timeout(self.drain, self.tasks.wait()).await.is_err() {
            let count = self.tasks.len();
            tracing::warn!(count, "stopped before everything under way had ended");
        }
        self.lanes.cancel();
    }
}
