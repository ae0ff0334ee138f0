//! Conversations over REST and webhooks on one side, Signal on the other, both ways.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use futures::future;
use sealpost_consumer::content_v1::content::Body;
use sealpost_consumer::content_v1::{Contact, ContactPhone, Contacts, Content};
use sealpost_consumer::{MessageId, content};
use sealpost_tests::chat::Chat;
use sealpost_tests::consumer::Consumer;
use sealpost_tests::rest::{self, Rest};
use sealpost_tests::traffic::Traffic;
use sealpost_tests::{Options, Suite};
use serde_json::json;
use tokio::time::sleep;

use super::{LATER, SOON};

fn wamid(id: &str) -> anyhow::Result<MessageId> {
    Ok(id.parse()?)
}

/// The body of the newest message of a consumer.
async fn next_body(consumer: &Consumer, count: usize) -> anyhow::Result<Content> {
    let messages = consumer.wait_for(count, SOON).await?;
    Ok(messages[count - 1].content.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_out_over_rest_reaches_a_consumer_process_and_its_answer_comes_back_as_a_webhook()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut chat = Chat::start(suite, suite.free_consumer()?)?;
    let id = Rest::of(suite)?
        .send(
            suite.number(0),
            &rest::text(&chat.phone, "Your order is on its way"),
        )
        .await?;
    let seen = chat.wait_for_text("Your order is on its way", SOON).await?;
    assert_eq!(seen["message_id"], id.as_str());
    assert_eq!(seen["phone_number_id"], suite.number(0));

    chat.text("Thank you!").await?;
    let answers = suite
        .webhook
        .wait_for_messages(&chat.phone, 1, SOON)
        .await?;
    let object = &answers[0].object;
    assert_eq!(answers[0].number, suite.number(0));
    assert_eq!(object["type"], "text");
    assert_eq!(object["text"]["body"], "Thank you!");
    ensure!(
        object["id"]
            .as_str()
            .is_some_and(|id| id.starts_with("wamid.")),
        "an id: {object}"
    );
    let time: u64 = object["timestamp"]
        .as_str()
        .context("a timestamp in seconds, as text")?
        .parse()?;
    ensure!(
        time > 1_700_000_000 && time < 10_000_000_000,
        "seconds: {time}"
    );
    chat.quit().await?;
    assert_eq!(suite.webhook.badly_signed(), 0);
    assert_eq!(
        suite.webhook.verifications(),
        [suite.facts().connector.verify_token.as_str()]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_who_writes_first_is_heard_and_answered() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    consumer.text(suite, 1, "Are you open today?").await?;
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 1, SOON)
        .await?;
    assert_eq!(heard[0].number, suite.number(1));
    assert_eq!(heard[0].object["text"]["body"], "Are you open today?");
    Rest::of(suite)?
        .send(suite.number(1), &rest::text(&consumer.phone, "Until six."))
        .await?;
    consumer.wait_for(1, SOON).await?;
    assert_eq!(consumer.texts_from(suite.number(1)), ["Until six."]);
    consumer.offline().await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn several_conversations_interleave_both_ways_each_in_order() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let mut consumers = Vec::new();
    for _ in 0..4 {
        consumers.push(Consumer::online(suite, suite.free_consumer()?)?);
    }
    let traffic = Traffic::new(suite, &consumers, "interleaved")?;
    let accepted = traffic.send(25, Duration::ZERO).await?;
    assert_eq!(accepted.len(), 200);
    traffic.check(&accepted, LATER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_300_messages_in_one_conversation_keeps_its_order_both_ways()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let consumers = [Consumer::online(suite, suite.free_consumer()?)?];
    let traffic = Traffic::new(suite, &consumers, "burst")?;
    let accepted = traffic.send(300, Duration::ZERO).await?;
    traffic.check(&accepted, LATER).await
}

#[tokio::test(flavor = "multi_thread")]
async fn one_consumer_talks_with_two_numbers_and_they_do_not_mix() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    for round in 0..5 {
        for number in 0..2 {
            let text = format!("round {round} from number {number}");
            rest.send(suite.number(number), &rest::text(&consumer.phone, &text))
                .await?;
            consumer
                .text(suite, number, &format!("round {round} to number {number}"))
                .await?;
        }
    }
    consumer.wait_for(10, SOON).await?;
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 10, SOON)
        .await?;
    for number in 0..2 {
        let expected: Vec<_> = (0..5)
            .map(|round| format!("round {round} from number {number}"))
            .collect();
        assert_eq!(consumer.texts_from(suite.number(number)), expected);
        let said = heard
            .iter()
            .filter(|message| message.number == suite.number(number));
        let said: Vec<_> = said
            .filter_map(|message| message.object["text"]["body"].as_str())
            .collect();
        let expected: Vec<_> = (0..5)
            .map(|round| format!("round {round} to number {number}"))
            .collect();
        assert_eq!(said, expected);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_sent_while_a_consumer_was_offline_arrives_in_order_when_it_is_back()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let index = suite.free_consumer()?;
    let phone = suite.facts().consumers[index].phone_number.clone();
    let mut expected = Vec::new();
    for part in 0..2 {
        // Offline before the first session, and offline with one.
        for place in 0..20 {
            let text = format!("while away {part}, {place}");
            rest.send(suite.number(0), &rest::text(&phone, &text))
                .await?;
            expected.push(text);
        }
        let consumer = Consumer::online(suite, index)?;
        consumer.wait_for(20, SOON).await?;
        assert_eq!(consumer.texts_from(suite.number(0)), expected[part * 20..]);
        consumer.text(suite, 0, &format!("back {part}")).await?;
        suite
            .webhook
            .wait_for_messages(&phone, part + 1, SOON)
            .await?;
        let inbox = consumer.offline().await?;
        assert_eq!(inbox.all().len(), 20, "nothing came twice");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn statuses_arrive_as_webhooks_and_only_move_forward() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let index = suite.free_consumer()?;
    let phone = suite.facts().consumers[index].phone_number.clone();
    let id = rest
        .send(suite.number(0), &rest::text(&phone, "Where are you?"))
        .await?;
    let sent = suite.webhook.wait_for_status(&id, "sent", SOON).await?;
    assert_eq!(
        (sent.recipient.as_str(), sent.number.as_str()),
        (phone.as_str(), suite.number(0))
    );
    assert_eq!(
        suite.webhook.statuses_of(&id),
        ["sent"],
        "nobody is there to receive it"
    );

    let consumer = Consumer::online(suite, index)?;
    suite
        .webhook
        .wait_for_status(&id, "delivered", SOON)
        .await?;
    let message = consumer.wait_for(1, SOON).await?.remove(0);
    assert_eq!(message.message_id, wamid(&id)?);
    consumer
        .client()
        .mark_read(&message.phone_number_id, message.message_id)
        .await?;
    suite.webhook.wait_for_status(&id, "read", SOON).await?;
    assert_eq!(
        suite.webhook.statuses_of(&id),
        ["sent", "delivered", "read"]
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_to_nobody_fails_with_the_clouds_code() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let id = Rest::of(suite)?
        .send(
            suite.number(0),
            &rest::text("15550299999", "Is anybody there?"),
        )
        .await?;
    let failed = suite.webhook.wait_for_status(&id, "failed", SOON).await?;
    assert_eq!(
        failed.object["errors"][0]["code"], 131_026,
        "{}",
        failed.object
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_places_contacts_and_answers_go_out_as_they_were_written() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let to = consumer.phone.as_str();
    let number = suite.number(0);
    let first = consumer.text(suite, 0, "Which one is yours?").await?;
    suite.webhook.wait_for_messages(to, 1, SOON).await?;

    rest.send(number, &json!({
        "messaging_product": "whatsapp", "recipient_type": "individual", "to": to, "type": "reaction",
        "reaction": {"message_id": first.to_string(), "emoji": "👍"},
    })).await?;
    let Some(Body::Reaction(reaction)) = next_body(&consumer, 1).await?.body else {
        panic!("a reaction")
    };
    assert_eq!(
        (reaction.message_id.as_ref(), reaction.emoji.as_str()),
        (&first.0[..], "👍")
    );

    rest.send(number, &json!({
        "messaging_product": "whatsapp", "to": to, "type": "location",
        "location": {"latitude": 52.520_008, "longitude": -13.404_954, "name": "Here", "address": "A street 1"},
    })).await?;
    let Some(Body::Location(place)) = next_body(&consumer, 2).await?.body else {
        panic!("a place")
    };
    assert!(
        (place.latitude - 52.520_008).abs() < 1e-9 && (place.longitude + 13.404_954).abs() < 1e-9
    );
    assert_eq!(
        (place.name.as_str(), place.address.as_str()),
        ("Here", "A street 1")
    );

    rest.send(
        number,
        &json!({
            "messaging_product": "whatsapp", "to": to, "type": "contacts",
            "contacts": [{
                "name": {"formatted_name": "Ada L.", "first_name": "Ada", "last_name": "L."},
                "phones": [{"phone": "+1 555 0100", "type": "WORK"}],
                "emails": [{"email": "ada@example.com", "type": "HOME"}],
                "org": {"company": "Engines"},
            }],
        }),
    )
    .await?;
    let Some(Body::Contacts(cards)) = next_body(&consumer, 3).await?.body else {
        panic!("contact cards")
    };
    let card = &cards.contacts[0];
    assert_eq!(
        (
            card.formatted_name.as_str(),
            card.first_name.as_str(),
            card.company.as_str()
        ),
        ("Ada L.", "Ada", "Engines")
    );
    assert_eq!(
        (
            card.phones[0].phone.as_str(),
            card.phones[0].r#type.as_str()
        ),
        ("+1 555 0100", "WORK")
    );
    assert_eq!(card.emails[0].email, "ada@example.com");

    rest.send(number, &json!({
        "messaging_product": "whatsapp", "to": to, "type": "text", "text": {"body": "This one.", "preview_url": true},
        "context": {"message_id": first.to_string()},
    })).await?;
    let answer = next_body(&consumer, 4).await?;
    assert_eq!(
        answer
            .context
            .context("what it answers")?
            .message_id
            .as_ref(),
        &first.0[..]
    );
    let Some(Body::Text(text)) = answer.body else {
        panic!("a text")
    };
    assert!(text.preview_url && text.body == "This one.");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn reactions_places_contacts_and_answers_come_in_as_the_cloud_api_shows_them()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let id = Rest::of(suite)?
        .send(suite.number(0), &rest::text(&consumer.phone, "Choose."))
        .await?;
    consumer.wait_for(1, SOON).await?;

    let card = Contact {
        formatted_name: "Ada L.".to_owned(),
        phones: vec![ContactPhone {
            phone: "+1 555 0100".to_owned(),
            r#type: "CELL".to_owned(),
        }],
        ..Contact::default()
    };
    let cards = Content {
        body: Some(Body::Contacts(Contacts {
            contacts: vec![card],
        })),
        context: None,
    };
    for content in [
        content::reaction(wamid(&id)?, "🎉"),
        content::location(1.5, -2.25),
        cards,
        content::in_reply_to(content::text("This one"), wamid(&id)?),
    ] {
        consumer.send(suite, 0, &content).await?;
    }
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 4, SOON)
        .await?;
    let objects: Vec<_> = heard.iter().map(|message| &message.object).collect();
    assert_eq!(objects[0]["type"], "reaction");
    assert_eq!(
        objects[0]["reaction"],
        json!({"message_id": id, "emoji": "🎉"})
    );
    assert_eq!(objects[1]["type"], "location");
    assert_eq!(
        (
            &objects[1]["location"]["latitude"],
            &objects[1]["location"]["longitude"]
        ),
        (&json!(1.5), &json!(-2.25))
    );
    assert_eq!(objects[2]["type"], "contacts");
    assert_eq!(
        objects[2]["contacts"][0]["name"]["formatted_name"],
        "Ada L."
    );
    assert_eq!(
        objects[2]["contacts"][0]["phones"][0]["phone"],
        "+1 555 0100"
    );
    assert_eq!(objects[3]["text"]["body"], "This one");
    assert_eq!(objects[3]["context"]["id"], id.as_str());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn read_and_typing_marks_reach_the_consumer() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let first = consumer.text(suite, 0, "Hello?").await?;
    suite
        .webhook
        .wait_for_messages(&consumer.phone, 1, SOON)
        .await?;
    let mark = json!({
        "messaging_product": "whatsapp", "status": "read", "message_id": first.to_string(),
        "typing_indicator": {"type": "text"},
    });
    let answer = rest.post(suite.number(0), None, &mark).await?;
    assert_eq!(
        (answer.status, &answer.body["success"]),
        (200, &json!(true)),
        "{}",
        answer.body
    );
    let messages = consumer.wait_for(2, SOON).await?;
    let mut kinds = BTreeSet::new();
    for message in messages {
        match message.content.body {
            Some(Body::ReadMark(mark)) => {
                assert_eq!(mark.message_id.as_ref(), &first.0[..]);
                kinds.insert("read");
            }
            Some(Body::TypingMark(_)) => {
                kinds.insert("typing");
            }
            other => panic!("neither read nor typing: {}", other.is_some()),
        }
    }
    assert_eq!(kinds, BTreeSet::from(["read", "typing"]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_twice_is_one_message_and_another_content_under_it_is_refused()
-> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let number = suite.number(0);
    let message = rest::text(&consumer.phone, "Once.");
    let posts = (0..5).map(|_| rest.post(number, Some("order-1"), &message));
    let mut ids = BTreeSet::new();
    for answer in future::try_join_all(posts).await? {
        ids.insert(answer.message_id()?);
    }
    ids.insert(
        rest.post(number, Some("order-1"), &message)
            .await?
            .message_id()?,
    );
    assert_eq!(ids.len(), 1, "one message, one id: {ids:?}");

    let other = rest
        .post(
            number,
            Some("order-1"),
            &rest::text(&consumer.phone, "Twice."),
        )
        .await?;
    ensure!(
        other.status == 409 || other.status == 400,
        "another content: {} {}",
        other.status,
        other.body
    );
    ensure!(
        other.body["error"]["message"].is_string() && other.body["error"]["code"].is_number(),
        "{}",
        other.body
    );

    rest.post(
        number,
        Some("order-2"),
        &rest::text(&consumer.phone, "After."),
    )
    .await?
    .message_id()?;
    consumer.wait_for(2, SOON).await?;
    sleep(Duration::from_secs(1)).await;
    assert_eq!(consumer.texts_from(number), ["Once.", "After."]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_text_passes_and_a_longer_one_is_refused() -> anyhow::Result<()> {
    let suite = Suite::shared().await?;
    let rest = Rest::of(suite)?;
    let consumer = Consumer::online(suite, suite.free_consumer()?)?;
    let longest = "ü".repeat(4096);
    rest.send(suite.number(0), &rest::text(&consumer.phone, &longest))
        .await?;
    consumer.wait_for(1, SOON).await?;
    assert_eq!(
        consumer.texts_from(suite.number(0)),
        std::slice::from_ref(&longest)
    );
    let answer = rest
        .post(
            suite.number(0),
            None,
            &rest::text(&consumer.phone, &format!("{longest}ü")),
        )
        .await?;
    assert_eq!(answer.status, 400, "{}", answer.body);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_down_gets_every_event_once_it_is_back() -> anyhow::Result<()> {
    let suite = Suite::up(Options::default()).await?;
    let consumer = Consumer::online(&suite, 0)?;
    suite.webhook.fail(true);
    let expected: Vec<_> = (0..10)
        .map(|place| format!("while the app is down {place}"))
        .collect();
    for text in &expected {
        consumer.text(&suite, 0, text).await?;
    }
    sleep(Duration::from_secs(3)).await;
    assert!(suite.webhook.messages_from(&consumer.phone).is_empty());
    suite.webhook.fail(false);
    let heard = suite
        .webhook
        .wait_for_messages(&consumer.phone, 10, LATER)
        .await?;
    let heard: Vec<_> = heard
        .iter()
        .filter_map(|message| message.object["text"]["body"].as_str())
        .collect();
    assert_eq!(heard, expected);
    assert_eq!(suite.webhook.repeats(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_number_over_its_rate_is_slowed_down_and_loses_nothing() -> anyhow::Result<()> {
    let suite = Suite::up(Options {
        rate_limit: 5,
        ..Options::default()
    })
    .await?;
    let rest = Rest::of(&suite)?;
    let consumer = Consumer::online(&suite, 0)?;
    let start = tokio::time::Instant::now();
    let posts = (0..30).map(|place| {
        let (rest, number, to) = (rest.clone(), suite.number(0), consumer.phone.clone());
        async move {
            let key = format!("limited-{place}");
            rest.text_until_accepted(number, &to, &format!("limited {place}"), &key, LATER)
                .await
        }
    });
    future::try_join_all(posts).await?;
    // A burst of at most a second's worth, then five a second.
    ensure!(
        start.elapsed() > Duration::from_secs(3),
        "30 messages at 5 a second took {:?}",
        start.elapsed()
    );
    consumer.wait_for(30, SOON).await?;
    let arrived: BTreeSet<_> = consumer.texts_from(suite.number(0)).into_iter().collect();
    assert_eq!(arrived.len(), 30);
    Ok(())
}
