//! Configuration and a connector in this process.

use std::{
    fs,
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use sealpost_connector::{config::Config, connector::Connector};
use sealpost_connector_sdk::UnixMillis;
use sealpost_runtime::{Clock, args::ServiceArgs, config};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{APP_SECRET, App, VERIFY_TOKEN},
    double::{Gateway, NUMBER, PEER, Seeds, TOKEN, write_private},
};

pub const REST_TOKEN: &str = "the-rest-token";
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything around a connector.
pub struct Suite {
    pub gateway: Gateway,
    pub app: App,
    pub folder: TempDir,
}

/// A connector in this process.
pub struct Running {
    pub address: SocketAddr,
    stop: CancellationToken,
    served: JoinHandle<anyhow::Result<()>>,
}

impl Suite {
    pub async fn start() -> Self {
        let suite = Self {
            gateway: Gateway::start(Clock::system(), &Seeds::OURS).await,
            app: App::start().await,
            folder: tempfile::tempdir().unwrap(),
        };
        suite.write_files();
        suite
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn config_file(&self) -> PathBuf {
        self.path("connector.toml")
    }

    pub async fn connector(&self) -> Running {
        self.connector_with(&[]).await
    }

    pub async fn connector_with(&self, sets: &[String]) -> Running {
        let args = ServiceArgs {
            config: Some(self.config_file()),
            set: sets.to_vec(),
            ..ServiceArgs::default()
        };
        let config: Config = config::load("connector", &args).unwrap();
        config.check().unwrap();
        let connector = Connector::build(&config).await.unwrap();
        let stop = CancellationToken::new();
        Running {
            address: connector.local_addr(),
            served: tokio::spawn(connector.serve(stop.clone())),
            stop,
        }
    }

    fn write_files(&self) {
        let seeds = Seeds::OURS;
        write_private(&self.path("hpke.key"), &seeds.hpke);
        write_private(&self.path("signing.key"), &seeds.signing);
        write_private(&self.path("gateway.token"), TOKEN.as_bytes());
        write_private(&self.path("rest.token"), REST_TOKEN.as_bytes());
        write_private(&self.path("app-secret"), APP_SECRET.as_bytes());
        write_private(&self.path("verify-token"), VERIFY_TOKEN.as_bytes());
        let text = format!(
            r#"
database = "sqlite://{folder}/queue.db"
queue_key = "{folder}/queue.key"

[gateway]
address = "{gateway}"
ca = "{ca}"
token_file = "{folder}/gateway.token"

[business]
account_id = "77"
hpke_key = "{folder}/hpke.key"
signing_key = "{folder}/signing.key"
message_id_key = "{folder}/message-id.key"

[[numbers]]
phone_number_id = "{NUMBER}"
phone_number = "15550783881"
vault_fingerprint = "{fingerprint}"

[http]
listen = "127.0.0.1:0"
token_file = "{folder}/rest.token"
send_deadline_seconds = 2

[webhook]
url = "{url}"
app_secret_file = "{folder}/app-secret"
verify_token_file = "{folder}/verify-token"
"#,
            folder = self.folder.path().display(),
            gateway = self.gateway.address,
            ca = self.gateway.ca().display(),
            fingerprint = self.gateway.fingerprint(),
            url = self.app.url,
        );
        fs::write(self.config_file(), text).unwrap();
    }

    /// The gateway says that a consumer wrote `text`.
    pub fn say(&self, cursor: u64, peer: &str, text: &str) {
        self.say_as(cursor, peer, text, [cursor as u8; 16]);
    }

    pub fn say_as(&self, cursor: u64, peer: &str, text: &str, id: [u8; 16]) {
        let inbound = self.gateway.state.lock().vaults[NUMBER].own_inbound(now());
        let content = sealpost_connector_sdk::content::text(text);
        let event = inbound.message(NUMBER, cursor, peer, id, &content, now());
        self.gateway.state.feed(inbound.response(vec![event]));
    }

    pub fn acknowledged(&self) -> Option<u64> {
        self.gateway.state.lock().acknowledged.get(NUMBER).copied()
    }
}

impl Running {
    /// Posts to the REST face of our number; answers status and JSON.
    pub async fn post(&self, body: &Value) -> (u16, Value) {
        self.post_to(&format!("/v23.0/{NUMBER}/messages"), &[], body)
            .await
    }

    pub async fn post_to(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: &Value,
    ) -> (u16, Value) {
        let mut request = reqwest::Client::new()
            .post(format!("http://{}{path}", self.address))
            .json(body);
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request = request.bearer_auth(REST_TOKEN);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    pub async fn stop(self) {
        self.stop.cancel();
        soon(self.served).await.unwrap().unwrap();
    }
}

pub fn now() -> UnixMillis {
    UnixMillis(Clock::system().now().as_millis())
}

pub fn text(body: &str) -> Value {
    serde_json::json!({
        "messaging_product": "whatsapp",
        "to": format!("+{PEER}"),
        "type": "text",
        "text": { "body": body },
    })
}

/// Whether any file of the folder holds these bytes.
pub fn is_on_disk(folder: &Path, needle: &str) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        bytes
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
    })
}

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

pub async fn eventually(mut holds: impl FnMut() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
