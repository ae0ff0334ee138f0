//! The REST face: the Cloud API's message endpoint over the SDK.
//!
//! Owns routes and what every request passes (token, size, shape of errors). Answers never repeat what was asked.

mod error;
mod messages;
mod request;
mod token;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::DefaultBodyLimit,
    routing::{get, post},
};
use sealpost_connector_sdk::Client;
use sealpost_runtime::Clock;
use serde_json::json;

use crate::queue::Queue;

pub use error::CloudError;
use token::RestToken;

/// A message is at most 64 KiB; JSON may spell each character of it with six.
const MAX_BODY: usize = 512 * 1024;

/// What requests need.
#[derive(Clone)]
pub struct Face {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    queue: Queue,
    clock: Clock,
    token: RestToken,
    within: Duration,
}

impl Face {
    /// A face that sends for whoever presents `token`, and tries for up to `within`.
    #[must_use]
    pub fn new(client: Client, queue: Queue, clock: Clock, token: &str, within: Duration) -> Self {
        Self {
            inner: Arc::new(Inner {
                client,
                queue,
                clock,
                token: RestToken::new(token),
                within,
            }),
        }
    }

    /// The routes.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/health", get(health))
            .route("/{number}/messages", post(messages::unversioned))
            .route("/{version}/{number}/messages", post(messages::versioned))
            .fallback(not_found)
            .method_not_allowed_fallback(wrong_method)
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .with_state(self.clone())
    }
}

async fn health() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

async fn not_found() -> CloudError {
    CloudError::no_such_path()
}

async fn wrong_method() -> CloudError {
    CloudError::wrong_method()
}
