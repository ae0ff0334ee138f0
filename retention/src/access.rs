//! Who may call retention, method by method. What does not stand here is refused.

use sealpost_runtime::{
    Role,
    server::{AccessRow, AccessTable, USUAL_ROWS},
};

const OPERATOR: &[Role] = &[Role::Operator];
const OVERSIGHT: &[Role] = &[Role::Operator, Role::Auditor];

/// Every method of retention and the roles that may call it.
#[rustfmt::skip]
const RETENTION_ROWS: &[AccessRow] = &[
    ("/sealpost.retention.v1.RetentionService/RunNow",        OPERATOR),
    ("/sealpost.retention.v1.RetentionService/ListRuns",      OVERSIGHT),
    ("/sealpost.retention.v1.RetentionService/ListReceipts",  OVERSIGHT),
    ("/sealpost.retention.v1.RetentionService/ForgetSubject", OPERATOR),
    ("/sealpost.retention.v1.RetentionService/ForgetNumber",  OPERATOR),
];

/// Retention's table; every role has health and reflection.
pub static ACCESS: AccessTable = AccessTable::new(&[RETENTION_ROWS, USUAL_ROWS]);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::collections::BTreeMap;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    const SERVICE: &str = "RetentionService";

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
        assert_eq!(methods.len(), RETENTION_ROWS.len());
        for (path, who) in &methods {
            assert_eq!(
                RETENTION_ROWS.iter().filter(|(row, _)| row == path).count(),
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
            assert!(!ACCESS.allows("/sealpost.retention.v1.RetentionService/Unlisted", *role));
        }
    }
}
