//! Which role may call which method: one readable constant per service, and nothing that it does not list.

use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response};
use tonic::{Code, Status, body::Body};
use tower::{Layer, Service};

use super::connection::{Connection, Peer, no_certificate};
use crate::{identity::Role, status::reason_status};

/// A method's full path (`/sealpost.vault.v1.KeyVaultService/Admit`) and the roles that may call it.
pub type AccessRow = (&'static str, &'static [Role]);

/// Health and reflection, for every role; a service that wants them lists them.
pub const USUAL_ROWS: &[AccessRow] = &[
    ("/grpc.health.v1.Health/Check", Role::ALL),
    ("/grpc.health.v1.Health/Watch", Role::ALL),
    (
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Role::ALL,
    ),
];

pub(super) static NOTHING: AccessTable = AccessTable::new(&[]);

/// Groups of rows; what stands in none is refused.
#[derive(Clone, Copy, Debug)]
pub struct AccessTable {
    groups: &'static [&'static [AccessRow]],
}

impl AccessTable {
    /// `AccessTable::new(&[OUR_ROWS, USUAL_ROWS])`.
    #[must_use]
    pub const fn new(groups: &'static [&'static [AccessRow]]) -> Self {
        Self { groups }
    }

    /// Every row.
    pub fn rows(&self) -> impl Iterator<Item = AccessRow> {
        self.groups.iter().copied().flatten().copied()
    }

    /// Whether `role` may call the method at `path`.
    #[must_use]
    pub fn allows(&self, path: &str, role: Role) -> bool {
        self.rows()
            .any(|(listed, roles)| listed == path && roles.contains(&role))
    }
}

/// Puts a table before the services.
#[derive(Clone, Copy)]
pub(super) struct AccessLayer {
    table: &'static AccessTable,
}

impl AccessLayer {
    pub(super) fn new(table: &'static AccessTable) -> Self {
        Self { table }
    }
}

impl<S> Layer<S> for AccessLayer {
    type Service = Access<S>;

    fn layer(&self, inner: S) -> Access<S> {
        Access {
            table: self.table,
            inner,
        }
    }
}

#[derive(Clone)]
pub(super) struct Access<S> {
    table: &'static AccessTable,
    inner: S,
}

impl<S> Access<S> {
    fn check(&self, request: &Request<Body>) -> Result<(), Status> {
        let Some(Connection {
            peer: Peer::Known(peer),
            ..
        }) = request.extensions().get::<Connection>()
        else {
            return Err(no_certificate());
        };
        if self.table.allows(request.uri().path(), peer.role) {
            return Ok(());
        }
        let role = peer.role.as_str();
        tracing::warn!(role, reason = "ROLE_NOT_ALLOWED", "call refused");
        Err(reason_status(
            Code::PermissionDenied,
            "ROLE_NOT_ALLOWED",
            "this role may not call this method",
        ))
    }
}

impl<S> Service<Request<Body>> for Access<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match self.check(&request) {
            Ok(()) => Either::Right(self.inner.call(request)),
            Err(status) => Either::Left(ready(Ok(status.into_http()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_row_lists_is_refused() {
        static TABLE: AccessTable = AccessTable::new(&[&[("/a.A/One", &[Role::Gateway])]]);
        assert!(TABLE.allows("/a.A/One", Role::Gateway));
        for role in Role::ALL {
            assert_eq!(TABLE.allows("/a.A/One", *role), *role == Role::Gateway);
            for path in [
                "/a.A/Two",
                "/a.A/One/",
                "a.A/One",
                "",
                "/grpc.health.v1.Health/Check",
            ] {
                assert!(!TABLE.allows(path, *role), "{path} {role}");
            }
        }
    }
}
