//! The suite as an operator deploys it: from the samples of `deploy/config`, by the steps of `deploy/README.md`, without `up`.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sealpost_tests::binaries;
use sealpost_tests::rest::Rest;
use sealpost_tests::webhook::Webhook;
use serde_json::Value;

use crate::SOON;

const CORE: [(&str, &str); 6] = [
    ("directory", "directory"),
    ("key-vault", "vault"),
    ("store", "store"),
    ("relay", "relay"),
    ("retention", "retention"),
    ("gateway", "gateway"),
];
const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config");
const BUSINESS_PHONE: &str = "15550100000";
const CONSUMER_PHONE: &str = "15550277777";

/// A machine: `etc` stands for /etc/sealpost, `var` for /var/lib/sealpost, and every sample port for a free one.
struct Machine {
    root: tempfile::TempDir,
    ports: BTreeMap<u16, u16>,
    running: Vec<Child>,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let samples = CORE.map(|(name, _)| name).into_iter().chain(["connector"]);
        let mut ports = BTreeMap::new();
        let mut held = Vec::new();
        for name in samples {
            fs::create_dir_all(root.path().join("etc").join(name)).unwrap();
            fs::create_dir_all(root.path().join("var").join(name)).unwrap();
            for port in ports_in(&sample(name)) {
                ports.entry(port).or_insert_with(|| {
                    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
                    let free = listener.local_addr().unwrap().port();
                    held.push(listener);
                    free
                });
            }
        }
        Self {
            root,
            ports,
            running: Vec::new(),
        }
    }

    fn etc(&self, file: &str) -> PathBuf {
        self.root.path().join("etc").join(file)
    }

    fn var(&self, file: &str) -> PathBuf {
        self.root.path().join("var").join(file)
    }

    fn address(&self, sample_port: u16) -> String {
        format!("127.0.0.1:{}", self.ports[&sample_port])
    }

    /// Writes a service's configuration from its sample; `edits` are what the operator fills in.
    fn configure(&self, name: &str, edits: &[(&str, &str)]) {
        let mut text = sample(name);
        for (sample_port, port) in &self.ports {
            text = text.replace(&format!(":{sample_port}\""), &format!(":{port}\""));
        }
        text = text.replace("/etc/sealpost", &self.etc("").display().to_string());
        text = text.replace("/var/lib/sealpost", &self.var("").display().to_string());
        for (placeholder, value) in edits {
            assert!(
                text.contains(placeholder),
                "{name}.toml has no {placeholder}"
            );
            text = text.replace(placeholder, value);
        }
        fs::write(self.etc(&format!("{name}/{name}.toml")), text).unwrap();
    }

    fn service(&self, name: &str) -> Command {
        let binary = binaries::sealpost()
            .unwrap()
            .with_file_name(format!("sealpost-{name}"));
        let mut command = Command::new(binary);
        command
            .arg("--config")
            .arg(self.etc(&format!("{name}/{name}.toml")));
        command
    }

    /// Runs a command of `sealpost` and answers its JSON.
    fn sealpost(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(binaries::sealpost().unwrap())
            .arg("--json")
            .args(arguments)
            .output()
            .unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
    }

    /// Runs an operator's command against the services.
    fn admin(&self, arguments: &[&str]) -> Result<Value, String> {
        let file = |name: &str| self.root.path().join(name).display().to_string();
        let addresses = [
            ("directory", 7401),
            ("key-vault", 7402),
            ("store", 7403),
            ("relay", 7404),
            ("retention", 7405),
            ("gateway", 7406),
        ]
        .map(|(name, port)| format!("{name}={}", self.address(port)));
        let (cert, key) = (file("operator/operator.pem"), file("operator/operator.key"));
        let (ca, crl) = (file("pki/ca.pem"), file("pki/crl.pem"));
        let mut all = vec!["admin"];
        all.extend(arguments);
        for address in &addresses {
            all.extend(["--address", address]);
        }
        all.extend(["--cert", &cert, "--key", &key, "--ca", &ca, "--crl", &crl]);
        self.sealpost(&all)
    }

    fn start(&mut self, name: &str) {
        let log = fs::File::create(self.var(&format!("{name}.log"))).unwrap();
        let mut command = self.service(name);
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running.push(child);
    }

    fn init(&self, name: &str) {
        let output = self.service(name).arg("--init").output().unwrap();
        assert!(output.status.success(), "{name} --init: {output:?}");
    }

    fn secret(&self, file: &str, text: &str) {
        let path = self.etc(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        for child in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(SAMPLES).join(format!("{name}.toml"))).unwrap()
}

/// Every port that a sample listens on or calls.
fn ports_in(text: &str) -> Vec<u16> {
    text.split("\"")
        .filter_map(|word| {
            word.strip_prefix("127.0.0.1:")
                .or_else(|| word.strip_prefix("localhost:"))
        })
        .filter_map(|port| port.parse().ok())
        .collect()
}

fn certificates(machine: &Machine) {
    let root = machine.root.path();
    let path = |path: &Path| path.display().to_string();
    let pki = path(&root.join("pki"));
    machine
        .sealpost(&[
            "pki",
            "init",
            "--dir",
            &pki,
            "--trust-domain",
            "deployed.example",
        ])
        .unwrap();
    for (name, role) in CORE {
        let out = path(&machine.etc(name));
        let issue = ["pki", "issue", "--dir", &pki, "--role", role, "--out", &out];
        machine.sealpost(&issue).unwrap();
    }
    for name in ["relay", "gateway"] {
        let out = path(&machine.etc(name));
        let names = ["--dns", "localhost", "--ip", "127.0.0.1"];
        let issue = [
            "pki",
            "issue-public",
            "--dir",
            &pki,
            "--name",
            "public",
            "--out",
            &out,
        ];
        machine.sealpost(&[&issue[..], &names].concat()).unwrap();
    }
    let operator = path(&root.join("operator"));
    let issue = [
        "pki", "issue", "--dir", &pki, "--role", "operator", "--out", &operator,
    ];
    machine.sealpost(&issue).unwrap();
    for file in ["ca.pem", "crl.pem"] {
        fs::copy(root.join("pki").join(file), machine.etc(file)).unwrap();
    }
}

/// The operator's own way to send codes: here, into a file.
fn code_sender(machine: &Machine) -> PathBuf {
    let (script, codes) = (
        machine.etc("relay/send-code"),
        machine.root.path().join("codes.jsonl"),
    );
    let text = format!("#!/bin/sh\n{{ cat; echo; }} >> '{}'\n", codes.display());
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o700)).unwrap();
    codes
}

fn until_serving(machine: &Machine) {
    let start = Instant::now();
    while let Err(error) = machine.admin(&["status"]) {
        assert!(start.elapsed() < Duration::from_secs(60), "{error}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Makes the business, and answers its number's id.
fn business(machine: &Machine, webhook: &Webhook) -> String {
    let made = machine.admin(&["business", "create", "Deployed"]).unwrap();
    let business = text(&made, "business_id");
    let number = machine
        .admin(&[
            "number",
            "create",
            "--business",
            &business,
            "--phone-number",
            BUSINESS_PHONE,
        ])
        .unwrap();
    let number = text(&number, "phone_number_id");

    let keys = machine.etc("connector").display().to_string();
    let public = machine
        .sealpost(&["pki", "business-keys", "--out", &keys])
        .unwrap();
    let (hpke, signing) = (
        text(&public, "hpke_public_key"),
        text(&public, "signing_public_key"),
    );
    let provision = ["number", "provision", &number, "--hpke-public-key", &hpke];
    let provisioned = machine
        .admin(&[&provision[..], &["--signing-public-key", &signing]].concat())
        .unwrap();
    let token = machine
        .admin(&["token", "issue", "--business", &business])
        .unwrap();

    machine.secret("connector/gateway.token", &text(&token, "token"));
    machine.secret("connector/rest.token", "a-rest-token-of-this-deployment");
    machine.secret("connector/app-secret", "an-app-secret");
    machine.secret("connector/verify-token", "a-verify-token");
    webhook.trust("an-app-secret");
    let fingerprint = text(&provisioned, "vault_fingerprint");
    machine.configure(
        "connector",
        &[
            ("106540352242922", number.as_str()),
            (&"0".repeat(64), fingerprint.as_str()),
            ("http://127.0.0.1:9000/webhook", webhook.url()),
        ],
    );
    number
}

fn text(value: &Value, key: &str) -> String {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("no {key} in {value}"))
        .to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_suite_runs_from_the_deployment_samples() {
    let webhook = Webhook::start().unwrap();
    let mut machine = Machine::new();
    certificates(&machine);
    let codes = code_sender(&machine);

    let sample_key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
    machine.configure("relay", &[]);
    machine.init("relay");
    let bundle_key = fs::read_to_string(machine.var("relay/bundle.key.pub")).unwrap();
    machine.configure("key-vault", &[(sample_key, bundle_key.trim())]);
    machine.init("key-vault");
    for name in ["directory", "store", "retention", "gateway"] {
        machine.configure(name, &[]);
    }
    for (name, _) in CORE {
        let checked = machine
            .service(name)
            .arg("--check-config")
            .output()
            .unwrap();
        assert!(checked.status.success(), "{name}: {checked:?}");
        machine.start(name);
    }
    until_serving(&machine);
    let number = business(&machine, &webhook);
    machine.start("connector");

    let file = |name: &str| machine.root.path().join(name).display().to_string();
    let mut chat = Command::new(binaries::sealpost().unwrap())
        .args([
            "--json",
            "chat",
            "--register",
            CONSUMER_PHONE,
            "--with",
            BUSINESS_PHONE,
        ])
        .args([
            "--state",
            &file("device.state"),
            "--relay",
            &machine.address(7444),
        ])
        .args([
            "--ca",
            &file("pki/ca.pem"),
            "--code-file",
            &codes.display().to_string(),
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = chat.stdin.take().unwrap();
    machine.running.push(chat);

    let rest = Rest::new(
        &format!("http://{}", machine.address(7480)),
        "a-rest-token-of-this-deployment",
    )
    .unwrap();
    writeln!(input, r#"{{"do":"text","body":"Are you deployed?"}}"#).unwrap();
    let asked = webhook
        .wait_for_messages(CONSUMER_PHONE, 1, SOON)
        .await
        .unwrap();
    assert_eq!(asked[0].object["text"]["body"], "Are you deployed?");
    let id = rest
        .text_until_accepted(&number, CONSUMER_PHONE, "From the samples.", "key-1", SOON)
        .await
        .unwrap();
    webhook
        .wait_for_status(&id, "delivered", SOON)
        .await
        .unwrap();
}
