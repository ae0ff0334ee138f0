//! `POST /{phone_number_id}/messages`.

use axum::{
    Json,
    body::Bytes,
    extract::{Path, State, rejection::BytesRejection},
};
use http::HeaderMap;
use sealpost_connector_sdk::{
    Accepted, Category, Content, IdempotencyKey, MessageId, NumberId, Outbound, Peer, SdkError,
    content::{self, Body, ReadMark, TypingMark},
    wamid,
};
use serde_json::{Value, json};

use super::{
    CloudError, Face,
    request::{self, Asked, Send},
};

/// The caller's own key for a request that may be sent again.
const IDEMPOTENCY_KEY: &str = "idempotency-key";
const MAX_IDEMPOTENCY_KEY: usize = 255;

type Answer = Result<Json<Value>, CloudError>;

pub(super) async fn unversioned(
    State(face): State<Face>,
    Path(number): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    counted(face.answer(&number, &headers, body).await)
}

/// Any version will do: there is only this one.
pub(super) async fn versioned(
    State(face): State<Face>,
    Path((version, number)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    counted(if is_version(&version) {
        face.answer(&number, &headers, body).await
    } else {
        Err(CloudError::no_such_path())
    })
}

impl Face {
    async fn answer(
        &self,
        number: &str,
        headers: &HeaderMap,
        body: Result<Bytes, BytesRejection>,
    ) -> Answer {
        self.inner.token.check(headers)?;
        let number = number
            .parse::<NumberId>()
            .map_err(|_| CloudError::unknown_number())?;
        let body = body.map_err(|rejection| CloudError::body(rejection.status()))?;
        let key = idempotency_key(headers)?;
        match request::read(&body)? {
            Asked::Send(send) => self.send(number, *send, key).await,
            Asked::MarkRead { message_id, typing } => {
                self.mark_read(number, message_id, typing).await
            }
        }
    }

    async fn send(&self, number: NumberId, send: Send, key: IdempotencyKey) -> Answer {
        let inner = &self.inner;
        if let Some(data) = &send.callback {
            // Before the message: its first status must find it.
            let id = inner.client.message_id(&number, &key);
            let now = inner.clock.now();
            inner.queue.callback_keep(&number, id, data, now).await?;
        }
        let wa_id = send.to.expose().to_owned();
        let accepted = self.accept(number, send.to, send.content, key).await?;
        Ok(Json(json!({
            "messaging_product": "whatsapp",
            "contacts": [{ "input": send.input, "wa_id": wa_id }],
            "messages": [{ "id": wamid(accepted.message_id) }],
        })))
    }

    /// Read marks name a message only; who sent it is remembered from when it came.
    async fn mark_read(&self, number: NumberId, message_id: MessageId, typing: bool) -> Answer {
        let sender = self.inner.queue.sender(&number, message_id).await?;
        let sender = sender.ok_or_else(|| {
            CloudError::invalid_parameter(
                "message_id is of no message that this number received in the last 35 days.",
            )
        })?;
        let id = message_id.as_bytes().to_vec();
        // The same mark twice is one message.
        let key = IdempotencyKey::new([b"read:".as_slice(), &id].concat())?;
        let mark = content::of(Body::ReadMark(ReadMark {
            message_id: id.clone().into(),
        }));
        self.accept(number.clone(), sender.clone(), mark, key)
            .await?;
        if typing {
            let mark = content::of(Body::TypingMark(TypingMark {
                message_id: id.into(),
            }));
            self.accept(number, sender, mark, IdempotencyKey::random()?)
                .await?;
        }
        Ok(Json(json!({ "success": true })))
    }

    async fn accept(
        &self,
        phone_number_id: NumberId,
        to: Peer,
        content: Content,
        idempotency_key: IdempotencyKey,
    ) -> Result<Accepted, SdkError> {
        let outbound = Outbound {
            phone_number_id,
            to,
            // The REST face sends no templates, so every message is part of a conversation.
            category: Category::Service,
            content,
            idempotency_key,
        };
        self.inner.client.send(outbound, self.inner.within).await
    }
}

/// The caller's key, kept apart from our own; without one, each request is a message of its own, as with the Cloud API.
fn idempotency_key(headers: &HeaderMap) -> Result<IdempotencyKey, CloudError> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else {
        return Ok(IdempotencyKey::random()?);
    };
    let key = key.as_bytes();
    let is_visible = key.iter().all(u8::is_ascii_graphic);
    if key.is_empty() || key.len() > MAX_IDEMPOTENCY_KEY || !is_visible {
        return Err(SdkError::IdempotencyKey.into());
    }
    Ok(IdempotencyKey::new([b"request:", key].concat())?)
}

/// `v` and digits, with dots between: `v23.0`.
fn is_version(text: &str) -> bool {
    text.strip_prefix('v').is_some_and(|digits| {
        digits.starts_with(|first: char| first.is_ascii_digit())
            && digits
                .chars()
                .all(|character| character.is_ascii_digit() || character == '.')
    })
}

fn counted(answer: Answer) -> Answer {
    let code = match &answer {
        Ok(_) => "0".to_owned(),
        Err(error) => error.code().to_string(),
    };
    metrics::counter!("sealpost_connector_requests_total", "code" => code).increment(1);
    answer
}
