//! The REST face.

use sealpost_connector_sdk::{content::Body, parse_wamid};
use sealpost_proto::gateway::v1::{self as pb, SendError};
use serde_json::{Value, json};

use crate::{
    double::{NUMBER, PEER},
    harness::{Suite, eventually, now, text},
};

fn error_code(answer: &Value) -> u64 {
    answer["error"]["code"].as_u64().unwrap()
}

#[tokio::test]
async fn a_message_is_accepted_and_answered_as_by_the_cloud_api() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let (status, answer) = connector.post(&text("hello")).await;
    assert_eq!(status, 200, "{answer}");
    let accepted = suite.gateway.state.lock().accepted[0].clone();
    assert_eq!(answer["messaging_product"], "whatsapp");
    assert_eq!(
        answer["contacts"],
        json!([{ "input": format!("+{PEER}"), "wa_id": PEER }])
    );
    let id = answer["messages"][0]["id"].as_str().unwrap();
    assert_eq!(parse_wamid(id).unwrap(), accepted.message_id);
    assert_eq!(
        (accepted.number.as_str(), accepted.peer.as_str()),
        (NUMBER, PEER)
    );
    assert!(matches!(accepted.content.body, Some(Body::Text(text)) if text.body == "hello"));
    connector.stop().await;
}

#[tokio::test]
async fn every_version_and_none_is_the_same_path() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    for prefix in ["", "/v1", "/v17.0", "/v23.0"] {
        let path = format!("{prefix}/{NUMBER}/messages");
        assert_eq!(
            connector.post_to(&path, &[], &text("x")).await.0,
            200,
            "{path}"
        );
    }
    let path = format!("/version/{NUMBER}/messages");
    assert_eq!(connector.post_to(&path, &[], &text("x")).await.0, 404);
    connector.stop().await;
}

#[tokio::test]
async fn every_request_is_a_message_unless_it_carries_an_idempotency_key() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let path = format!("/{NUMBER}/messages");
    let (_, first) = connector.post(&text("same")).await;
    let (_, second) = connector.post(&text("same")).await;
    assert_ne!(first["messages"], second["messages"]);
    let key = [("idempotency-key", "order-1")];
    let (_, first) = connector.post_to(&path, &key, &text("once")).await;
    let (_, again) = connector.post_to(&path, &key, &text("once")).await;
    assert_eq!(first["messages"], again["messages"]);
    let (status, other) = connector.post_to(&path, &key, &text("another")).await;
    assert_eq!((status, error_code(&other)), (409, 100));
    assert_eq!(suite.gateway.state.lock().accepted.len(), 3);
    connector.stop().await;
}

#[tokio::test]
async fn message_ids_stay_the_same_over_a_restart() {
    let suite = Suite::start().await;
    let path = format!("/{NUMBER}/messages");
    let key = [("idempotency-key", "order-1")];
    let connector = suite.connector().await;
    let (_, first) = connector.post_to(&path, &key, &text("once")).await;
    connector.stop().await;
    let connector = suite.connector().await;
    let (_, again) = connector.post_to(&path, &key, &text("once")).await;
    assert_eq!(first["messages"], again["messages"]);
    assert_eq!(suite.gateway.state.lock().accepted.len(), 1);
    connector.stop().await;
}

#[tokio::test]
async fn without_the_token_nothing_is_sent() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let path = format!("/{NUMBER}/messages");
    for authorization in ["", "Bearer", "Bearer wrong", "Basic the-rest-token"] {
        let header = [("authorization", authorization)];
        let (status, answer) = connector.post_to(&path, &header, &text("x")).await;
        assert_eq!((status, error_code(&answer)), (401, 190));
        assert_eq!(answer["error"]["type"], "OAuthException");
    }
    assert!(suite.gateway.state.lock().accepted.is_empty());
    connector.stop().await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_answered_in_the_cloud_apis_shape() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let image = json!({ "messaging_product": "whatsapp", "to": PEER, "type": "image", "image": { "id": "1" } });
    let (status, answer) = connector.post(&image).await;
    assert_eq!((status, error_code(&answer)), (400, 131_051));
    let details = answer["error"]["error_data"]["details"].as_str().unwrap();
    assert!(details.contains("text, reaction, location and contacts"));
    assert_eq!(
        answer["error"]["error_data"]["messaging_product"],
        "whatsapp"
    );
    assert!(answer["error"]["fbtrace_id"].is_string());

    let (status, answer) = connector.post_to("/999/messages", &[], &text("x")).await;
    assert_eq!((status, error_code(&answer)), (400, 100));
    let (status, _) = connector.post(&text(&"x".repeat(600_000))).await;
    assert_eq!(status, 413);
    assert!(suite.gateway.state.lock().accepted.is_empty());
    connector.stop().await;
}

#[tokio::test]
async fn the_gateways_refusals_have_the_cloud_apis_codes() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    for (refusal, expected) in [
        ((SendError::RateLimited, 9_000), (429, 130_429)),
        ((SendError::Overloaded, 1_000), (429, 130_429)),
        ((SendError::NotAllowed, 0), (403, 131_005)),
        ((SendError::NotProvisioned, 0), (400, 133_010)),
        ((SendError::Unavailable, 9_000), (503, 131_016)),
    ] {
        suite.gateway.state.lock().refusals.push_back(refusal);
        let (status, answer) = connector.post(&text("x")).await;
        assert_eq!((u64::from(status), error_code(&answer)), expected);
    }
    connector.stop().await;
}

#[tokio::test]
async fn a_read_mark_goes_to_whoever_sent_the_message() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let mark = |id: &str| json!({ "messaging_product": "whatsapp", "status": "read", "message_id": id, "typing_indicator": { "type": "text" } });
    let (status, answer) = connector.post(&mark("wamid.AAAAAAAAAAAAAAAAAAAAAA")).await;
    assert_eq!((status, error_code(&answer)), (400, 100));

    suite.say(1, "15557654321", "hello?");
    eventually(|| suite.app.texts() == ["hello?"]).await;
    let id = suite.app.values()[0]["messages"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let (status, answer) = connector.post(&mark(&id)).await;
    assert_eq!((status, answer), (200, json!({ "success": true })));
    let accepted = suite.gateway.state.lock().accepted.clone();
    assert_eq!(accepted.len(), 2);
    assert!(accepted.iter().all(|message| message.peer == "15557654321"));
    assert!(
        matches!(&accepted[0].content.body, Some(Body::ReadMark(mark)) if mark.message_id.as_ref() == [1; 16])
    );
    assert!(matches!(
        &accepted[1].content.body,
        Some(Body::TypingMark(_))
    ));
    connector.stop().await;
}

#[tokio::test]
async fn the_apps_own_data_comes_back_with_every_status() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let mut body = text("hello");
    body["biz_opaque_callback_data"] = json!("order 7781");
    connector.post(&body).await;
    let id = *suite.gateway.state.lock().accepted[0].message_id.as_bytes();
    let inbound = suite.gateway.state.lock().vaults[NUMBER].own_inbound(now());
    let events = vec![
        inbound.status(NUMBER, 1, PEER, id, pb::Status::Sent, now()),
        inbound.status(NUMBER, 2, PEER, id, pb::Status::Delivered, now()),
    ];
    suite.gateway.state.feed(inbound.response(events));
    eventually(|| suite.app.values().len() == 2).await;
    for (value, status) in suite.app.values().iter().zip(["sent", "delivered"]) {
        assert_eq!(value["statuses"][0]["status"], status);
        assert_eq!(
            value["statuses"][0]["biz_opaque_callback_data"],
            "order 7781"
        );
    }
    connector.stop().await;
}

#[tokio::test]
async fn health_needs_no_token_and_other_paths_say_what_there_is() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    let get = |path: &str| reqwest::get(format!("http://{}{path}", connector.address));
    assert_eq!(get("/health").await.unwrap().status(), 200);
    assert_eq!(get("/").await.unwrap().status(), 404);
    let answer = get(&format!("/{NUMBER}/messages")).await.unwrap();
    assert_eq!(answer.status(), 405);
    connector.stop().await;
}

#[tokio::test]
async fn with_a_certificate_the_face_speaks_https_only() {
    let suite = Suite::start().await;
    let files = suite.gateway.folder.path().display();
    let connector = suite
        .connector_with(&[
            format!("http.tls.certificate={files}/leaf.pem"),
            format!("http.tls.private_key={files}/leaf.key"),
        ])
        .await;
    let authority = std::fs::read(suite.gateway.ca()).unwrap();
    let client = reqwest::Client::builder()
        .add_root_certificate(reqwest::Certificate::from_pem(&authority).unwrap())
        .build()
        .unwrap();
    let answer = client
        .get(format!("https://{}/health", connector.address))
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), 200);
    let plain = client
        .get(format!("http://{}/health", connector.address))
        .send()
        .await;
    assert!(plain.is_err());
    connector.stop().await;
}
