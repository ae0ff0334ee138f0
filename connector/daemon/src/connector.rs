//! Puts the parts together: client, queue, REST face, intake and dispatcher.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use sealpost_connector_sdk::{
    BusinessKeys, CallerRemembers, Client, SdkError, Settings, Subscription, Token,
    read_or_make_secret, read_text,
};
use sealpost_runtime::Clock;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    intake::Intake,
    listener::Listener,
    queue::{Queue, QueueKey},
    rest::Face,
    upkeep,
    webhook::{Account, App, Dispatcher, Verification},
};

/// How long requests may take to end once the connector stops.
const DRAIN: Duration = Duration::from_secs(10);

/// A connector, bound and not yet serving.
pub struct Connector {
    client: Client,
    clock: Clock,
    queue: Queue,
    listener: Listener,
    face: Face,
    app: Option<Arc<App>>,
    subscription: Subscription,
    account: Account,
}

impl Connector {
    /// Reads keys and secrets, opens the queue and binds the REST face.
    ///
    /// # Errors
    /// When one of them cannot be had.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn build(config: &Config) -> anyhow::Result<Self> {
        // reqwest asks for the process's provider; that it is set already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let clock = Clock::from_config(&config.clock());
        let client = Client::connect(Settings {
            address: config.gateway.address.clone(),
            ca: config.gateway.ca.clone(),
            token: Token::read(&config.gateway.token_file)?,
            keys: BusinessKeys::read(&config.business.key_files())?,
            pins: config.pins(),
            clock: clock.clone(),
        })?;
        let queue_key = QueueKey::new(&read_or_make_secret(&config.queue_key)?)?;
        let queue = Queue::open(config.database.clone(), queue_key).await?;
        let subscription = Subscription::new(config.webhook.subscription.as_str())?
            .seen(Arc::new(CallerRemembers));
        let account = Account {
            id: config.business.account_id.clone(),
            phone_numbers: config
                .numbers
                .iter()
                .map(|number| (number.phone_number_id.clone(), number.phone_number.clone()))
                .collect(),
        };
        let face = Face::new(
            client.clone(),
            queue.clone(),
            clock.clone(),
            &read_text(&config.http.token_file)?,
            Duration::from_secs(config.http.send_deadline_seconds),
        );
        Ok(Self {
            app: App::open(&config.webhook)?.map(Arc::new),
            listener: Listener::bind(&config.http)
                .await
                .context("the REST face cannot listen")?,
            client,
            clock,
            queue,
            face,
            subscription,
            account,
        })
    }

    /// The address of the REST face.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then lets what is under way end.
    ///
    /// # Errors
    /// When the REST face breaks, or the queue cannot be closed; nothing committed is lost.
    pub async fn serve(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tasks = vec![
            tokio::spawn(check_pins(self.client.clone())),
            tokio::spawn(upkeep::keep(
                self.queue.clone(),
                self.clock.clone(),
                stop.clone(),
            )),
        ];
        if let Some(app) = self.app {
            let wake = Arc::new(Notify::new());
            let intake = Intake {
                events: self.client.subscribe(self.subscription)?,
                queue: self.queue.clone(),
                account: self.account,
                clock: self.clock.clone(),
                wake: wake.clone(),
            };
            tasks.push(tokio::spawn(verify(app.clone())));
            tasks.push(tokio::spawn(intake.run(stop.clone())));
            let dispatcher = Dispatcher::new(self.queue.clone(), app, self.clock, wake);
            tasks.push(tokio::spawn(dispatcher.run(stop.clone())));
        } else {
            tracing::info!("webhook.url is not set: events wait at the gateway");
        }
        tracing::info!(address = %self.listener.local_addr(), "listening");
        let served = self
            .listener
            .serve(self.face.router(), stop.clone(), DRAIN)
            .await;
        stop.cancel();
        end(tasks).await;
        self.queue.close().await?;
        Ok(served?)
    }
}

/// A wrong pin shows at once. A gateway that is not there yet is none of its business.
async fn check_pins(client: Client) {
    if let Err(error @ SdkError::Untrusted(_)) = client.verify_pins().await
        && !error.is_transient()
    {
        tracing::error!(%error, "a number's vault_fingerprint does not fit: nothing is sent or received for it");
    }
}

async fn verify(app: Arc<App>) {
    match app.verify().await {
        Verification::Verified => tracing::info!("the webhook is verified"),
        Verification::Refused => {
            tracing::warn!(
                "the webhook did not answer the verification request with its challenge; events are sent to it all the same"
            );
        }
        Verification::Unreachable => {
            tracing::warn!("the webhook does not answer; events wait for it in the queue");
        }
    }
}

/// The verification of pins or webhook may hang on a peer; the others end by themselves, the dispatcher with its last answers.
async fn end(tasks: Vec<JoinHandle<()>>) {
    for task in tasks {
        let handle = task.abort_handle();
        if tokio::time::timeout(DRAIN, task).await.is_err() {
            handle.abort();
        }
    }
}
