//! The business's app: takes webhooks, and fails when a test says so.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Query, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use sealpost_connector::webhook::sign;
use serde_json::Value;

pub const APP_SECRET: &str = "the-app-secret";
pub const VERIFY_TOKEN: &str = "the-verify-token";

/// A running app; ends with its runtime.
#[derive(Clone)]
pub struct App {
    pub url: String,
    state: Arc<Mutex<Taken>>,
}

#[derive(Default)]
pub struct Taken {
    /// Bodies that were taken, in order.
    pub bodies: Vec<Value>,
    /// Refuse that many.
    pub failures: usize,
    /// Refuse every body that contains this.
    pub refused_text: Option<String>,
    /// Requests that were refused.
    pub refused: usize,
    /// Bodies with a wrong or missing signature.
    pub unsigned: usize,
    /// Verification requests with the right token.
    pub verifications: usize,
}

impl App {
    pub async fn start() -> Self {
        let state = Arc::new(Mutex::new(Taken::default()));
        let router = Router::new()
            .route("/hook", get(verify).post(take))
            .with_state(state.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?tenant=7", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, state }
    }

    pub fn lock(&self) -> MutexGuard<'_, Taken> {
        self.state.lock().unwrap()
    }

    /// The values of all changes that were taken.
    pub fn values(&self) -> Vec<Value> {
        let bodies = &self.lock().bodies;
        bodies
            .iter()
            .map(|body| body["entry"][0]["changes"][0]["value"].clone())
            .collect()
    }

    /// The texts of all messages that were taken.
    pub fn texts(&self) -> Vec<String> {
        let text = |value: &Value| {
            value["messages"][0]["text"]["body"]
                .as_str()
                .map(str::to_owned)
        };
        self.values().iter().filter_map(text).collect()
    }
}

async fn verify(
    State(state): State<Arc<Mutex<Taken>>>,
    Query(query): Query<HashMap<String, String>>,
) -> Result<String, StatusCode> {
    assert_eq!(query["tenant"], "7");
    if query["hub.mode"] != "subscribe" || query["hub.verify_token"] != VERIFY_TOKEN {
        return Err(StatusCode::FORBIDDEN);
    }
    state.lock().unwrap().verifications += 1;
    Ok(query["hub.challenge"].clone())
}

async fn take(
    State(state): State<Arc<Mutex<Taken>>>,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut taken = state.lock().unwrap();
    let signature = headers.get("x-hub-signature-256");
    if signature.is_none_or(|given| given.as_bytes() != sign(APP_SECRET, &body).as_bytes()) {
        taken.unsigned += 1;
        return StatusCode::FORBIDDEN;
    }
    let text = String::from_utf8(body.to_vec()).unwrap();
    let is_refused = taken
        .refused_text
        .as_ref()
        .is_some_and(|refused| text.contains(refused));
    if taken.failures > 0 || is_refused {
        taken.failures = taken.failures.saturating_sub(1);
        taken.refused += 1;
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    taken.bodies.push(serde_json::from_str(&text).unwrap());
    StatusCode::OK
}
