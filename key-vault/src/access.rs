//! Who may call what: role by RPC, deny by default.

use sealpost_runtime::{
    Role,
    server::{AccessRow, AccessTable, USUAL_ROWS},
};

/// The vault's table. Health and reflection stand in the usual rows.
pub static ACCESS: AccessTable = AccessTable::new(&[VAULT_ROWS, SEAL_ROWS, USUAL_ROWS]);

#[rustfmt::skip]
const VAULT_ROWS: &[AccessRow] = &[
    ("/sealpost.vault.v1.KeyVaultService/ProvisionNumber",      &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/RegisterBusinessKeys", &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/GetNumber",            &[Role::Operator, Role::Gateway, Role::Auditor]),
    ("/sealpost.vault.v1.KeyVaultService/SetRetention",         &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/ReplenishPrekeys",     &[Role::Operator, Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/GetPublishedKey",      &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/WatchShards",          &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/Admit",                &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/Encrypt",              &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/Decrypt",              &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/Confirm",              &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/Deliver",              &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/ListPending",          &[Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/Reseal",               &[Role::Store]),
    ("/sealpost.vault.v1.KeyVaultService/Check",                &[Role::Store, Role::Auditor]),
    ("/sealpost.vault.v1.KeyVaultService/WatchEpochs",          &[Role::Store, Role::Retention, Role::Gateway]),
    ("/sealpost.vault.v1.KeyVaultService/DestroyExpiredEpochs", &[Role::Retention]),
    ("/sealpost.vault.v1.KeyVaultService/EraseSubject",         &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/ErasePerson",          &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/RemoveNumber",         &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/ListReceipts",         &[Role::Retention, Role::Operator, Role::Auditor]),
    ("/sealpost.vault.v1.KeyVaultService/FindSubject",          &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/ExportSubject",        &[Role::Operator]),
    ("/sealpost.vault.v1.KeyVaultService/ConfirmClock",         &[Role::Operator]),
];

#[rustfmt::skip]
const SEAL_ROWS: &[AccessRow] = &[
    ("/sealpost.vault.v1.SealService/GetSealStatus",            &[Role::Operator, Role::Auditor]),
    ("/sealpost.vault.v1.SealService/Initialise",               &[Role::Operator]),
    ("/sealpost.vault.v1.SealService/Unseal",                   &[Role::Operator]),
    ("/sealpost.vault.v1.SealService/Seal",                     &[Role::Operator]),
    ("/sealpost.vault.v1.SealService/ChangeProvider",           &[Role::Operator]),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// The table once more, from the other side, in the words of the contract's comments.
    fn may(role: Role, rpc: &str) -> bool {
        match role {
            Role::Gateway => [
                "GetNumber",
                "ReplenishPrekeys",
                "GetPublishedKey",
                "WatchShards",
                "Admit",
                "Encrypt",
                "Decrypt",
                "Confirm",
                "Deliver",
                "ListPending",
                "WatchEpochs",
            ]
            .contains(&rpc),
            Role::Operator => [
                "ProvisionNumber",
                "RegisterBusinessKeys",
                "GetNumber",
                "SetRetention",
                "ReplenishPrekeys",
                "EraseSubject",
                "ErasePerson",
                "RemoveNumber",
                "ListReceipts",
                "FindSubject",
                "ExportSubject",
                "ConfirmClock",
                "GetSealStatus",
                "Initialise",
                "Unseal",
                "Seal",
                "ChangeProvider",
            ]
            .contains(&rpc),
            Role::Store => ["Reseal", "Check", "WatchEpochs"].contains(&rpc),
            Role::Retention => {
                ["WatchEpochs", "DestroyExpiredEpochs", "ListReceipts"].contains(&rpc)
            }
            Role::Auditor => ["GetNumber", "Check", "ListReceipts", "GetSealStatus"].contains(&rpc),
            Role::Vault | Role::Directory | Role::Relay | Role::Connector => false,
        }
    }

    fn descriptors() -> FileDescriptorSet {
        FileDescriptorSet::decode(sealpost_proto::FILE_DESCRIPTOR_SET).unwrap()
    }

    #[test]
    fn every_role_may_call_exactly_what_the_contract_says() {
        let mut ours = BTreeSet::new();
        for file in descriptors().file {
            for service in &file.service {
                for method in &service.method {
                    let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                    let here = file.package() == "sealpost.vault.v1";
                    for role in Role::ALL {
                        let expected = here && may(*role, method.name());
                        assert_eq!(ACCESS.allows(&path, *role), expected, "{role} {path}");
                    }
                    if here {
                        ours.insert(path);
                    }
                }
            }
        }
        assert!(!ours.is_empty());
        for path in &ours {
            assert!(
                ACCESS.rows().any(|(listed, _)| listed == path),
                "{path} stands in no row"
            );
        }
        for (listed, _) in VAULT_ROWS.iter().chain(SEAL_ROWS) {
            assert!(ours.contains(*listed), "{listed} is no RPC of the vault");
        }
    }

    #[test]
    fn what_is_not_listed_is_denied_to_every_role() {
        for role in Role::ALL {
            for path in [
                "/sealpost.vault.v1.KeyVaultService/Export",
                "/sealpost.vault.v2.KeyVaultService/Admit",
                "/",
                "",
            ] {
                assert!(!ACCESS.allows(path, *role), "{role} {path}");
            }
        }
    }

    #[test]
    fn no_rpc_answers_private_or_symmetric_keys() {
        let vault: Vec<_> = descriptors()
            .file
            .into_iter()
            .filter(|file| file.package() == "sealpost.vault.v1")
            .collect();
        for message in vault.iter().flat_map(|file| &file.message_type) {
            for field in &message.field {
                let name = field.name();
                let suspect = ["private", "secret", "seed", "symmetric"]
                    .iter()
                    .any(|word| name.contains(word));
                assert!(!suspect, "{}.{name}", message.name());
                if name.contains("key")
                    && field.r#type() == prost_types::field_descriptor_proto::Type::Bytes
                {
                    let known = ["public_key", "key_id", "verification_key", "identity_key"];
                    assert!(
                        known.iter().any(|suffix| name.ends_with(suffix)),
                        "{}.{name}",
                        message.name()
                    );
                }
            }
        }
    }
}
