//! Python's and Node's own HPKE libraries open every stored vector and refuse every bad one, and what they seal opens
//! here. Fails, and does not skip, where python3, node or npm is missing.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use sealpost_envelope::{
    HpkeSecretKey, NumberId, Opener, Secret, SigningKey, UnixMillis, UnverifiedWrap, WrapDirection,
};
use serde_json::Value;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn python_and_node_open_every_vector_and_what_they_seal_opens_here() {
    let out =
        std::env::var("SEALPOST_INTEROP_DIR").unwrap_or_else(|_| format!("{ROOT}/target/interop"));
    let run = Command::new("sh")
        .arg(format!("{ROOT}/tests/interop/wire-format/run.sh"))
        .env("SEALPOST_INTEROP_DIR", &out)
        .output()
        .unwrap();
    let (said, complained) = (
        String::from_utf8_lossy(&run.stdout),
        String::from_utf8_lossy(&run.stderr),
    );
    assert!(run.status.success(), "{said}\n{complained}");
    assert!(
        said.contains("python: ") && said.contains("node: "),
        "{said}"
    );

    for file in ["sealed-by-python.json", "sealed-by-node.json"] {
        opens_here(&Path::new(&out).join("wire-format").join(file));
    }
}

fn opens_here(path: &Path) {
    let read = |path: &Path| -> Value {
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    };
    let bytes = |value: &Value| hex::decode(value.as_str().unwrap()).unwrap();
    let vectors = read(Path::new(&format!("{ROOT}/docs/vectors/envelope.json")));
    let (sealed, stored) = (read(path), &vectors["wraps"][0]);

    let seed = |name: &str| Secret::from_slice(&bytes(&stored[name])).unwrap();
    let opener = Opener {
        number: &NumberId::new(stored["number"].as_str().unwrap()).unwrap(),
        direction: WrapDirection::Outbound,
        sender: &SigningKey::from_seed(&seed("sender_seed")).verifying_key(),
        recipient: &HpkeSecretKey::from_seed(&seed("recipient_seed")).unwrap(),
    };
    let now = UnixMillis(stored["now"].as_u64().unwrap());
    let wrap = UnverifiedWrap::parse(&bytes(&sealed["wrap"])).unwrap();
    let key = wrap.open(&opener, now).unwrap();
    let opened = key
        .open(&bytes(&sealed["header"]), &bytes(&sealed["body"]), now)
        .unwrap();
    assert_eq!(opened.content.as_bytes(), b"sealed elsewhere");
}
