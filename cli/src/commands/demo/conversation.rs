//! What happens in the demo: a message by REST, read by the consumer's process, and its answer as a webhook; twice: the
//! first opens the Signal session, the second finds it standing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::device::Device;
use super::observer::{Observer, Sealed};
use super::receiver::{Hook, Hooks};
use super::sizes::Sizes;
use crate::http::Http;
use crate::output::Output;
use crate::suite::layout::Layout;
use crate::suite::run_file::RunFile;

/// How long any one step may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everybody who takes part.
pub struct Cast {
    http: Http,
    url: String,
    token: String,
    number: String,
    phone: String,
    /// The consumer's process.
    pub device: Device,
    observer: Observer,
    webhooks: Webhooks,
}

/// What happened.
pub struct Played {
    /// In order.
    pub rounds: Vec<Round>,
}

/// One message and its answer.
pub struct Round {
    message: String,
    answer: String,
    /// Sizes of the message under each seal.
    pub message_sizes: Sizes,
    /// The answer as the gateway handed it out.
    pub answer_sealed: Sealed,
    /// Since the REST call, unless said otherwise.
    pub times: Times,
}

/// Elapsed times.
#[derive(Clone, Copy)]
pub struct Times {
    /// The REST call was answered: durable in the store.
    pub accepted: Duration,
    /// The webhook "sent".
    pub sent: Duration,
    /// On the consumer's screen.
    pub shown: Duration,
    /// The webhook "delivered".
    pub delivered: Duration,
    /// The webhook "read", since the consumer read it.
    pub read: Duration,
    /// The answer's webhook, since the consumer wrote it.
    pub answer: Duration,
}

impl Cast {
    /// Starts the consumer's process and the observer.
    pub async fn gather(layout: &Layout, run: &RunFile, hooks: Hooks) -> anyhow::Result<Self> {
        let number = run.numbers.first().context("the suite has no number")?;
        let consumer = run.consumers.first().context("the suite has no consumer")?;
        let phone = consumer.phone_number.clone();
        let log = layout.root().join("logs").join("consumer.log");
        Ok(Self {
            http: Http::new(),
            url: format!(
                "{}/v23.0/{}/messages",
                run.connector.url, number.phone_number_id
            ),
            token: run.connector.token.clone(),
            number: number.phone_number_id.clone(),
            device: Device::start(layout.root(), &phone, &log)?,
            phone,
            observer: Observer::open(run).await?,
            webhooks: Webhooks::new(hooks),
        })
    }
}

/// Plays both rounds.
pub async fn play(cast: &mut Cast, output: Output) -> anyhow::Result<Played> {
    let mut rounds = Vec::new();
    for name in ["first message", "second message"] {
        let round = round(cast).await.with_context(|| name.to_owned())?;
        output.note(&format!(
            "{name}: shown after {} ms, answered after {} ms more",
            round.times.shown.as_millis(),
            round.times.answer.as_millis()
        ));
        rounds.push(round);
    }
    Ok(Played { rounds })
}

async fn round(cast: &mut Cast) -> anyhow::Result<Round> {
    let (message, answer) = (unguessable()?, unguessable()?);
    let body = json!({
        "messaging_product": "whatsapp",
        "to": cast.phone,
        "type": "text",
        "text": {"body": message},
    });
    let begun = Instant::now();
    let accepted = timeout(PATIENCE, cast.http.post(&cast.url, &cast.token, &body))
        .await
        .context("the REST call was not answered in time")??;
    let accepted_after = begun.elapsed();
    let id = accepted["messages"][0]["id"]
        .as_str()
        .context("the REST call answered no message id")?
        .to_owned();

    let shown = timeout(PATIENCE, cast.device.shows(&message))
        .await
        .context("the consumer did not show the message in time")??;
    ensure!(
        shown.message_id == id,
        "the consumer shows another message id than the REST call answered"
    );
    let sent = cast.webhooks.status(&id, "sent").await?;
    let delivered = cast.webhooks.status(&id, "delivered").await?;

    let opened = Instant::now();
    cast.device.read(&id).await?;
    let read = cast.webhooks.status(&id, "read").await?;

    let written = Instant::now();
    cast.device.write(&answer).await?;
    let answered = cast.webhooks.message(&cast.phone, &answer).await?;
    let answer_sealed = cast.observer.next_message().await?;

    Ok(Round {
        message_sizes: Sizes::of(&message, &cast.number, &cast.phone)?,
        message,
        answer,
        answer_sealed,
        times: Times {
            accepted: accepted_after,
            sent: sent.duration_since(begun),
            shown: shown.at.duration_since(begun),
            delivered: delivered.duration_since(begun),
            read: read.saturating_duration_since(opened),
            answer: answered.saturating_duration_since(written),
        },
    })
}

impl Played {
    /// Everything that was said.
    pub fn contents(&self) -> Vec<String> {
        self.rounds
            .iter()
            .flat_map(|round| [round.message.clone(), round.answer.clone()])
            .collect()
    }
}

/// 32 random bytes: nobody wrote them anywhere before.
fn unguessable() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What webhooks told so far.
struct Webhooks {
    hooks: Hooks,
    told: Told,
}

/// Statuses by message and name, and texts by sender and body, each with the time of its first webhook.
#[derive(Default)]
struct Told {
    statuses: BTreeMap<(String, String), Instant>,
    texts: BTreeMap<(String, String), Instant>,
}

impl Webhooks {
    fn new(hooks: Hooks) -> Self {
        Self {
            hooks,
            told: Told::default(),
        }
    }

    async fn status(&mut self, id: &str, status: &str) -> anyhow::Result<Instant> {
        let key = (id.to_owned(), status.to_owned());
        self.until(&format!("status \"{status}\""), |told| {
            told.statuses.get(&key).copied()
        })
        .await
    }

    async fn message(&mut self, from: &str, body: &str) -> anyhow::Result<Instant> {
        let key = (from.to_owned(), body.to_owned());
        self.until("the consumer's answer", |told| {
            told.texts.get(&key).copied()
        })
        .await
    }

    async fn until(
        &mut self,
        what: &str,
        look: impl Fn(&Told) -> Option<Instant>,
    ) -> anyhow::Result<Instant> {
        let wait = async {
            loop {
                if let Some(at) = look(&self.told) {
                    return Ok(at);
                }
                match self.hooks.recv().await {
                    Some(hook) => self.told.take(&hook),
                    None => bail!("the webhook receiver ended"),
                }
            }
        };
        timeout(PATIENCE, wait)
            .await
            .with_context(|| format!("no webhook with {what} came in time"))?
    }
}

impl Told {
    fn take(&mut self, hook: &Hook) {
        let mut keep = |told: fn(&mut Self) -> &mut BTreeMap<_, _>, one: &Value, two: &Value| {
            if let (Some(one), Some(two)) = (one.as_str(), two.as_str()) {
                let key = (one.to_owned(), two.to_owned());
                told(self).entry(key).or_insert(hook.at);
            }
        };
        for entry in list(&hook.body["entry"]) {
            for change in list(&entry["changes"]) {
                let value = &change["value"];
                for status in list(&value["statuses"]) {
                    keep(|told| &mut told.statuses, &status["id"], &status["status"]);
                }
                for text in list(&value["messages"]) {
                    keep(|told| &mut told.texts, &text["from"], &text["text"]["body"]);
                }
            }
        }
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hook(value: &Value) -> Hook {
        Hook {
            at: Instant::now(),
            body: json!({
                "object": "whatsapp_business_account",
                "entry": [{"id": "1", "changes": [{"field": "messages", "value": value}]}],
            }),
        }
    }

    #[test]
    fn statuses_and_texts_are_read_from_cloud_api_webhooks_and_the_first_time_stays() {
        let mut told = Told::default();
        let first = hook(&json!({"statuses": [{"id": "wamid.A", "status": "sent"}]}));
        told.take(&first);
        told.take(&hook(
            &json!({"statuses": [{"id": "wamid.A", "status": "sent"}]}),
        ));
        told.take(&hook(&json!({"messages": [
            {"from": "15550200000", "id": "wamid.B", "type": "text", "text": {"body": "hi"}},
        ]})));
        let status = ("wamid.A".to_owned(), "sent".to_owned());
        assert_eq!(told.statuses.get(&status), Some(&first.at));
        assert_eq!(told.statuses.len(), 1);
        let text = ("15550200000".to_owned(), "hi".to_owned());
        assert!(told.texts.contains_key(&text));
    }

    #[test]
    fn contents_are_long_and_never_the_same() {
        let (one, two) = (unguessable().unwrap(), unguessable().unwrap());
        assert_eq!(one.len(), 43);
        assert_ne!(one, two);
    }

    #[tokio::test]
    async fn a_webhook_that_came_early_is_not_waited_for_again() {
        let (sender, hooks) = tokio::sync::mpsc::unbounded_channel();
        let mut webhooks = Webhooks::new(hooks);
        for status in ["sent", "delivered"] {
            let value = json!({"statuses": [{"id": "wamid.A", "status": status}]});
            sender.send(hook(&value)).ok().unwrap();
        }
        let delivered = webhooks.status("wamid.A", "delivered").await.unwrap();
        let sent = webhooks.status("wamid.A", "sent").await.unwrap();
        assert!(sent <= delivered);
        drop(sender);
        assert!(webhooks.status("wamid.A", "read").await.is_err());
    }
}
