//! Who may call the store, method by method. What does not stand here is refused.

use sealpost_runtime::{
    Role,
    server::{AccessRow, AccessTable, USUAL_ROWS},
};

const GATEWAY: &[Role] = &[Role::Gateway];
const OPERATOR: &[Role] = &[Role::Operator];
const RETENTION: &[Role] = &[Role::Retention];

/// Every method of the store and the roles that may call it.
#[rustfmt::skip]
const STORE_ROWS: &[AccessRow] = &[
    ("/sealpost.store.v1.StoreService/AppendOutbound", GATEWAY),
    ("/sealpost.store.v1.StoreService/AppendInbound",  GATEWAY),
    ("/sealpost.store.v1.StoreService/AdvanceStatus",  GATEWAY),
    ("/sealpost.store.v1.StoreService/LeaseDispatch",  GATEWAY),
    ("/sealpost.store.v1.StoreService/GetRecord",      GATEWAY),
    ("/sealpost.store.v1.StoreService/HasEnvelope",    GATEWAY),
    ("/sealpost.store.v1.StoreService/ListEvents",     GATEWAY),
    ("/sealpost.store.v1.StoreService/WatchEvents",    GATEWAY),
    ("/sealpost.store.v1.StoreService/GetCursor",      GATEWAY),
    ("/sealpost.store.v1.StoreService/OpenCursor",     GATEWAY),
    ("/sealpost.store.v1.StoreService/AdvanceCursor",  GATEWAY),
    ("/sealpost.store.v1.StoreService/ListSubscriptions",  OPERATOR),
    ("/sealpost.store.v1.StoreService/DeleteSubscription", OPERATOR),
    ("/sealpost.store.v1.StoreService/DeleteEpochs",   RETENTION),
    ("/sealpost.store.v1.StoreService/DeleteSubject",  RETENTION),
    ("/sealpost.store.v1.StoreService/DescribeStore",  RETENTION),
    ("/sealpost.store.v1.StoreService/MarkNumber",     RETENTION),
    ("/sealpost.store.v1.StoreService/ExportNumber",   RETENTION),
    ("/sealpost.store.v1.StoreService/ImportNumber",   RETENTION),
    ("/sealpost.store.v1.StoreService/DeleteNumber",   RETENTION),
    ("/sealpost.store.v1.StoreService/ListSubject",    OPERATOR),
];

/// The store's table; auditors have health and reflection only.
pub static ACCESS: AccessTable = AccessTable::new(&[STORE_ROWS, USUAL_ROWS]);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    const SERVICE: &str = "StoreService";

    /// Every method of the service in the descriptors, with the comment's first word(s) before the colon.
    fn described() -> BTreeMap<String, String> {
        let set = FileDescriptorSet::decode(sealpost_proto::FILE_DESCRIPTOR_SET).unwrap();
        let mut methods = BTreeMap::new();
        for file in &set.file {
            for (s, service) in file.service.iter().enumerate() {
                if service.name() != SERVICE {
                    continue;
                }
                let locations = &file.source_code_info.as_ref().unwrap().location;
                for (m, method) in service.method.iter().enumerate() {
                    let path = [6, i32::try_from(s).unwrap(), 2, i32::try_from(m).unwrap()];
                    let comment = locations
                        .iter()
                        .find(|location| location.path == path)
                        .unwrap()
                        .leading_comments();
                    let who = comment.split(':').next().unwrap().trim().to_lowercase();
                    let path = format!("/{}.{SERVICE}/{}", file.package(), method.name());
                    methods.insert(path, who);
                }
            }
        }
        assert!(!methods.is_empty());
        methods
    }

    #[test]
    fn every_method_stands_in_the_table_once_for_whom_the_contract_names() {
        let methods = described();
        assert_eq!(methods.len(), STORE_ROWS.len());
        for (path, who) in &methods {
            assert_eq!(
                STORE_ROWS.iter().filter(|(row, _)| row == path).count(),
                1,
                "{path}"
            );
            for role in Role::ALL {
                let named = who.split(", ").any(|name| name == role.as_str());
                assert_eq!(ACCESS.allows(path, *role), named, "{path} {role}");
            }
        }
    }

    #[test]
    fn no_role_is_allowed_what_is_not_listed() {
        for role in Role::ALL {
            assert!(!ACCESS.allows("/sealpost.store.v1.StoreService/Unlisted", *role));
        }
    }
}
