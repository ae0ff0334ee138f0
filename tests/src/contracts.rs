//! Every RPC of the contracts, with the roles that its comment names: "Gateway, operator: more prekeys for a number."

use std::collections::BTreeSet;

use anyhow::Context;
use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use sealpost_runtime::Role;

/// One RPC.
#[derive(Clone, Debug)]
pub struct Rpc {
    /// `/sealpost.vault.v1.KeyVaultService/Admit`.
    pub path: String,
    /// `Admit`.
    pub name: String,
    /// Type of what is sent, `.sealpost.vault.v1.AdmitRequest`.
    pub input: String,
    /// Roles that may call it; empty on the public faces, whose callers have tokens.
    pub roles: BTreeSet<Role>,
}

/// The contracts.
///
/// # Errors
/// When they do not read.
pub fn contracts() -> anyhow::Result<FileDescriptorSet> {
    Ok(FileDescriptorSet::decode(
        sealpost_proto::FILE_DESCRIPTOR_SET,
    )?)
}

/// Every RPC of a service, `sealpost.vault.v1.KeyVaultService`.
///
/// # Errors
/// When there is no such service, or a comment names a role that does not exist.
pub fn rpcs(service: &str) -> anyhow::Result<Vec<Rpc>> {
    let mut found = Vec::new();
    for file in contracts()?.file {
        for (place, described) in file.service.iter().enumerate() {
            if format!("{}.{}", file.package(), described.name()) != service {
                continue;
            }
            for (index, method) in described.method.iter().enumerate() {
                let comment = comment(&file, place, index).context("an RPC without a comment")?;
                found.push(Rpc {
                    path: format!("/{service}/{}", method.name()),
                    name: method.name().to_owned(),
                    input: method.input_type().to_owned(),
                    roles: roles(&comment),
                });
            }
        }
    }
    anyhow::ensure!(
        !found.is_empty(),
        "no service is named {service}: a walk over it would prove nothing"
    );
    Ok(found)
}

fn comment(file: &FileDescriptorProto, service: usize, method: usize) -> Option<String> {
    let path = [
        6,
        i32::try_from(service).ok()?,
        2,
        i32::try_from(method).ok()?,
    ];
    let locations = &file.source_code_info.as_ref()?.location;
    let found = locations.iter().find(|location| location.path == path)?;
    Some(found.leading_comments().trim().to_owned())
}

/// The words before the colon, when all of them are roles.
fn roles(comment: &str) -> BTreeSet<Role> {
    let Some((who, _)) = comment.split_once(':') else {
        return BTreeSet::new();
    };
    let named: Option<BTreeSet<Role>> = who
        .split(", ")
        .map(|role| role.to_lowercase().parse().ok())
        .collect();
    named.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_comment_names_the_roles_before_its_colon() {
        assert_eq!(
            roles("Gateway, operator: x."),
            BTreeSet::from([Role::Gateway, Role::Operator])
        );
        assert_eq!(
            roles("Sends one message. OK means accepted: durable."),
            BTreeSet::new()
        );
    }

    #[test]
    fn every_rpc_between_services_names_its_callers() {
        for service in [
            "sealpost.vault.v1.KeyVaultService",
            "sealpost.store.v1.StoreService",
            "sealpost.directory.v1.DirectoryService",
            "sealpost.relay.v1.PlatformService",
            "sealpost.retention.v1.RetentionService",
        ] {
            for rpc in rpcs(service).unwrap() {
                assert!(!rpc.roles.is_empty(), "{}", rpc.path);
            }
        }
    }
}
