//! Who gets through, over real TLS on loopback.

#![allow(clippy::unwrap_used)]

mod replicas;

use std::{fs, net::SocketAddr, time::Duration};

use rcgen::ExtendedKeyUsagePurpose;
use tempfile::TempDir;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{AccessRow, AccessTable, Listener, Server, ServerError, Services, USUAL_ROWS};
use crate::{
    config::{PeerConfig, PublicServerConfig, PublicTlsConfig, ServerConfig, TlsConfig},
    identity::Role,
    status::reason_of,
    testing::{Authority, BOTH},
    tls::{PublicTls, ServiceTls, connect, connect_public},
};

const VAULT: &str = "spiffe://a.test/vault";
const GATEWAY: &str = "spiffe://a.test/gateway/one";

static EVERYBODY: AccessTable = AccessTable::new(&[USUAL_ROWS]);
static OPERATORS: AccessTable = AccessTable::new(&[&[CHECK_BY_OPERATOR]]);
const CHECK_BY_OPERATOR: AccessRow = ("/grpc.health.v1.Health/Check", &[Role::Operator]);

struct Vault {
    address: SocketAddr,
    tls: ServiceTls,
    config: TlsConfig,
    stop: CancellationToken,
    served: JoinHandle<Result<(), ServerError>>,
    _folder: TempDir,
}

impl Vault {
    async fn start(authority: &Authority, table: &'static AccessTable) -> Self {
        Self::with_age(authority, table, 3600).await
    }

    async fn with_age(authority: &Authority, table: &'static AccessTable, age: u64) -> Self {
        let (folder, config) = authority.service(VAULT, 100);
        let tls = ServiceTls::load(&config).unwrap();
        let server = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            tls: config.clone(),
            max_connection_age_seconds: age,
            drain_seconds: 1,
            max_connections: 16,
        };
        let listener = Listener::bind(server.listen).await.unwrap();
        let address = listener.local_addr();
        let services = Services::new(&[]).unwrap();
        let stop = CancellationToken::new();
        let face = Server::mutual(listener, services, &server, tls.clone(), table);
        Self {
            address,
            tls,
            config,
            served: tokio::spawn(face.serve(stop.clone())),
            stop,
            _folder: folder,
        }
    }

    fn peer(&self, role: Role) -> PeerConfig {
        PeerConfig {
            address: self.address.into(),
            role,
            name: None,
        }
    }

    /// Calls with the certificate in `caller`.
    async fn check_as(&self, caller: &TlsConfig) -> Result<(), Status> {
        let tls = ServiceTls::load(caller).unwrap();
        check(connect(&self.peer(Role::Vault), &tls).unwrap()).await
    }
}

async fn check(channel: tonic::transport::Channel) -> Result<(), Status> {
    HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .map(|response| assert_eq!(response.into_inner().status, 1))
}

/// A handshake that failed shows as a connection that cannot be had.
fn assert_unreachable(result: &Result<(), Status>) {
    let code = result.as_ref().unwrap_err().code();
    assert!(
        matches!(code, Code::Unavailable | Code::Unknown),
        "{result:?}"
    );
}

#[tokio::test]
async fn a_listed_role_is_served() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    vault.check_as(&gateway).await.unwrap();
}

#[tokio::test]
async fn an_unlisted_role_or_method_is_refused_before_the_service() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &OPERATORS).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let (_folder, operator) = authority.service("spiffe://a.test/operator", 2);
    let status = vault.check_as(&gateway).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(reason_of(&status).as_deref(), Some("ROLE_NOT_ALLOWED"));
    vault.check_as(&operator).await.unwrap();

    // The operator's row is for Check alone.
    let tls = ServiceTls::load(&operator).unwrap();
    let status = HealthClient::new(connect(&vault.peer(Role::Vault), &tls).unwrap())
        .watch(HealthCheckRequest::default())
        .await
        .unwrap_err();
    assert_eq!(reason_of(&status).as_deref(), Some("ROLE_NOT_ALLOWED"));
}

#[tokio::test]
async fn a_caller_without_a_certificate_is_refused() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let address = format!("localhost:{}", vault.address.port())
        .parse()
        .unwrap();
    let channel = connect_public(&address, &vault.config.ca).unwrap();
    assert_unreachable(&check(channel).await);
}

#[tokio::test]
async fn a_caller_of_another_authority_is_refused() {
    let (ours, theirs) = (Authority::new("a"), Authority::new("a"));
    let vault = Vault::start(&ours, &EVERYBODY).await;
    let (_folder, gateway) = theirs.service(GATEWAY, 1);
    // It trusts our server, so that only its own certificate is at fault.
    ours.write_certificate(&gateway.ca);
    let crl = gateway.crl.as_ref().unwrap();
    fs::copy(vault.config.crl.as_ref().unwrap(), crl).unwrap();
    assert_unreachable(&vault.check_as(&gateway).await);
}

#[tokio::test]
async fn a_server_of_another_trust_domain_is_refused() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, stranger) = authority.service("spiffe://b.test/gateway", 1);
    assert_unreachable(&vault.check_as(&stranger).await);
}

#[tokio::test]
async fn a_caller_of_another_trust_domain_or_of_no_role_is_refused() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    for (uri, welcome) in [
        (GATEWAY, true),
        ("spiffe://b.test/gateway", false),
        ("spiffe://a.test/nobody", false),
        ("https://a.test/gateway", false),
    ] {
        let (_folder, caller) = authority.service(uri, 1);
        let first = authority.first_bytes(vault.address, &caller).await;
        assert_eq!(first.is_ok_and(|count| count > 0), welcome, "{uri}");
    }
}

#[tokio::test]
async fn a_server_of_another_role_or_name_is_refused() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let tls = ServiceTls::load(&gateway).unwrap();
    assert_unreachable(&check(connect(&vault.peer(Role::Store), &tls).unwrap()).await);
    let mut named = vault.peer(Role::Vault);
    named.name = Some("two".to_owned());
    assert_unreachable(&check(connect(&named, &tls).unwrap()).await);
}

#[tokio::test]
async fn certificates_serve_only_the_usage_they_are_for() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let server_only = [ExtendedKeyUsagePurpose::ServerAuth];
    authority.write_leaf(&gateway, GATEWAY, 1, &server_only);
    assert_unreachable(&vault.check_as(&gateway).await);

    let client_only = [ExtendedKeyUsagePurpose::ClientAuth];
    authority.write_leaf(&gateway, GATEWAY, 1, BOTH);
    vault.check_as(&gateway).await.unwrap();
    authority.write_leaf(&vault.config, VAULT, 100, &client_only);
    vault.tls.reload().unwrap();
    assert_unreachable(&vault.check_as(&gateway).await);
}

#[tokio::test]
async fn a_revoked_caller_is_refused_on_its_live_connection_and_then_at_the_door() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 7);
    let tls = ServiceTls::load(&gateway).unwrap();
    let channel = connect(&vault.peer(Role::Vault), &tls).unwrap();
    check(channel.clone()).await.unwrap();

    authority.write_list(&vault.config, &[7], 3600);
    vault.tls.reload().unwrap();
    let status = check(channel.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(reason_of(&status).as_deref(), Some("CERTIFICATE_REVOKED"));
    assert_unreachable(&vault.check_as(&gateway).await);

    let (_folder, other) = authority.service(GATEWAY, 8);
    vault.check_as(&other).await.unwrap();
}

#[tokio::test]
async fn a_revoked_callers_open_stream_is_cut() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 7);
    let tls = ServiceTls::load(&gateway).unwrap();
    let mut health = HealthClient::new(connect(&vault.peer(Role::Vault), &tls).unwrap());
    let request = HealthCheckRequest::default();
    let mut watch = health.watch(request).await.unwrap().into_inner();
    watch.message().await.unwrap().unwrap();

    authority.write_list(&vault.config, &[7], 3600);
    vault.tls.reload().unwrap();
    let end = timeout(Duration::from_secs(5), watch.message())
        .await
        .unwrap();
    assert!(end.is_err(), "{end:?}");
}

#[tokio::test]
async fn a_revoked_server_is_refused_by_its_callers() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 7);
    authority.write_list(&gateway, &[100], 3600);
    assert_unreachable(&vault.check_as(&gateway).await);
}

#[tokio::test]
async fn a_list_past_its_time_refuses_everybody() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 7);
    let tls = ServiceTls::load(&gateway).unwrap();
    let channel = connect(&vault.peer(Role::Vault), &tls).unwrap();
    check(channel.clone()).await.unwrap();

    authority.write_list(&vault.config, &[], -60);
    vault.tls.reload().unwrap();
    let status = check(channel).await.unwrap_err();
    let reason = reason_of(&status);
    assert_eq!(reason.as_deref(), Some("REVOCATION_LIST_OUT_OF_DATE"));
    assert_unreachable(&vault.check_as(&gateway).await);

    // The caller's own list counts for the server's certificate.
    authority.write_list(&vault.config, &[], 3600);
    vault.tls.reload().unwrap();
    vault.check_as(&gateway).await.unwrap();
    authority.write_list(&gateway, &[], -60);
    assert_unreachable(&vault.check_as(&gateway).await);
}

#[tokio::test]
async fn changed_files_are_taken_up_without_a_restart_and_bad_ones_are_not() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    authority.write_leaf(&vault.config, VAULT, 200, BOTH);
    let until = Instant::now() + Duration::from_secs(8);
    while vault.tls.identity().serial != [200] && vault.tls.identity().serial != [0, 200] {
        assert!(Instant::now() < until, "not reloaded");
        sleep(Duration::from_millis(100)).await;
    }
    vault.check_as(&gateway).await.unwrap();

    let before = vault.tls.identity();
    fs::write(&vault.config.certificate, "nonsense").unwrap();
    assert!(vault.tls.reload().is_err());
    sleep(Duration::from_secs(3)).await;
    assert_eq!(vault.tls.identity(), before);
    vault.check_as(&gateway).await.unwrap();
}

#[tokio::test]
async fn a_connection_past_its_age_is_cut_and_its_caller_connects_anew() {
    let authority = Authority::new("a");
    let vault = Vault::with_age(&authority, &EVERYBODY, 1).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let tls = ServiceTls::load(&gateway).unwrap();
    let channel = connect(&vault.peer(Role::Vault), &tls).unwrap();
    let request = HealthCheckRequest::default();
    let mut watch = HealthClient::new(channel.clone())
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    watch.message().await.unwrap().unwrap();
    let end = timeout(Duration::from_secs(6), watch.message())
        .await
        .unwrap();
    assert!(end.is_err(), "{end:?}");
    check(channel).await.unwrap();
}

#[tokio::test]
async fn a_stopped_server_says_so_drains_and_ends() {
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    let tls = ServiceTls::load(&gateway).unwrap();
    let mut health = HealthClient::new(connect(&vault.peer(Role::Vault), &tls).unwrap());
    let request = HealthCheckRequest::default();
    let mut watch = health.watch(request).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);

    vault.stop.cancel();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2);
    let served = timeout(Duration::from_secs(5), vault.served).await;
    served.unwrap().unwrap().unwrap();
    assert!(watch.message().await.is_err());
}

#[tokio::test]
async fn a_public_face_is_open_to_anonymous_callers_who_verify_its_name() {
    let authority = Authority::new("a");
    let (_folder, files) = authority.service("spiffe://a.test/relay", 1);
    let config = PublicServerConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: PublicTlsConfig {
            certificate: files.certificate.clone(),
            private_key: files.private_key.clone(),
        },
        max_connection_age_seconds: 3600,
        drain_seconds: 1,
        max_connections: 16,
    };
    let listener = Listener::bind(config.listen).await.unwrap();
    let port = listener.local_addr().port();
    let tls = PublicTls::load(&config.tls).unwrap();
    let services = Services::new(&[]).unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(Server::public(listener, services, &config, tls).serve(stop.clone()));

    let named = format!("localhost:{port}").parse().unwrap();
    check(connect_public(&named, &files.ca).unwrap())
        .await
        .unwrap();
    // The certificate names no address, only `localhost`.
    let unnamed = format!("127.0.0.1:{port}").parse().unwrap();
    assert_unreachable(&check(connect_public(&unnamed, &files.ca).unwrap()).await);
    stop.cancel();
}

#[tokio::test]
async fn calls_are_counted_by_declared_method_and_code_only() {
    let metrics = super::record_metrics().unwrap();
    let authority = Authority::new("a");
    let vault = Vault::start(&authority, &EVERYBODY).await;
    let (_folder, gateway) = authority.service(GATEWAY, 1);
    vault.check_as(&gateway).await.unwrap();

    let tls = ServiceTls::load(&gateway).unwrap();
    let mut client = tonic::client::Grpc::new(connect(&vault.peer(Role::Vault), &tls).unwrap());
    client.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/made.Up/Name");
    let codec = tonic_prost::ProstCodec::<HealthCheckRequest, HealthCheckRequest>::default();
    let request = tonic::Request::new(HealthCheckRequest::default());
    client.unary(request, path, codec).await.unwrap_err();

    let text = metrics.render();
    let check = r#"sealpost_rpc_total{method="grpc.health.v1.Health/Check",code="OK"}"#;
    assert!(text.contains(check), "{text}");
    let other = r#"sealpost_rpc_total{method="other",code="PERMISSION_DENIED"}"#;
    assert!(text.contains(other), "{text}");
    assert!(!text.contains("made.Up"), "{text}");
}
