//! `sealpost bench`: what it measures is verified, and a machine can read it.

use std::process::Stdio;

use anyhow::ensure;
use sealpost_tests::binaries;
use serde_json::Value;

async fn bench(arguments: &[&str]) -> anyhow::Result<Value> {
    let output = tokio::process::Command::new(binaries::sealpost()?)
        .args(["--json", "bench"])
        .args(arguments)
        // Else the suite that is made would be on the server that these tests may be given.
        .env_remove("SEALPOST_UP_DATABASE")
        .stdin(Stdio::null())
        .output()
        .await?;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{told}");
    ensure!(told.contains("messages flow"), "no progress: {told}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn check(report: &Value, direction: &str) {
    assert_eq!(report["direction"], direction);
    assert_eq!(report["database"], "sqlite");
    assert_eq!(report["in_flight"], 16);
    let verified = &report["verified"];
    assert!(verified["sent"].as_u64() > Some(0), "{report}");
    assert_eq!(verified["delivered"], verified["sent"], "{report}");
    assert_eq!(verified["duplicates"], 0, "{report}");
    assert_eq!(verified["out_of_order"], 0, "{report}");
    assert_eq!(report["refused"], 0, "{report}");
    for rate in [
        "accepted_per_s",
        "delivered_per_s",
        "libsignal_us",
        "cpu_ratio",
    ] {
        assert!(report[rate].as_f64() > Some(0.0), "{rate}: {report}");
    }
    for kind in ["accepted", "delivered"] {
        let latency = &report["latency_ms"][kind];
        let found = ["p50", "p90", "p99", "p999"].map(|name| latency[name].as_f64());
        assert!(
            found[0] > Some(0.0) && found.is_sorted(),
            "{kind}: {report}"
        );
    }
    let processes = report["processes"].as_array().unwrap();
    for (name, counted) in [
        ("directory", true),
        ("gateway", true),
        ("key-vault", true),
        ("relay", true),
        ("retention", true),
        ("store", true),
        ("business", false),
        ("consumers", false),
    ] {
        let process = processes.iter().find(|process| process["name"] == name);
        let process = process.unwrap_or_else(|| panic!("{name}: {report}"));
        assert_eq!(process["counted"], counted, "{name}");
        assert!(process["cpu_us_per_message"].is_f64(), "{name}");
        assert!(process["peak_rss_mb"].as_f64() > Some(0.0), "{name}");
        let written = &process["written_bytes_per_message"];
        assert!(written.is_f64() || written.is_null(), "{name}");
    }
}

const SHORT: [&str; 8] = [
    "--seconds",
    "2",
    "--warm-up",
    "0.5",
    "--consumers",
    "8",
    "--in-flight",
    "16",
];

#[tokio::test(flavor = "multi_thread")]
async fn bench_measures_and_verifies_messages_out() -> anyhow::Result<()> {
    check(&bench(&SHORT).await?, "out");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_measures_and_verifies_messages_in() -> anyhow::Result<()> {
    let arguments = [&SHORT[..], &["--direction", "in"]].concat();
    check(&bench(&arguments).await?, "in");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_establishes_a_session_for_each_message_when_told_to() -> anyhow::Result<()> {
    let arguments = [&SHORT[4..], &["--new-sessions", "--messages", "40"]].concat();
    let report = bench(&arguments).await?;
    check(&report, "out");
    assert_eq!(report["verified"]["sent"], 40);
    assert_eq!(report["consumers"], 40);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn bench_sends_on_a_schedule_whatever_becomes_of_the_messages() -> anyhow::Result<()> {
    let arguments = [
        &SHORT[..],
        &[
            "--rate",
            "200",
            "--rate-limit",
            "40",
            "--on-refusal",
            "count",
        ],
        &["--then-rate", "20", "--beside", "stuck"],
    ]
    .concat();
    let report = bench(&arguments).await?;
    let verified = &report["verified"];
    assert_eq!(verified["delivered"], verified["accepted"], "{report}");
    assert_eq!(verified["duplicates"], 0, "{report}");
    assert_eq!(verified["out_of_order"], 0, "{report}");
    assert!(
        report["timeline"]
            .as_array()
            .is_some_and(|moments| moments.len() > 8),
        "{report}"
    );
    Ok(())
}
