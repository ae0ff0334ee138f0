//! `databases.json`: what a suite has on a PostgreSQL server, with the passwords of its roles.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use sealpost_database::{DatabaseUrl, Role, Tenancy};
use serde::{Deserialize, Serialize};

use crate::files::{self, Readers};
use crate::suite::instance::{Group, Instance};
use crate::suite::roster::Roster;

/// What a suite has on a server.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The server's URL, without role and password.
    server: String,
    /// What tells this suite's databases from others' on one server, 16 hex digits.
    suite: String,
    /// Whether everything was removed again: the folder then has no use any more.
    removed: bool,
    /// Passwords, by the group's name.
    groups: BTreeMap<String, Passwords>,
}

#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Passwords {
    owner: String,
    user: String,
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passwords(redacted)")
    }
}

impl Record {
    /// Reads it; nothing, when the folder has none.
    pub fn load(path: &Path) -> anyhow::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let record = serde_json::from_slice(&std::fs::read(path)?);
        record
            .map(Some)
            .with_context(|| format!("{} is damaged", path.display()))
    }

    /// Nothing yet, on that server.
    pub fn start(url: &DatabaseUrl) -> anyhow::Result<Self> {
        Ok(Self {
            server: server_of(url)?,
            suite: random(8)?,
            removed: false,
            groups: BTreeMap::new(),
        })
    }

    /// Writes it durably.
    pub fn save(&self, path: &Path) -> anyhow::Result<()> {
        files::write(path, &serde_json::to_vec_pretty(self)?, Readers::Owner)
            .with_context(|| path.display().to_string())
    }

    /// The same on a server that has another address now.
    pub fn moved_to(mut self, url: &DatabaseUrl) -> anyhow::Result<Self> {
        self.check()?;
        self.server = server_of(url)?;
        Ok(self)
    }

    /// That there is still something.
    fn check(&self) -> anyhow::Result<()> {
        ensure!(
            !self.removed,
            "the databases of this folder's suite were removed (`sealpost down`): use another --dir"
        );
        Ok(())
    }

    /// Adds what the roster needs.
    pub fn plan(&mut self, roster: &Roster) -> anyhow::Result<()> {
        for group in self.lacks(roster) {
            let passwords = Passwords {
                owner: random(24)?,
                user: random(24)?,
            };
            self.groups.insert(group.to_string(), passwords);
        }
        Ok(())
    }

    /// Groups of the roster that have no database.
    pub fn lacks(&self, roster: &Roster) -> Vec<Group> {
        let mut groups = roster.groups();
        groups.retain(|group| {
            group.service.has_database() && !self.groups.contains_key(&group.to_string())
        });
        groups
    }

    /// Every group that has a database.
    pub fn groups(&self) -> Vec<Group> {
        let names = self.groups.keys();
        names
            .filter_map(|name| name.parse::<Instance>().ok())
            .map(|instance| instance.group)
            .collect()
    }

    /// A group's database and roles.
    pub fn tenancy(&self, group: &Group) -> anyhow::Result<Tenancy> {
        self.check()?;
        let name = group.to_string();
        let Some(passwords) = self.groups.get(&name) else {
            bail!("{group} has no database");
        };
        let stem = format!("sealpost_{}_{}", self.suite, name.replace('-', "_"));
        Ok(Tenancy {
            owner: Role {
                name: format!("{stem}_owner"),
                password: passwords.owner.clone(),
            },
            user: Role {
                name: stem.clone(),
                password: passwords.user.clone(),
            },
            database: stem,
        })
    }

    /// For the group's configuration, with the password.
    pub fn user_url(&self, group: &Group) -> anyhow::Result<String> {
        let tenancy = self.tenancy(group)?;
        let user = &tenancy.user;
        self.url(&user.name, Some(&user.password), &tenancy.database)
    }

    /// For `migrate`, without the password.
    pub fn owner_url(&self, group: &Group) -> anyhow::Result<String> {
        let tenancy = self.tenancy(group)?;
        self.url(&tenancy.owner.name, None, &tenancy.database)
    }

    fn url(&self, role: &str, password: Option<&str>, database: &str) -> anyhow::Result<String> {
        let server: DatabaseUrl = self.server.parse()?;
        server
            .for_role(role, password, database)
            .context("databases.json names no server")
    }

    /// What is left when everything was removed.
    pub fn emptied(self) -> Self {
        Self {
            removed: true,
            groups: BTreeMap::new(),
            ..self
        }
    }
}

fn server_of(url: &DatabaseUrl) -> anyhow::Result<String> {
    url.for_role("nobody", None, "postgres")
        .context("--database names no server")
}

fn random(bytes: usize) -> anyhow::Result<String> {
    let mut random = vec![0; bytes];
    getrandom::fill(&mut random)?;
    Ok(hex::encode(random))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::suite::service::Service;

    fn url() -> DatabaseUrl {
        "postgres://admin:hunter2@localhost:5433/postgres"
            .parse()
            .unwrap()
    }

    fn roster(regions: &[&str]) -> Roster {
        Roster {
            regions: regions.iter().map(|name| name.parse().unwrap()).collect(),
            replicas: 2,
        }
    }

    #[test]
    fn replicas_share_a_database_and_regions_do_not() {
        let mut record = Record::start(&url()).unwrap();
        record.plan(&roster(&["eu", "na"])).unwrap();
        let names: Vec<_> = record.groups().iter().map(ToString::to_string).collect();
        assert_eq!(
            names,
            [
                "connector",
                "directory",
                "key-vault",
                "relay",
                "retention",
                "store-eu",
                "store-na"
            ]
        );
        let vault = record.tenancy(&Service::KeyVault.into()).unwrap();
        assert!(vault.database.ends_with("_key_vault"), "{}", vault.database);
        assert_eq!(vault.user.name, vault.database);
        assert_ne!(vault.user.password, vault.owner.password);
        assert!(vault.owner.name.len() < 64);
    }

    #[test]
    fn two_folders_share_no_name_and_one_keeps_its_own() {
        let mut records = [
            Record::start(&url()).unwrap(),
            Record::start(&url()).unwrap(),
        ];
        for record in &mut records {
            record.plan(&roster(&[])).unwrap();
        }
        let store = Service::Store.into();
        let [one, other] = &records;
        assert_ne!(
            one.tenancy(&store).unwrap().database,
            other.tenancy(&store).unwrap().database
        );

        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("databases.json");
        one.save(&file).unwrap();
        let mut again = Record::load(&file).unwrap().unwrap();
        assert_eq!(&again, one);
        again.plan(&roster(&["eu"])).unwrap();
        assert_eq!(
            again.user_url(&store).unwrap(),
            one.user_url(&store).unwrap()
        );
        assert!(again.lacks(&roster(&["eu", "na"])).len() == 1);
    }

    #[test]
    fn the_administrators_password_is_kept_nowhere_and_no_other_in_the_owners_url() {
        let mut record = Record::start(&url()).unwrap();
        record.plan(&roster(&[])).unwrap();
        let written = serde_json::to_string(&record).unwrap();
        assert!(!written.contains("hunter2") && !written.contains("admin"));
        let vault = Service::KeyVault.into();
        let tenancy = record.tenancy(&vault).unwrap();
        assert!(
            !record
                .owner_url(&vault)
                .unwrap()
                .contains(&tenancy.owner.password)
        );
        let used = record.user_url(&vault).unwrap();
        assert!(
            used.contains(&tenancy.user.password) && used.contains("localhost:5433"),
            "{used}"
        );
        assert!(!format!("{record:?}").contains(&tenancy.user.password));
    }

    #[test]
    fn what_was_removed_is_not_used_again() {
        let mut record = Record::start(&url()).unwrap();
        record.plan(&roster(&[])).unwrap();
        let record = record.emptied();
        assert!(record.groups().is_empty());
        let error = record.moved_to(&url()).unwrap_err();
        assert!(error.to_string().contains("sealpost down"));
    }
}
