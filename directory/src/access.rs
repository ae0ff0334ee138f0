//! Which role may call what of the directory.

use sealpost_runtime::{
    Role::{Auditor, Gateway, Operator, Retention},
    server::{AccessRow, AccessTable, USUAL_ROWS},
};

const ROWS: &[AccessRow] = &[
    (CREATE_BUSINESS, &[Operator]),
    (LIST_BUSINESSES, &[Operator, Auditor]),
    (CREATE_NUMBER, &[Operator]),
    (GET_NUMBER, &[Operator, Gateway, Auditor]),
    (LIST_NUMBERS, &[Operator, Gateway, Auditor]),
    (SET_BUSINESS_KEYS, &[Operator]),
    (ISSUE_TOKEN, &[Operator]),
    (REVOKE_TOKEN, &[Operator]),
    (DELETE_NUMBER, &[Operator]),
    (DELETE_BUSINESS, &[Operator]),
    (AUTHENTICATE_TOKEN, &[Gateway]),
    (MOVE_NUMBER, &[Operator]),
    (LIST_NUMBER_MOVES, &[Operator, Auditor, Retention]),
    (ADVANCE_NUMBER_MOVE, &[Retention]),
];

const CREATE_BUSINESS: &str = "/sealpost.directory.v1.DirectoryService/CreateBusiness";
const LIST_BUSINESSES: &str = "/sealpost.directory.v1.DirectoryService/ListBusinesses";
const CREATE_NUMBER: &str = "/sealpost.directory.v1.DirectoryService/CreateNumber";
const GET_NUMBER: &str = "/sealpost.directory.v1.DirectoryService/GetNumber";
const LIST_NUMBERS: &str = "/sealpost.directory.v1.DirectoryService/ListNumbers";
const SET_BUSINESS_KEYS: &str = "/sealpost.directory.v1.DirectoryService/SetBusinessKeys";
const ISSUE_TOKEN: &str = "/sealpost.directory.v1.DirectoryService/IssueToken";
const REVOKE_TOKEN: &str = "/sealpost.directory.v1.DirectoryService/RevokeToken";
const DELETE_NUMBER: &str = "/sealpost.directory.v1.DirectoryService/DeleteNumber";
const DELETE_BUSINESS: &str = "/sealpost.directory.v1.DirectoryService/DeleteBusiness";
const AUTHENTICATE_TOKEN: &str = "/sealpost.directory.v1.DirectoryService/AuthenticateToken";
const MOVE_NUMBER: &str = "/sealpost.directory.v1.DirectoryService/MoveNumber";
const LIST_NUMBER_MOVES: &str = "/sealpost.directory.v1.DirectoryService/ListNumberMoves";
const ADVANCE_NUMBER_MOVE: &str = "/sealpost.directory.v1.DirectoryService/AdvanceNumberMove";

/// The directory's table.
pub static ACCESS: AccessTable = AccessTable::new(&[ROWS, USUAL_ROWS]);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use prost::Message;
    use prost_types::{FileDescriptorSet, MethodDescriptorProto};
    use sealpost_proto::FILE_DESCRIPTOR_SET;
    use sealpost_runtime::Role;

    use super::*;

    /// Path of every method of the directory's contract.
    fn methods() -> Vec<String> {
        let path = |method: &MethodDescriptorProto| {
            format!("/sealpost.directory.v1.DirectoryService/{}", method.name())
        };
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let files = set
            .file
            .iter()
            .filter(|file| file.package() == "sealpost.directory.v1");
        files
            .flat_map(|file| &file.service)
            .flat_map(|service| &service.method)
            .map(path)
            .collect()
    }

    /// Walks every method of the descriptors by every role; the expectation is spelled here a second time, as a set of
    /// names per role, so that a slip in the table shows.
    #[test]
    fn every_role_reaches_its_own_methods_and_no_other() {
        let expected = |role: Role| -> &[&str] {
            match role {
                Operator => &[
                    "CreateBusiness",
                    "ListBusinesses",
                    "CreateNumber",
                    "GetNumber",
                    "ListNumbers",
                    "SetBusinessKeys",
                    "IssueToken",
                    "RevokeToken",
                    "MoveNumber",
                    "ListNumberMoves",
                    "DeleteNumber",
                    "DeleteBusiness",
                ],
                Gateway => &["GetNumber", "ListNumbers", "AuthenticateToken"],
                Auditor => &[
                    "ListBusinesses",
                    "GetNumber",
                    "ListNumbers",
                    "ListNumberMoves",
                ],
                Retention => &["ListNumberMoves", "AdvanceNumberMove"],
                _ => &[],
            }
        };
        let methods = methods();
        assert_eq!(methods.len(), 14);
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
    }
}
