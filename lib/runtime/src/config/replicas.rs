//! One service that this one calls, as one process or several alike.

use std::{fmt, net::SocketAddr, str::FromStr};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer},
};

use super::{HostPort, PeerConfig};
use crate::identity::Role;

/// The replicas of a service, each as good as another: a table for one, an array of tables for several. There is at least one,
/// and all have the same role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replicas(Vec<PeerConfig>);

impl Replicas {
    /// Each of them.
    #[must_use]
    pub fn all(&self) -> &[PeerConfig] {
        &self.0
    }

    /// The role that their certificates must name.
    #[must_use]
    pub fn role(&self) -> Role {
        self.0[0].role
    }

    fn checked(peers: Vec<PeerConfig>) -> Result<Self, &'static str> {
        let Some(first) = peers.first() else {
            return Err("expected at least one replica");
        };
        if peers.iter().any(|peer| peer.role != first.role) {
            return Err("replicas of one service have one role");
        }
        let mut addresses: Vec<_> = peers.iter().map(|peer| peer.address.to_string()).collect();
        addresses.sort_unstable();
        if addresses.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err("two replicas have the same address");
        }
        Ok(Self(peers))
    }
}

impl From<&PeerConfig> for Replicas {
    fn from(peer: &PeerConfig) -> Self {
        Self(vec![peer.clone()])
    }
}

impl From<&Self> for Replicas {
    fn from(replicas: &Self) -> Self {
        replicas.clone()
    }
}

impl<'de> Deserialize<'de> for Replicas {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(OneOrSeveral)
    }
}

/// Unlike an untagged enum it keeps what is wrong with the one that is there.
struct OneOrSeveral;

impl<'de> Visitor<'de> for OneOrSeveral {
    type Value = Replicas;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table, or an array of tables, with address and role")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Replicas, A::Error> {
        let peer = PeerConfig::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Replicas(vec![peer]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Replicas, A::Error> {
        let mut peers = Vec::new();
        while let Some(peer) = seq.next_element()? {
            peers.push(peer);
        }
        Replicas::checked(peers).map_err(A::Error::custom)
    }
}

/// The public face of one process or of several alike: `host:port`, or such separated by commas.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(try_from = "String")]
pub struct HostPorts(Vec<HostPort>);

impl HostPorts {
    /// Each of them; there is at least one.
    #[must_use]
    pub fn all(&self) -> &[HostPort] {
        &self.0
    }
}

impl From<HostPort> for HostPorts {
    fn from(address: HostPort) -> Self {
        Self(vec![address])
    }
}

impl From<SocketAddr> for HostPorts {
    fn from(address: SocketAddr) -> Self {
        HostPort::from(address).into()
    }
}

impl FromStr for HostPorts {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let addresses: Result<Vec<HostPort>, _> = text
            .split(',')
            .map(|address| address.trim().parse())
            .collect();
        addresses.map(Self)
    }
}

impl TryFrom<String> for HostPorts {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Settings {
        store: Replicas,
    }

    fn read(text: &str) -> Result<Replicas, String> {
        toml::from_str::<Settings>(text)
            .map(|settings| settings.store)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn a_table_is_one_replica_and_an_array_of_tables_several() {
        let one = read("store = { address = 'a:1', role = 'store' }").unwrap();
        assert_eq!((one.all().len(), one.role()), (1, Role::Store));
        let two = read("[[store]]\naddress = 'a:1'\nrole = 'store'\n[[store]]\naddress = 'b:1'\nrole = 'store'\nname = 'b'")
            .unwrap();
        assert_eq!(two.all()[1].name.as_deref(), Some("b"));
    }

    #[test]
    fn a_public_face_is_one_address_or_several_with_commas() {
        let one: HostPorts = "gateway.example.com:7443".parse().unwrap();
        assert_eq!(one.all().len(), 1);
        let two: HostPorts = "a:1, b:2".parse().unwrap();
        assert_eq!(two.all()[1].to_string(), "b:2");
        for bad in ["", "a:1,", "a"] {
            assert!(bad.parse::<HostPorts>().is_err(), "{bad}");
        }
    }

    #[test]
    fn none_at_all_two_roles_one_address_twice_and_unknown_keys_are_refused() {
        let vault = "{ address = 'a:1', role = 'vault' }";
        let store = "{ address = 'b:1', role = 'store' }";
        for (list, says) in [
            (String::new(), "at least one"),
            (format!("{vault}, {store}"), "one role"),
            (format!("{store}, {store}"), "same address"),
            (
                "{ address = 'b:1', role = 'store', nam = 'x' }".to_owned(),
                "nam",
            ),
        ] {
            let error = read(&format!("store = [{list}]")).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert!(
            read("store = { address = 'b:1', role = 'store', nam = 'x' }")
                .unwrap_err()
                .contains("nam")
        );
        assert!(
            read("store = 'b:1'")
                .unwrap_err()
                .contains("array of tables")
        );
    }
}
