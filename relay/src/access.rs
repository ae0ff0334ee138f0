//! Which role may call what of the platform face. The device face has no roles: see [`crate::auth`].

use sealpost_runtime::{
    Role::{Gateway, Operator, Retention},
    server::{AccessRow, AccessTable, USUAL_ROWS},
};

const ROWS: &[AccessRow] = &[
    (REGISTER_NUMBER, &[Operator]),
    (SET_NUMBER_RETENTION, &[Operator]),
    (GET_NUMBER, &[Operator]),
    (REMOVE_NUMBER, &[Operator]),
    (UPLOAD_NUMBER_PREKEYS, &[Gateway, Operator]),
    (FETCH_BUNDLE, &[Gateway]),
    (SUBMIT, &[Gateway]),
    (COLLECT, &[Gateway]),
    (REQUEST_ENVELOPE, &[Gateway]),
    (DELETE_EXPIRED, &[Retention]),
    (ERASE_PEER, &[Operator]),
    (REMOVE_CONSUMER, &[Operator]),
];

const REGISTER_NUMBER: &str = "/sealpost.relay.v1.PlatformService/RegisterNumber";
const SET_NUMBER_RETENTION: &str = "/sealpost.relay.v1.PlatformService/SetNumberRetention";
const GET_NUMBER: &str = "/sealpost.relay.v1.PlatformService/GetNumber";
const REMOVE_NUMBER: &str = "/sealpost.relay.v1.PlatformService/RemoveNumber";
const UPLOAD_NUMBER_PREKEYS: &str = "/sealpost.relay.v1.PlatformService/UploadNumberPrekeys";
const FETCH_BUNDLE: &str = "/sealpost.relay.v1.PlatformService/FetchBundle";
const SUBMIT: &str = "/sealpost.relay.v1.PlatformService/Submit";
const COLLECT: &str = "/sealpost.relay.v1.PlatformService/Collect";
const REQUEST_ENVELOPE: &str = "/sealpost.relay.v1.PlatformService/RequestEnvelope";
const DELETE_EXPIRED: &str = "/sealpost.relay.v1.PlatformService/DeleteExpired";
const ERASE_PEER: &str = "/sealpost.relay.v1.PlatformService/ErasePeer";
const REMOVE_CONSUMER: &str = "/sealpost.relay.v1.PlatformService/RemoveConsumer";

/// The relay's table.
pub static ACCESS: AccessTable = AccessTable::new(&[ROWS, USUAL_ROWS]);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;
    use prost_types::FileDescriptorSet;
    use sealpost_proto::FILE_DESCRIPTOR_SET;
    use sealpost_runtime::Role;

    use super::*;

    /// Path of every method of the relay's contracts, both faces.
    fn methods() -> Vec<String> {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let files = set
            .file
            .iter()
            .filter(|file| file.package() == "sealpost.relay.v1");
        let mut paths = Vec::new();
        for service in files.flat_map(|file| &file.service) {
            for method in &service.method {
                paths.push(format!(
                    "/sealpost.relay.v1.{}/{}",
                    service.name(),
                    method.name()
                ));
            }
        }
        paths
    }

    /// The expectation is spelled here a second time, as a set of names per role, so that a slip in the table shows. No
    /// role reaches the device face through this table.
    #[test]
    fn every_role_reaches_its_own_methods_and_no_other() {
        let expected = |role: Role| -> &[&str] {
            match role {
                Operator => &[
                    "RegisterNumber",
                    "SetNumberRetention",
                    "GetNumber",
                    "RemoveNumber",
                    "UploadNumberPrekeys",
                    "ErasePeer",
                    "RemoveConsumer",
                ],
                Gateway => &[
                    "UploadNumberPrekeys",
                    "FetchBundle",
                    "Submit",
                    "Collect",
                    "RequestEnvelope",
                ],
                Retention => &["DeleteExpired"],
                _ => &[],
            }
        };
        let methods = methods();
        assert_eq!(methods.len(), 12 + 11);
        for path in &methods {
            let name = path.rsplit('/').next().unwrap();
            for role in Role::ALL {
                assert_eq!(
                    ACCESS.allows(path, *role),
                    expected(*role).contains(&name),
                    "{role} {name}"
                );
            }
        }
    }

    #[test]
    fn every_row_names_a_method_of_the_contract() {
        let methods = methods();
        for (path, _) in ROWS {
            assert!(methods.iter().any(|method| method == path), "{path}");
        }
        for path in crate::auth::OPEN
            .iter()
            .filter(|path| !path.starts_with("/grpc.health."))
        {
            assert!(methods.iter().any(|method| method == path), "{path}");
        }
    }
}
