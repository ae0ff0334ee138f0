//! Events on their way to the app.

use serde_json::json;

use crate::{
    double::{NUMBER, PEER},
    harness::{Suite, eventually, is_on_disk, text},
};

const OTHER: &str = "15557654321";

#[tokio::test]
async fn a_message_arrives_signed_and_is_acknowledged() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    suite.say(4, PEER, "hello");
    eventually(|| suite.app.texts() == ["hello"] && suite.acknowledged() == Some(4)).await;
    eventually(|| suite.app.lock().verifications == 1).await;
    let value = suite.app.values()[0].clone();
    assert_eq!(
        value["metadata"],
        json!({ "display_phone_number": "15550783881", "phone_number_id": NUMBER })
    );
    assert_eq!(value["contacts"][0]["wa_id"], PEER);
    assert_eq!(value["messages"][0]["from"], PEER);
    {
        let taken = suite.app.lock();
        assert_eq!(taken.unsigned, 0);
        assert_eq!(taken.bodies[0]["entry"][0]["id"], "77");
    }
    connector.stop().await;
}

#[tokio::test]
async fn the_app_can_answer_what_it_hears() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    suite.say(1, PEER, "hello");
    eventually(|| suite.app.texts() == ["hello"]).await;
    let id = suite.app.values()[0]["messages"][0]["id"].clone();
    let mut answer = text("hello yourself");
    answer["context"] = json!({ "message_id": id });
    assert_eq!(connector.post(&answer).await.0, 200);
    let accepted = suite.gateway.state.lock().accepted[0].clone();
    assert_eq!(
        accepted.content.context.unwrap().message_id.as_ref(),
        [1; 16]
    );
    connector.stop().await;
}

#[tokio::test]
async fn a_conversation_that_fails_keeps_its_order_and_holds_no_other() {
    let suite = Suite::start().await;
    suite.app.lock().refused_text = Some("first".to_owned());
    let connector = suite.connector().await;
    suite.say(1, PEER, "first");
    suite.say(2, PEER, "second");
    suite.say(3, OTHER, "elsewhere");
    eventually(|| suite.app.texts() == ["elsewhere"]).await;
    eventually(|| suite.app.lock().refused > 0).await;
    // Acknowledged all the same: it is durable here.
    eventually(|| suite.acknowledged() == Some(3)).await;
    suite.app.lock().refused_text = None;
    eventually(|| suite.app.texts() == ["elsewhere", "first", "second"]).await;
    connector.stop().await;
}

#[tokio::test]
async fn what_the_app_did_not_take_survives_a_restart_and_is_nowhere_in_clear() {
    let suite = Suite::start().await;
    suite.app.lock().failures = usize::MAX;
    let connector = suite.connector().await;
    suite.say(1, PEER, "the quick brown secret");
    eventually(|| suite.acknowledged() == Some(1)).await;
    eventually(|| suite.app.lock().refused > 0).await;
    for needle in ["quick brown", PEER] {
        assert!(!is_on_disk(suite.folder.path(), needle));
    }
    connector.stop().await;
    for needle in ["quick brown", PEER] {
        assert!(!is_on_disk(suite.folder.path(), needle));
    }
    suite.app.lock().failures = 0;
    let connector = suite.connector().await;
    eventually(|| suite.app.texts() == ["the quick brown secret"]).await;
    connector.stop().await;
}

#[tokio::test]
async fn a_replay_after_a_restart_is_not_told_again() {
    let suite = Suite::start().await;
    let connector = suite.connector().await;
    suite.say_as(1, PEER, "pay 5", [9; 16]);
    eventually(|| suite.app.texts() == ["pay 5"]).await;
    connector.stop().await;
    let connector = suite.connector().await;
    suite.say_as(2, PEER, "pay 5", [9; 16]);
    suite.say_as(3, OTHER, "pay 5", [9; 16]);
    suite.say(4, PEER, "honest");
    eventually(|| suite.acknowledged() == Some(4)).await;
    eventually(|| suite.app.texts().len() == 3).await;
    let mut texts = suite.app.texts();
    texts.sort();
    assert_eq!(texts, ["honest", "pay 5", "pay 5"]);
    connector.stop().await;
}

#[tokio::test]
async fn without_a_webhook_events_wait_at_the_gateway() {
    let suite = Suite::start().await;
    let config = std::fs::read_to_string(suite.config_file()).unwrap();
    let silent: String = config
        .lines()
        .filter(|line| !line.starts_with("url"))
        .map(|line| format!("{line}\n"))
        .collect();
    std::fs::write(suite.config_file(), silent).unwrap();
    suite.say(1, PEER, "hello");
    let connector = suite.connector().await;
    assert_eq!(connector.post(&text("still sends")).await.0, 200);
    assert!(suite.gateway.state.lock().subscriptions.is_empty());
    connector.stop().await;
}
