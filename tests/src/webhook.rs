//! The business's app, where webhooks arrive: a real HTTP server on a thread of its own.
//!
//! It does what the Cloud API asks of an app: answers the verification request, checks `X-Hub-Signature-256` over the exact
//! body, answers 200 when it has the event, and drops what it saw before. It also counts what it dropped.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::routing::get;
use ring::hmac;
use serde::Deserialize;
use serde_json::Value;

use crate::journal::Journal;

/// A message of a consumer, as the app sees it.
#[derive(Clone, Debug)]
pub struct Message {
    /// To which number of the business.
    pub number: String,
    /// From whom, E.164 digits.
    pub from: String,
    /// Its id.
    pub id: String,
    /// The whole message object.
    pub object: Value,
}

/// How far a message of the business is.
#[derive(Clone, Debug)]
pub struct Status {
    /// From which number of the business.
    pub number: String,
    /// To whom, E.164 digits.
    pub recipient: String,
    /// The message's id.
    pub id: String,
    /// sent, delivered, read or failed.
    pub status: String,
    /// The whole status object.
    pub object: Value,
}

/// Something that the app was told.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "as the Cloud API names them")]
pub enum Notice {
    Message(Message),
    Status(Status),
    Other(Value),
}

/// The running app.
pub struct Webhook {
    url: String,
    app: Arc<App>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

#[derive(Default)]
struct App {
    app_secret: OnceLock<String>,
    notices: Journal<Notice>,
    seen: Mutex<HashSet<String>>,
    repeats: AtomicUsize,
    bad: AtomicUsize,
    verifications: Mutex<Vec<String>>,
    failing: AtomicBool,
    lose_questions: AtomicUsize,
    lose_answers: AtomicUsize,
    lost: AtomicUsize,
}

impl Webhook {
    /// Starts to listen on a free port.
    ///
    /// # Errors
    /// When no port is free.
    pub fn start() -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}/webhook", listener.local_addr()?);
        let app = Arc::new(App::default());
        let routes = Router::new()
            .route("/webhook", get(verify).post(receive))
            .with_state(app.clone());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = tokio::net::TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = axum::serve(listener, routes) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            url,
            app,
            stop: Some(stop),
        })
    }

    /// Tells it the app's secrets, once.
    pub fn trust(&self, app_secret: &str) {
        let _ = self.app.app_secret.set(app_secret.to_owned());
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything that it was told, in order, once.
    #[must_use]
    pub fn notices(&self) -> &Journal<Notice> {
        &self.app.notices
    }

    /// Events that came again although the app had answered 200: at-least-once delivery allows it after a crash only.
    #[must_use]
    pub fn repeats(&self) -> usize {
        self.app.repeats.load(Ordering::SeqCst)
    }

    /// Requests without a good signature.
    #[must_use]
    pub fn badly_signed(&self) -> usize {
        self.app.bad.load(Ordering::SeqCst)
    }

    /// The tokens of the verification requests that it answered.
    #[must_use]
    pub fn verifications(&self) -> Vec<String> {
        self.app
            .verifications
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets the app answer 500 to everything, as a broken one would.
    pub fn fail(&self, failing: bool) {
        self.app.failing.store(failing, Ordering::SeqCst);
    }

    /// Lets the next requests be lost on their way: the app never sees them.
    pub fn lose_questions(&self, count: usize) {
        self.app.lose_questions.fetch_add(count, Ordering::SeqCst);
    }

    /// Lets the next answers be lost on their way: the app has the event, and the connector does not know.
    pub fn lose_answers(&self, count: usize) {
        self.app.lose_answers.fetch_add(count, Ordering::SeqCst);
    }

    /// Requests and answers lost so far.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.app.lost.load(Ordering::SeqCst)
    }

    /// Messages of one consumer so far.
    #[must_use]
    pub fn messages_from(&self, consumer: &str) -> Vec<Message> {
        self.app
            .notices
            .pick(|notice| message_from(notice, consumer))
    }

    /// Waits for `count` messages of one consumer, and answers all that came.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn wait_for_messages(
        &self,
        consumer: &str,
        count: usize,
        limit: Duration,
    ) -> anyhow::Result<Vec<Message>> {
        let what = "messages at the webhook";
        self.app
            .notices
            .at_least(count, what, limit, |notice| message_from(notice, consumer))
            .await
    }

    /// Waits for a status of a message of the business.
    ///
    /// # Errors
    /// When `limit` passes.
    pub async fn wait_for_status(
        &self,
        id: &str,
        status: &str,
        limit: Duration,
    ) -> anyhow::Result<Status> {
        let what = format!("status {status} at the webhook");
        let wanted = |notice: &Notice| match notice {
            Notice::Status(found) if found.id == id && found.status == status => {
                Some(found.clone())
            }
            _ => None,
        };
        self.app.notices.find(&what, limit, wanted).await
    }

    /// Statuses of a message of the business so far, in the order in which they came.
    #[must_use]
    pub fn statuses_of(&self, id: &str) -> Vec<String> {
        self.app.notices.pick(|notice| match notice {
            Notice::Status(found) if found.id == id => Some(found.status.clone()),
            _ => None,
        })
    }
}

impl Drop for Webhook {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }
}

fn message_from(notice: &Notice, consumer: &str) -> Option<Message> {
    match notice {
        Notice::Message(message) if message.from == consumer => Some(message.clone()),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Verification {
    #[serde(rename = "hub.mode")]
    mode: String,
    #[serde(rename = "hub.verify_token")]
    token: String,
    #[serde(rename = "hub.challenge")]
    challenge: String,
}

/// Its own token is made by `up`, which asks before the harness knows it: so the answer comes now, and a test looks at the token.
async fn verify(
    State(app): State<Arc<App>>,
    Query(asked): Query<Verification>,
) -> Result<String, StatusCode> {
    if asked.mode != "subscribe" {
        return Err(StatusCode::FORBIDDEN);
    }
    let mut verifications = app
        .verifications
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    verifications.push(asked.token);
    Ok(asked.challenge)
}

async fn receive(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(app_secret) = app.app_secret.get() else {
        return StatusCode::SERVICE_UNAVAILABLE;
    };
    if app.loses(&app.lose_questions) {
        return StatusCode::GATEWAY_TIMEOUT;
    }
    if app.failing.load(Ordering::SeqCst) {
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    let signature = headers
        .get("x-hub-signature-256")
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("sha256="))
        .and_then(|value| hex::decode(value).ok())
        .unwrap_or_default();
    let key = hmac::Key::new(hmac::HMAC_SHA256, app_secret.as_bytes());
    let Ok(payload) = serde_json::from_slice::<Value>(&body) else {
        app.bad.fetch_add(1, Ordering::SeqCst);
        return StatusCode::BAD_REQUEST;
    };
    if hmac::verify(&key, &body, &signature).is_err() {
        app.bad.fetch_add(1, Ordering::SeqCst);
        return StatusCode::UNAUTHORIZED;
    }
    for notice in read(&payload) {
        app.take(notice);
    }
    if app.loses(&app.lose_answers) {
        return StatusCode::GATEWAY_TIMEOUT;
    }
    StatusCode::OK
}

impl App {
    /// Whether this one is lost, as many as `left` says.
    fn loses(&self, left: &AtomicUsize) -> bool {
        let less = |left: usize| left.checked_sub(1);
        let lost = left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok();
        self.lost.fetch_add(lost.into(), Ordering::SeqCst);
        lost
    }

    fn take(&self, notice: Notice) {
        let name = match &notice {
            Notice::Message(message) => {
                format!("message {} {} {}", message.number, message.from, message.id)
            }
            Notice::Status(status) => {
                format!("status {} {} {}", status.number, status.id, status.status)
            }
            Notice::Other(value) => format!("other {value}"),
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.insert(name) {
            self.notices.push(notice);
        } else {
            self.repeats.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Takes a Cloud API payload apart: `entry[].changes[].value.{messages,statuses}[]`.
fn read(payload: &Value) -> Vec<Notice> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut notices = Vec::new();
    for entry in list(&payload["entry"]) {
        for change in list(&entry["changes"]) {
            let value = &change["value"];
            let number = text(&value["metadata"]["phone_number_id"]);
            let (messages, statuses) = (list(&value["messages"]), list(&value["statuses"]));
            if messages.is_empty() && statuses.is_empty() {
                notices.push(Notice::Other(value.clone()));
            }
            for object in messages {
                let (from, id) = (text(&object["from"]), text(&object["id"]));
                notices.push(Notice::Message(Message {
                    number: number.clone(),
                    from,
                    id,
                    object,
                }));
            }
            for object in statuses {
                notices.push(Notice::Status(Status {
                    number: number.clone(),
                    recipient: text(&object["recipient_id"]),
                    id: text(&object["id"]),
                    status: text(&object["status"]),
                    object,
                }));
            }
        }
    }
    notices
}
