//! What `make bench` found.

use serde_json::Value;

use super::table;
use crate::machine;
use crate::plot::{Bar, Curve, bars, curves};
use crate::value::{at, cpu_us, entries, shown, word};

/// Processes in the order of the stacked bars: the suite's, and then what drives it.
pub const PROCESSES: [&str; 9] = [
    "gateway",
    "key-vault",
    "store",
    "relay",
    "directory",
    "retention",
    "postgres",
    "business",
    "consumers",
];

/// A run's name in tables and plots.
fn name(run: &Value) -> String {
    format!("{}, {}", word(run, "/case"), word(run, "/report/database"))
}

/// The tables.
pub fn tables(set: &Value) -> String {
    let runs = entries(set, "/runs");
    if runs.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n\n", machine::words(set));
    let row = |run: &Value| {
        let report = &run["report"];
        let ms = |path: &str| shown(at(report, path));
        [
            name(run),
            shown(at(report, "/accepted_per_s")),
            shown(at(report, "/delivered_per_s")),
            ms("/latency_ms/accepted/p50"),
            ms("/latency_ms/accepted/p99"),
            ms("/latency_ms/delivered/p50"),
            ms("/latency_ms/delivered/p99"),
            ms("/latency_ms/delivered/p999"),
            shown(at(report, "/server_cpu_us_per_message")),
            shown(at(report, "/cpu_ratio")),
        ]
    };
    let headings = [
        "run",
        "accepted/s",
        "delivered/s",
        "accepted p50 ms",
        "p99",
        "delivered p50 ms",
        "p99",
        "p99.9",
        "services' CPU µs a message",
        "× libsignal alone",
    ];
    text.push_str(&table(headings, &runs.iter().map(row).collect::<Vec<_>>()));

    text.push_str("Processor time by process, µs a message delivered; most memory in MB:\n\n");
    let row = |run: &Value| {
        let report = &run["report"];
        let mut cells = vec![name(run)];
        for process in PROCESSES {
            let memory = entries(report, "/processes").iter();
            let mut memory = memory
                .filter(|one| one["name"] == process)
                .map(|one| at(one, "/peak_rss_mb"));
            let cell = match memory.next() {
                Some(memory) => format!("{} ({memory:.0})", shown(cpu_us(report, process))),
                None => "–".to_owned(),
            };
            cells.push(cell);
        }
        let cells: [String; 10] = cells.try_into().unwrap_or_default();
        cells
    };
    let mut headings = ["run"; 10];
    headings[1..].copy_from_slice(&PROCESSES);
    text.push_str(&table(headings, &runs.iter().map(row).collect::<Vec<_>>()));

    text.push_str("Latency by load, messages on a fixed schedule:\n\n");
    let row = |run: &Value| {
        let report = &run["report"];
        let ms = |path: &str| shown(at(report, path));
        [
            word(report, "/database").to_owned(),
            shown(at(report, "/rate")),
            format!("{:.0} %", 100.0 * at(run, "/load")),
            shown(at(report, "/delivered_per_s")),
            ms("/latency_ms/accepted/p50"),
            ms("/latency_ms/accepted/p99"),
            ms("/latency_ms/delivered/p50"),
            ms("/latency_ms/delivered/p99"),
            ms("/latency_ms/delivered/p999"),
        ]
    };
    let headings = [
        "database",
        "offered/s",
        "of the best",
        "delivered/s",
        "accepted p50 ms",
        "p99",
        "delivered p50 ms",
        "p99",
        "p99.9",
    ];
    let rates = entries(set, "/rates");
    text.push_str(&table(headings, &rates.iter().map(row).collect::<Vec<_>>()));
    text.push_str(
        "![Throughput](performance/throughput.svg)\n![Processor time](performance/cpu.svg)\n![Latency by load](performance/latency.svg)\n",
    );
    text
}

/// The plots, by name.
pub fn plots(set: &Value) -> Vec<(&'static str, String)> {
    let runs = entries(set, "/runs");
    if runs.is_empty() {
        return Vec::new();
    }
    let throughput = |run: &Value| Bar {
        label: name(run),
        parts: vec![at(&run["report"], "/delivered_per_s")],
    };
    let cpu = |run: &Value| Bar {
        label: name(run),
        parts: PROCESSES
            .iter()
            .map(|process| cpu_us(&run["report"], process))
            .collect(),
    };
    let mut latency = Vec::new();
    for database in ["sqlite", "postgres"] {
        for quantile in ["p50", "p99", "p999"] {
            let of = entries(set, "/rates")
                .iter()
                .filter(|run| word(run, "/report/database") == database);
            let path = format!("/report/latency_ms/delivered/{quantile}");
            let points: Vec<_> = of
                .map(|run| (at(run, "/report/rate"), at(run, &path)))
                .collect();
            if !points.is_empty() {
                latency.push(Curve {
                    label: format!("{database} {}", quantile.replace("999", "99.9")),
                    points,
                });
            }
        }
    }
    vec![
        (
            "throughput",
            bars(
                "Messages delivered a second",
                "",
                &["delivered"],
                &runs.iter().map(throughput).collect::<Vec<_>>(),
            ),
        ),
        (
            "cpu",
            bars(
                "Processor time a message, µs",
                "",
                &PROCESSES,
                &runs.iter().map(cpu).collect::<Vec<_>>(),
            ),
        ),
        (
            "latency",
            curves(
                "From the intended time to the other end, by load",
                "messages offered a second",
                "ms",
                (false, true),
                &latency,
            ),
        ),
    ]
}
