//! The sections of configuration that services share.
//!
//! Every struct refuses unknown keys and values that contradict each other while it is read, so
//! `--check-config` finds them.

use std::{fmt, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use serde::Deserialize;

use crate::{args::LogFormat, identity::Role};

/// One listening gRPC face. `T` is how it speaks TLS: [`TlsConfig`] towards services, [`PublicTlsConfig`] towards
/// the public.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig<T = TlsConfig> {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Certificates.
    pub tls: T,
    /// After this many seconds a connection is asked to go, and cut `drain_seconds` later.
    #[serde(default = "an_hour")]
    pub max_connection_age_seconds: u64,
    /// How many seconds calls may take to end once the server stops.
    #[serde(default = "ten")]
    pub drain_seconds: u64,
    /// Connections served at one time; further ones wait unaccepted.
    #[serde(default = "four_thousand")]
    pub max_connections: usize,
}

/// A face towards the public: server TLS only.
pub type PublicServerConfig = ServerConfig<PublicTlsConfig>;

impl<T> ServerConfig<T> {
    /// [`Self::max_connection_age_seconds`].
    #[must_use]
    pub fn max_connection_age(&self) -> Duration {
        Duration::from_secs(self.max_connection_age_seconds)
    }

    /// [`Self::drain_seconds`].
    #[must_use]
    pub fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_seconds)
    }
}

/// The certificates of a service among services; PEM files, read anew when they change.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// This service's certificate chain, leaf first; its URI name is its SPIFFE identity.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub private_key: PathBuf,
    /// The authorities that sign peers.
    pub ca: PathBuf,
    /// Revocation lists, one for each authority that signs a certificate in a peer's chain.
    #[serde(default)]
    pub crl: Option<PathBuf>,
}

/// The certificate of a public face; PEM files, read anew when they change.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PublicTlsConfig {
    /// Certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The leaf's private key.
    pub private_key: PathBuf,
}

/// A service that this one calls.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Where it listens.
    pub address: HostPort,
    /// The role that its certificate must name.
    pub role: Role,
    /// The name that its certificate must carry; any, when absent.
    #[serde(default)]
    pub name: Option<String>,
}

/// Prometheus text over plain HTTP.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "RawMetrics")]
pub struct MetricsConfig {
    /// Address and port to listen on; loopback unless `allow_remote`.
    pub listen: SocketAddr,
    /// Lets `listen` be reachable from other machines.
    pub allow_remote: bool,
}

/// What is logged, and how.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Shape of a line.
    pub format: LogFormat,
    /// The least severe level that is written.
    pub level: LogLevel,
}

/// Severity of a log line.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are tracing's own")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

/// What time it is, for everything but TLS.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(try_from = "RawClock", default)]
pub struct ClockConfig {
    /// This deployment is for development: it may move its clock.
    pub development: bool,
    /// A file with the seconds to add to the time; only with `development`.
    pub clock_file: Option<PathBuf>,
}

/// A `host:port`; an IPv6 host stands in brackets.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(try_from = "String")]
pub struct HostPort {
    host: String,
    port: u16,
}

impl HostPort {
    /// The name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const SHAPE: &str = "expected host:port";
        let (host, port) = text.rsplit_once(':').ok_or(SHAPE)?;
        let port = port.parse().map_err(|_| SHAPE)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|inner| inner.strip_suffix(']'));
        let host = match bare {
            Some(inner) => inner,
            None if host.contains(':') => return Err("an IPv6 host stands in brackets"),
            None => host,
        };
        if host.is_empty() || host.contains(['/', '@', ' ', '[', ']']) {
            return Err(SHAPE);
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl TryFrom<String> for HostPort {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string(),
            port: address.port(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMetrics {
    listen: SocketAddr,
    #[serde(default)]
    allow_remote: bool,
}

impl TryFrom<RawMetrics> for MetricsConfig {
    type Error = &'static str;

    fn try_from(raw: RawMetrics) -> Result<Self, Self::Error> {
        if !raw.listen.ip().is_loopback() && !raw.allow_remote {
            return Err("metrics listen beyond loopback only with allow_remote = true");
        }
        Ok(Self {
            listen: raw.listen,
            allow_remote: raw.allow_remote,
        })
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawClock {
    development: bool,
    clock_file: Option<PathBuf>,
}

impl TryFrom<RawClock> for ClockConfig {
    type Error = &'static str;

    fn try_from(raw: RawClock) -> Result<Self, Self::Error> {
        if raw.clock_file.is_some() && !raw.development {
            return Err("clock_file needs development = true");
        }
        Ok(Self {
            development: raw.development,
            clock_file: raw.clock_file,
        })
    }
}

fn an_hour() -> u64 {
    3600
}

fn ten() -> u64 {
    10
}

fn four_thousand() -> usize {
    4096
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_clock_file_outside_development_is_refused() {
        assert!(toml::from_str::<ClockConfig>("clock_file = 'c'").is_err());
        let clock: ClockConfig = toml::from_str("clock_file = 'c'\ndevelopment = true").unwrap();
        assert_eq!(clock.clock_file, Some(PathBuf::from("c")));
        assert!(toml::from_str::<ClockConfig>("clok = 'c'").is_err());
    }

    #[test]
    fn metrics_leave_loopback_only_when_allowed() {
        assert!(toml::from_str::<MetricsConfig>("listen = '0.0.0.0:9'").is_err());
        assert!(toml::from_str::<MetricsConfig>("listen = '127.0.0.1:9'").is_ok());
        assert!(
            toml::from_str::<MetricsConfig>("listen = '0.0.0.0:9'\nallow_remote = true").is_ok()
        );
    }

    #[test]
    fn a_host_and_port_survives_its_own_display() {
        for text in ["vault.internal:7001", "127.0.0.1:1", "[::1]:65535"] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
        for text in ["vault", "vault:", ":1", "::1:1", "http://a:1", "a:70000"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_server_needs_its_address_and_certificates_and_refuses_what_it_does_not_know() {
        const GOOD: &str =
            "listen = '127.0.0.1:1'\n[tls]\ncertificate = 'c'\nprivate_key = 'k'\nca = 'a'\n";
        let server: ServerConfig = toml::from_str(GOOD).unwrap();
        assert_eq!(server.max_connection_age(), Duration::from_secs(3600));
        assert_eq!(server.tls.crl, None);
        assert!(toml::from_str::<ServerConfig>(&format!("{GOOD}crll = 'c'\n")).is_err());
        assert!(toml::from_str::<ServerConfig>(&format!("drain = 1\n{GOOD}")).is_err());
        // A public face has no authority to name.
        assert!(toml::from_str::<PublicServerConfig>(GOOD).is_err());
    }
}
