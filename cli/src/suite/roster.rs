//! Which processes a suite is made of.

use super::instance::{Group, Instance, Region};
use super::service::Service;

/// The region of every number of a suite without regions.
const ONE_REGION: &str = "local";

/// How many of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roster {
    /// A store for each of them; one store for all when there are none.
    pub regions: Vec<Region>,
    /// Processes of each service.
    pub replicas: u32,
}

impl Roster {
    /// Groups of instances that share a database, in the order in which they start.
    pub fn groups(&self) -> Vec<Group> {
        Service::ALL
            .into_iter()
            .flat_map(|service| self.groups_of(service))
            .collect()
    }

    /// A service's groups: one, or one for each region.
    pub fn groups_of(&self, service: Service) -> Vec<Group> {
        if service != Service::Store || self.regions.is_empty() {
            return vec![Group::from(service)];
        }
        let of_region = |region: &Region| Group {
            service,
            region: Some(region.clone()),
        };
        self.regions.iter().map(of_region).collect()
    }

    /// A group's instances.
    pub fn instances_of(&self, group: &Group) -> Vec<Instance> {
        let count = if group.service.has_replicas() {
            self.replicas
        } else {
            1
        };
        (1..=count).map(|ordinal| group.instance(ordinal)).collect()
    }

    /// Every instance of these services.
    pub fn instances_of_all(&self, services: &[Service]) -> Vec<Instance> {
        let groups = services.iter().flat_map(|service| self.groups_of(*service));
        groups.flat_map(|group| self.instances_of(&group)).collect()
    }

    /// Every instance, in the order in which they start.
    pub fn instances(&self) -> Vec<Instance> {
        self.instances_of_all(&Service::ALL)
    }

    /// Where the records of the number at `index` are kept: the regions take turns.
    pub fn region_of_number(&self, index: usize) -> &str {
        match self.regions.len() {
            0 => ONE_REGION,
            count => self.regions[index % count].as_str(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn roster(regions: &[&str], replicas: u32) -> Roster {
        Roster {
            regions: regions.iter().map(|name| name.parse().unwrap()).collect(),
            replicas,
        }
    }

    fn names(roster: &Roster) -> Vec<String> {
        roster.instances().iter().map(Instance::name).collect()
    }

    #[test]
    fn a_suite_without_regions_and_replicas_has_one_process_of_each_service() {
        assert_eq!(
            names(&roster(&[], 1)),
            Service::ALL.map(|service| service.name().to_owned())
        );
    }

    #[test]
    fn a_region_has_a_store_of_its_own_and_replicas_are_of_every_service_but_the_connector() {
        assert_eq!(
            names(&roster(&["eu", "na"], 2)),
            [
                "directory",
                "directory-2",
                "key-vault",
                "key-vault-2",
                "store-eu",
                "store-eu-2",
                "store-na",
                "store-na-2",
                "relay",
                "relay-2",
                "retention",
                "retention-2",
                "gateway",
                "gateway-2",
                "connector",
            ]
        );
    }

    #[test]
    fn numbers_are_spread_over_the_regions() {
        let of = |roster: &Roster| {
            (0..3)
                .map(|index| roster.region_of_number(index).to_owned())
                .collect::<Vec<_>>()
        };
        assert_eq!(of(&roster(&["eu", "na"], 1)), ["eu", "na", "eu"]);
        assert_eq!(of(&roster(&[], 1)), ["local"; 3]);
    }
}
