//! The real process, killed without warning.

use std::{
    collections::BTreeSet,
    process::{Child, Command, Stdio},
};

use crate::{
    double::PEER,
    harness::{Suite, eventually},
};

fn spawn(suite: &Suite) -> Child {
    Command::new(env!("CARGO_BIN_EXE_sealpost-connector"))
        .arg("--config")
        .arg(suite.config_file())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    // SIGKILL: nothing in the process runs after it.
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_minus_nine_loses_no_event_and_keeps_the_order() {
    const EVENTS: u8 = 120;
    let suite = Suite::start().await;
    let peers = [PEER, "15557654321", "15550001111"];
    let expected: Vec<String> = (1..=EVENTS)
        .map(|index| format!("event {index:03}"))
        .collect();
    let mut said: u8 = 0;
    for round in 1..=4_u8 {
        let child = spawn(&suite);
        for _ in 0..EVENTS / 4 {
            said += 1;
            let peer = peers[usize::from(said) % peers.len()];
            suite.say(said.into(), peer, &expected[usize::from(said) - 1]);
        }
        // In the middle of it: some are told, the rest is anywhere on its way.
        let told = usize::from((round - 1) * (EVENTS / 4) + 5);
        eventually(|| distinct(&suite) >= told).await;
        kill(child);
    }
    let child = spawn(&suite);
    eventually(|| distinct(&suite) == usize::from(EVENTS)).await;
    eventually(|| suite.acknowledged() == Some(EVENTS.into())).await;
    kill(child);
    for peer in peers {
        let values = suite.app.values();
        let told: Vec<&str> = values
            .iter()
            .filter(|value| value["messages"][0]["from"] == peer)
            .filter_map(|value| value["messages"][0]["text"]["body"].as_str())
            .collect();
        // At least once: a repeat may stand where the process died, nothing may be missing or out of order.
        assert!(told.is_sorted(), "{told:?}");
    }
    // A kill can double what was under way at that moment and no more.
    let doubled = suite.app.texts().len() - usize::from(EVENTS);
    assert!(doubled <= 4 * peers.len(), "{doubled} webhooks came twice");
}

fn distinct(suite: &Suite) -> usize {
    suite.app.texts().into_iter().collect::<BTreeSet<_>>().len()
}

#[test]
fn a_configuration_can_be_checked_without_starting() {
    let check = |sets: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost-connector"));
        command.args(["--check-config", "--config"]).arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/connector.example.toml"
        ));
        for set in sets {
            command.args(["--set", set]);
        }
        command.output().unwrap().status.success()
    };
    assert!(check(&[]));
    assert!(!check(&["http.listen=0.0.0.0:80"]));
    assert!(!check(&["http.lisen=127.0.0.1:80"]));
}
