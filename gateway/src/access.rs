//! Who may call what on the face between services: health and reflection, for people who look after it. Businesses have a
//! face of their own.

use sealpost_runtime::{
    Role,
    server::{AccessRow, AccessTable},
};

const WATCHERS: &[Role] = &[Role::Operator, Role::Auditor];

const ROWS: &[AccessRow] = &[
    ("/grpc.health.v1.Health/Check", WATCHERS),
    ("/grpc.health.v1.Health/Watch", WATCHERS),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        WATCHERS,
    ),
];

/// What is not listed is refused.
pub static ACCESS: AccessTable = AccessTable::new(&[ROWS]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_role_may_call_the_businesses_service_here() {
        for role in Role::ALL {
            assert!(!ACCESS.allows("/sealpost.gateway.v1.GatewayService/Send", *role));
            let watches = matches!(role, Role::Operator | Role::Auditor);
            assert_eq!(
                ACCESS.allows("/grpc.health.v1.Health/Check", *role),
                watches
            );
        }
    }
}
