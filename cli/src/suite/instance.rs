//! The processes of a suite by name: `store`, `store-2`, `store-eu`, `store-eu-2`.
//!
//! Owns names and their order. Has no knowledge of where a process is or whether it runs. Invariant: a name stands for one
//! instance, and comes of it again.

use std::fmt;
use std::str::FromStr;

use super::service::Service;

/// Where records are kept, when a suite has several stores: `eu`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Region(String);

impl Region {
    /// Its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Region {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = text.starts_with(|first: char| first.is_ascii_lowercase())
            && text.len() <= 16
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no region: up to 16 of a-z and 0-9, a letter first"
            ))
        }
    }
}

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A service, or its deployment in one region: its instances share a database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Which service.
    pub service: Service,
    /// Which region's, when it has a deployment for each.
    pub region: Option<Region>,
}

impl Group {
    /// Its instance of that ordinal, counted from 1.
    pub fn instance(&self, ordinal: u32) -> Instance {
        Instance {
            group: self.clone(),
            ordinal,
        }
    }
}

impl From<Service> for Group {
    fn from(service: Service) -> Self {
        Self {
            service,
            region: None,
        }
    }
}

impl fmt::Display for Group {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.region {
            Some(region) => write!(f, "{}-{region}", self.service),
            None => self.service.fmt(f),
        }
    }
}

/// One process of a suite. They are ordered as they start: the ones that others call come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Instance {
    /// What it is one of.
    pub group: Group,
    /// Which one, counted from 1.
    pub ordinal: u32,
}

impl Instance {
    /// Which service it is.
    pub fn service(&self) -> Service {
        self.group.service
    }

    /// Its name in `run.json`, in its certificate and on the command line.
    pub fn name(&self) -> String {
        self.to_string()
    }
}

impl From<Service> for Instance {
    fn from(service: Service) -> Self {
        Group::from(service).instance(1)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ordinal {
            1 => self.group.fmt(f),
            ordinal => write!(f, "{}-{ordinal}", self.group),
        }
    }
}

impl FromStr for Instance {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = Service::ALL.into_iter().find_map(|service| {
            let rest = text.strip_prefix(service.name())?;
            parse_rest(service, rest)
        });
        parsed.ok_or_else(|| {
            let names: Vec<_> = Service::ALL.iter().map(|service| service.name()).collect();
            format!(
                "no process is named {text:?}; there are {}, and with replicas and regions store-2, store-eu, store-eu-2",
                names.join(", ")
            )
        })
    }
}

/// What follows the service's name: nothing, `-REGION`, `-ORDINAL`, or both.
fn parse_rest(service: Service, rest: &str) -> Option<Instance> {
    let mut instance = Instance::from(service);
    if rest.is_empty() {
        return Some(instance);
    }
    let mut words = rest.strip_prefix('-')?.split('-');
    let mut word = words.next();
    if let Some(region) = word.and_then(|word| word.parse().ok()) {
        instance.group.region = Some(region);
        word = words.next();
    }
    if let Some(ordinal) = word {
        instance.ordinal = ordinal.parse().ok().filter(|ordinal| *ordinal > 0)?;
    }
    // One that is written in another way is not that one's name.
    (words.next().is_none() && instance.name() == format!("{service}{rest}")).then_some(instance)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_is_read_back_as_the_instance_that_it_names() {
        let eu: Region = "eu".parse().unwrap();
        for service in Service::ALL {
            for region in [None, Some(eu.clone())] {
                for ordinal in [1, 2, 17] {
                    let group = Group {
                        service,
                        region: region.clone(),
                    };
                    let instance = group.instance(ordinal);
                    assert_eq!(instance.name().parse(), Ok(instance));
                }
            }
        }
        assert_eq!(
            Instance::from(Service::KeyVault).name(),
            Service::KeyVault.name()
        );
    }

    #[test]
    fn what_is_no_instance_is_refused() {
        for text in [
            "",
            "vault",
            "store-",
            "store-1",
            "store-0",
            "store-02",
            "store-EU",
            "store-2-eu",
            "store-eu-1",
            "store-eu-2-3",
            "stores",
        ] {
            assert!(text.parse::<Instance>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_region_begins_with_a_letter_so_that_no_ordinal_is_one() {
        assert!("eu2".parse::<Region>().is_ok());
        for text in ["", "2", "2eu", "EU", "e-u", "abcdefghijklmnopq"] {
            assert!(text.parse::<Region>().is_err(), "{text}");
        }
    }

    #[test]
    fn those_that_others_call_come_first() {
        let names = [
            "gateway",
            "store-na",
            "store-eu-2",
            "key-vault-2",
            "store-eu",
            "key-vault",
        ];
        let mut instances = names.map(|name| name.parse::<Instance>().unwrap());
        instances.sort();
        assert_eq!(
            instances.map(|instance| instance.name()),
            [
                "key-vault",
                "key-vault-2",
                "store-eu",
                "store-eu-2",
                "store-na",
                "gateway"
            ]
        );
    }
}
