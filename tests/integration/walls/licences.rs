//! Licences: ours as LICENSE.md says, everybody else's on the list.

use super::metadata::Graph;

const AGPL: &[&str] = &[
    "sealpost",
    "sealpost-consumer",
    "sealpost-key-vault",
    "sealpost-tests",
];
/// Accepted for what Apache-2.0 crates are built from.
const PERMISSIVE: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

fn acceptable(expression: &str, copyleft_too: bool) -> bool {
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX)
        .unwrap_or_else(|error| panic!("{expression}: {error}"));
    parsed.evaluate(|requirement| {
        let licence = requirement.license.to_string();
        PERMISSIVE.contains(&licence.as_str()) || (copyleft_too && licence.starts_with("AGPL-3.0"))
    })
}

#[test]
fn our_crates_carry_the_licence_of_their_room() {
    let graph = Graph::load();
    for package in graph.packages().filter(|package| package.in_workspace) {
        let expected = if AGPL.contains(&package.name.as_str()) {
            "AGPL-3.0-only"
        } else {
            "Apache-2.0"
        };
        assert_eq!(
            package.licence.as_deref(),
            Some(expected),
            "{}",
            package.name
        );
    }
}

#[test]
fn apache_crates_are_built_from_permissive_ones_alone() {
    let graph = Graph::load();
    for member in graph.members() {
        let copyleft_too = AGPL.contains(&member);
        let reach = graph.reach(member);
        for package in graph
            .packages()
            .filter(|package| reach.contains(package.name.as_str()))
        {
            let licence = package
                .licence
                .as_deref()
                .unwrap_or_else(|| panic!("{} names no licence", package.name));
            assert!(
                acceptable(licence, copyleft_too),
                "{member} is built from {}, which is under {licence}",
                package.name
            );
        }
    }
}

#[test]
fn the_list_refuses_copyleft_for_apache_crates() {
    assert!(!acceptable("AGPL-3.0-only", false) && acceptable("AGPL-3.0-only", true));
    assert!(!acceptable("GPL-3.0-only", true) && acceptable("MIT/Apache-2.0", false));
}
