//! The resolved dependency graph, as `cargo metadata` tells it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::process::Command;

use serde_json::Value;

/// A package of the graph.
pub struct Package {
    pub name: String,
    pub licence: Option<String>,
    pub in_workspace: bool,
}

/// Packages and their normal and build edges; development edges apart.
pub struct Graph {
    packages: BTreeMap<String, Package>,
    edges: BTreeMap<String, Vec<String>>,
    development_edges: BTreeMap<String, Vec<String>>,
    features: BTreeMap<String, Vec<String>>,
}

impl Graph {
    /// Reads the graph of this workspace, every feature on.
    pub fn load() -> Self {
        Self::load_with(&["--all-features"])
    }

    /// Reads the graph as an ordinary build has it.
    pub fn load_ordinary() -> Self {
        Self::load_with(&[])
    }

    fn load_with(features: &[&str]) -> Self {
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked"])
            .args(features)
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
            .output()
            .expect("cargo metadata runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Self::parse(&serde_json::from_slice(&output.stdout).expect("cargo metadata speaks JSON"))
    }

    fn parse(metadata: &Value) -> Self {
        let members: BTreeSet<&str> = array(&metadata["workspace_members"])
            .iter()
            .filter_map(Value::as_str)
            .collect();
        let packages = array(&metadata["packages"])
            .iter()
            .map(|package| {
                let id = text(&package["id"]);
                let facts = Package {
                    name: text(&package["name"]),
                    licence: package["license"].as_str().map(str::to_owned),
                    in_workspace: members.contains(id.as_str()),
                };
                (id, facts)
            })
            .collect();
        let mut edges = BTreeMap::new();
        let mut development_edges = BTreeMap::new();
        let mut features = BTreeMap::new();
        for node in array(&metadata["resolve"]["nodes"]) {
            let (mut built, mut development) = (Vec::new(), Vec::new());
            for dependency in array(&node["deps"]) {
                for kind in array(&dependency["dep_kinds"]) {
                    match kind["kind"].as_str() {
                        Some("dev") => development.push(text(&dependency["pkg"])),
                        _ => built.push(text(&dependency["pkg"])),
                    }
                }
            }
            let on = array(&node["features"]).iter().map(text).collect();
            features.insert(text(&node["id"]), on);
            edges.insert(text(&node["id"]), built);
            development_edges.insert(text(&node["id"]), development);
        }
        Self {
            packages,
            edges,
            development_edges,
            features,
        }
    }

    /// Every package.
    pub fn packages(&self) -> impl Iterator<Item = &Package> {
        self.packages.values()
    }

    /// Names of the workspace's own packages.
    pub fn members(&self) -> Vec<&str> {
        self.packages()
            .filter(|package| package.in_workspace)
            .map(|package| package.name.as_str())
            .collect()
    }

    /// Names of all packages that `name` is built from, itself included.
    pub fn reach(&self, name: &str) -> BTreeSet<&str> {
        let mut seen = BTreeSet::new();
        let mut queue: VecDeque<&str> = self.ids(name).collect();
        assert!(
            !queue.is_empty(),
            "no package named {name}: the check would pass for nothing"
        );
        while let Some(id) = queue.pop_front() {
            if seen.insert(id) {
                queue.extend(self.edges[id].iter().map(String::as_str));
            }
        }
        seen.into_iter()
            .map(|id| self.packages[id].name.as_str())
            .collect()
    }

    /// Names of the packages that `name` itself names, for building and for its tests.
    pub fn named_by(&self, name: &str) -> BTreeSet<&str> {
        self.ids(name)
            .flat_map(|id| self.edges[id].iter().chain(&self.development_edges[id]))
            .map(|id| self.packages[id].name.as_str())
            .collect()
    }

    /// Features of `name` that are on.
    pub fn features(&self, name: &str) -> BTreeSet<&str> {
        self.ids(name)
            .flat_map(|id| self.features[id].iter().map(String::as_str))
            .collect()
    }

    fn ids(&self, name: &str) -> impl Iterator<Item = &str> {
        self.packages
            .iter()
            .filter(move |(_, package)| package.name == name)
            .map(|(id, _)| id.as_str())
    }
}

fn array(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}
