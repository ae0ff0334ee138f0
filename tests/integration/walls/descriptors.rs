//! Wall 4 over the contracts: no answer carries a private or symmetric key.

use prost::Message;
use prost_types::field_descriptor_proto::Type;
use prost_types::{DescriptorProto, FileDescriptorSet};
use std::collections::{BTreeMap, BTreeSet};

/// Fields whose name says "key" and that hold public keys or names of keys, not keys.
const PUBLIC: &[&str] = &[
    "public_key",
    "identity_key",
    "business_hpke_public_key",
    "business_signing_public_key",
    "hpke_public_key",
    "signing_public_key",
    "vault_signing_public_key",
    "verification_key",
    // Ed25519 public half of the vault signing key (PublishedVaultKey).
    "signing_key",
    // Statements about public keys, signed.
    "signing_key_rotations",
];

fn contracts() -> FileDescriptorSet {
    FileDescriptorSet::decode(sealpost_proto::FILE_DESCRIPTOR_SET).unwrap()
}

fn messages(set: &FileDescriptorSet) -> BTreeMap<String, DescriptorProto> {
    set.file
        .iter()
        .flat_map(|file| {
            file.message_type.iter().map(move |message| {
                (
                    format!(".{}.{}", file.package(), message.name()),
                    message.clone(),
                )
            })
        })
        .collect()
}

/// Every bytes or string field that a message can carry, at any depth.
fn leaves(
    name: &str,
    all: &BTreeMap<String, DescriptorProto>,
    seen: &mut BTreeSet<String>,
    found: &mut BTreeSet<(String, String)>,
) {
    if !seen.insert(name.to_owned()) {
        return;
    }
    for field in &all[name].field {
        match field.r#type() {
            Type::Message => leaves(field.type_name(), all, seen, found),
            Type::Bytes | Type::String => {
                found.insert((name.to_owned(), field.name().to_owned()));
            }
            _ => {}
        }
    }
}

fn suspicious(field: &str) -> bool {
    [
        "key",
        "secret",
        "seed",
        "private",
        "password",
        "passphrase",
        "plaintext",
        "share",
    ]
    .iter()
    .any(|word| field.contains(word))
        && !PUBLIC.contains(&field)
        && !field.ends_with("key_id")
}

/// The holders' shares of the key that seals the root key: each is answered once, when it is made, to an operator.
const SHARES: [&str; 2] = [
    ".sealpost.vault.v1.InitialiseResponse",
    ".sealpost.vault.v1.ChangeProviderResponse",
];

#[test]
fn no_rpc_answers_a_private_or_symmetric_key() {
    let set = contracts();
    let all = messages(&set);
    let mut rpcs = 0;
    for service in set.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            rpcs += 1;
            let mut found = BTreeSet::new();
            leaves(method.output_type(), &all, &mut BTreeSet::new(), &mut found);
            for (message, field) in found {
                if field == "shares" && SHARES.contains(&message.as_str()) {
                    continue;
                }
                assert!(
                    !suspicious(&field),
                    "{}.{} answers {message}.{field}",
                    service.name(),
                    method.name()
                );
            }
        }
    }
    assert!(rpcs > 40, "only {rpcs} RPCs seen");
}

#[test]
fn the_check_would_see_a_key() {
    assert!(
        suspicious("session_key")
            && suspicious("private_key")
            && suspicious("seed")
            && suspicious("content_key")
            && suspicious("shares")
    );
    assert!(!suspicious("identity_key") && !suspicious("content_key_id"));
}

#[test]
fn content_is_named_by_no_service() {
    let set = contracts();
    let all = messages(&set);
    for service in set.file.iter().flat_map(|file| &file.service) {
        for method in &service.method {
            for side in [method.input_type(), method.output_type()] {
                let mut seen = BTreeSet::new();
                leaves(side, &all, &mut seen, &mut BTreeSet::new());
                assert!(
                    !seen
                        .iter()
                        .any(|name| name.starts_with(".sealpost.content.")),
                    "{} carries readable content",
                    method.name()
                );
            }
        }
    }
}

#[test]
fn no_phone_number_reaches_store_or_retention() {
    let set = contracts();
    let all = messages(&set);
    for file in set
        .file
        .iter()
        .filter(|file| ["sealpost.store.v1", "sealpost.retention.v1"].contains(&file.package()))
    {
        for method in file.service.iter().flat_map(|service| &service.method) {
            let mut found = BTreeSet::new();
            leaves(method.input_type(), &all, &mut BTreeSet::new(), &mut found);
            leaves(method.output_type(), &all, &mut BTreeSet::new(), &mut found);
            for (message, field) in found {
                if field == "shares" && SHARES.contains(&message.as_str()) {
                    continue;
                }
                assert!(
                    field != "peer" && field != "phone_number",
                    "{} carries {message}.{field}",
                    method.name()
                );
            }
        }
    }
}
