//! Who may reach what, through any number of crates.

use super::metadata::Graph;

/// The only crates that may reach libsignal.
const LIBSIGNAL: &[&str] = &[
    "sealpost",
    "sealpost-consumer",
    "sealpost-key-vault",
    "sealpost-tests",
];
/// The only crates that may reach the sealed-content library.
const ENVELOPE: &[&str] = &[
    "sealpost",
    "sealpost-connector",
    "sealpost-connector-sdk",
    "sealpost-envelope",
    "sealpost-key-vault",
    "sealpost-tests",
];
/// Crates that keep no database.
const WITHOUT_DATABASE: &[&str] = &[
    "sealpost-gateway",
    "sealpost-connector-sdk",
    "sealpost-envelope",
    "sealpost-consumer",
];
/// The services: they meet in `proto/` alone.
const SERVICES: &[&str] = &[
    "sealpost-connector",
    "sealpost-directory",
    "sealpost-gateway",
    "sealpost-key-vault",
    "sealpost-relay",
    "sealpost-retention",
    "sealpost-store",
];

#[test]
fn only_the_vault_the_consumer_the_cli_and_the_tests_reach_libsignal() {
    let graph = Graph::load();
    assert!(
        graph
            .reach("sealpost-key-vault")
            .contains("libsignal-protocol-syft")
    );
    for member in graph.members() {
        for forbidden in [
            "libsignal-protocol-syft",
            "libsignal-core-syft",
            "signal-crypto-syft",
            "spqr-syft",
            "libsignal-protocol",
        ] {
            assert!(
                LIBSIGNAL.contains(&member) || !graph.reach(member).contains(forbidden),
                "{member} reaches {forbidden}"
            );
        }
    }
}

#[test]
fn only_the_two_ends_of_sealed_content_reach_the_envelope() {
    let graph = Graph::load();
    for member in graph.members() {
        assert!(
            ENVELOPE.contains(&member) || !graph.reach(member).contains("sealpost-envelope"),
            "{member} reaches the envelope"
        );
    }
}

#[test]
fn sql_is_reached_through_the_database_crate_alone() {
    let graph = Graph::load();
    let speaks_sql = |name: &str| name.starts_with("sqlx") || name == "rusqlite";
    for member in graph.members() {
        let named = graph.named_by(member);
        let direct = named.iter().find(|name| speaks_sql(name));
        assert!(
            member == "sealpost-database" || direct.is_none(),
            "{member} names {direct:?} itself"
        );
    }
    for member in WITHOUT_DATABASE {
        assert!(
            !graph.reach(member).iter().any(|name| speaks_sql(name)),
            "{member} reaches SQL"
        );
    }
}

#[test]
fn services_do_not_depend_on_each_other() {
    let graph = Graph::load();
    for service in SERVICES {
        for other in SERVICES.iter().filter(|other| other != &service) {
            assert!(
                !graph.reach(service).contains(other),
                "{service} reaches {other}"
            );
            assert!(
                !graph.named_by(service).contains(other),
                "{service}'s tests name {other}"
            );
        }
    }
    for room in [
        "sealpost",
        "sealpost-tests",
        "sealpost-consumer",
        "sealpost-connector-sdk",
    ] {
        for service in SERVICES {
            assert!(
                !graph.reach(room).contains(service),
                "{room} links {service}: it should start its binary"
            );
        }
    }
}

#[test]
fn shared_libraries_hold_no_domain() {
    let graph = Graph::load();
    for library in [
        "sealpost-runtime",
        "sealpost-database",
        "sealpost-envelope",
        "sealpost-failpoints",
    ] {
        assert!(
            !graph.reach(library).contains("sealpost-proto"),
            "{library} reaches the contracts"
        );
    }
    let own: Vec<_> = graph
        .reach("sealpost-proto")
        .into_iter()
        .filter(|name| name.starts_with("sealpost"))
        .collect();
    assert_eq!(own, ["sealpost-proto"]);
}

#[test]
fn no_manifest_arms_the_failpoints_or_shows_measurements_the_vaults_inside() {
    let (ordinary, all) = (Graph::load_ordinary(), Graph::load());
    for (package, feature) in [
        ("sealpost-failpoints", "armed"),
        ("sealpost-key-vault", "measured"),
    ] {
        assert!(ordinary.features(package).is_empty(), "{package}");
        assert!(all.features(package).contains(feature), "the control");
    }
}

#[test]
fn ring_is_the_only_tls_provider() {
    let graph = Graph::load();
    for package in graph.packages() {
        let forbidden = [
            "aws-lc-rs",
            "aws-lc-sys",
            "openssl",
            "openssl-sys",
            "native-tls",
        ]
        .contains(&package.name.as_str());
        let reached = || {
            graph
                .members()
                .into_iter()
                .any(|member| graph.reach(member).contains(package.name.as_str()))
        };
        assert!(!forbidden || !reached(), "{} is in the tree", package.name);
    }
}
