//! What `make overload` found.

use serde_json::Value;

use super::table;
use crate::machine;
use crate::plot::{Curve, curves};
use crate::value::{at, entries, shown, word};

/// The tables.
pub fn tables(set: &Value) -> String {
    let runs = entries(set, "/runs");
    if runs.is_empty() {
        return String::new();
    }
    let mut text = format!("{}\n\n", machine::words(set));
    text.push_str(&table(
        [
            "run",
            "database",
            "offered/s",
            "accepted/s",
            "refused/s",
            "delivered/s",
            "accepted p50 ms",
            "p99",
            "delivered p99 ms",
            "refused p99 ms",
        ],
        &runs.iter().map(row).collect::<Vec<_>>(),
    ));
    for run in runs.iter().filter(|run| run["verdict"].is_object()) {
        let verdict = &run["verdict"];
        let recovered = verdict["recovered_after_s"]
            .as_f64()
            .map_or("not within the run".to_owned(), |after| {
                format!("{} s after the load fell to half", shown(after))
            });
        text.push_str(&format!(
            "On {} at twice the capacity {:.0} % of the best throughput is kept; {} messages were refused with anything but \
             RESOURCE_EXHAUSTED; recovered: {recovered}. The requirement is {}.\n\n",
            word(run, "/database"),
            100.0 * at(verdict, "/kept_of_best"),
            verdict["refused_otherwise"],
            if verdict["met"] == true { "met" } else { "NOT MET" },
        ));
    }
    text.push_str("![Before, during and after](performance/overload.svg)\n\n");
    let neighbours = entries(set, "/neighbours");
    if !neighbours.is_empty() {
        text.push_str(
            "Half of the best throughput over 32 numbers, and who misbehaves beside them:\n\n",
        );
        text.push_str(&table(
            [
                "beside",
                "database",
                "offered/s",
                "delivered/s",
                "accepted p50 ms",
                "p99",
                "delivered p50 ms",
                "p99",
            ],
            &neighbours.iter().map(neighbour).collect::<Vec<_>>(),
        ));
    }
    text
}

fn row(run: &Value) -> [String; 10] {
    let report = &run["report"];
    let ms = |path: &str| shown(at(report, path));
    let label = match word(run, "/phase") {
        "best" => format!("{} in flight", report["in_flight"]),
        "twice" => "twice the best".to_owned(),
        phase => format!("then {phase} of it"),
    };
    let refused = at(report, "/refused_per_s");
    [
        label,
        word(run, "/database").to_owned(),
        report["rate"].as_f64().map_or("–".to_owned(), shown),
        shown(at(report, "/accepted_per_s")),
        shown(refused),
        shown(at(report, "/delivered_per_s")),
        ms("/latency_ms/accepted/p50"),
        ms("/latency_ms/accepted/p99"),
        ms("/latency_ms/delivered/p99"),
        if refused > 0.0 {
            ms("/latency_ms/refused/p99")
        } else {
            "–".to_owned()
        },
    ]
}

fn neighbour(run: &Value) -> [String; 8] {
    let report = &run["report"];
    let ms = |path: &str| shown(at(report, path));
    let beside = match word(run, "/beside") {
        "stuck" => "a consumer that never reads, written to all the time".to_owned(),
        "flood" => format!(
            "a number that floods and may send {} a second, as each may",
            shown(at(run, "/limit"))
        ),
        beside => beside.to_owned(),
    };
    [
        beside,
        word(run, "/database").to_owned(),
        ms("/rate"),
        ms("/delivered_per_s"),
        ms("/latency_ms/accepted/p50"),
        ms("/latency_ms/accepted/p99"),
        ms("/latency_ms/delivered/p50"),
        ms("/latency_ms/delivered/p99"),
    ]
}

/// The plots, by name.
pub fn plots(set: &Value) -> Vec<(&'static str, String)> {
    let twice = entries(set, "/runs")
        .iter()
        .filter(|run| word(run, "/phase") == "twice");
    let mut all = Vec::new();
    for run in twice {
        for what in ["offered", "refused", "delivered"] {
            all.push(Curve {
                label: format!("{} {what}", word(run, "/database")),
                points: rates(entries(run, "/report/timeline"), what),
            });
        }
    }
    if all.is_empty() {
        return Vec::new();
    }
    let title = "Twice the capacity, then half of it";
    let svg = curves(title, "seconds", "messages/s", (false, false), &all);
    vec![("overload", svg)]
}

/// Counts as rates.
fn rates(timeline: &[Value], what: &str) -> Vec<(f64, f64)> {
    let path = format!("/{what}");
    let between = |pair: &[Value]| {
        let passed = at(&pair[1], "/at") - at(&pair[0], "/at");
        let counted = at(&pair[1], &path) - at(&pair[0], &path);
        (at(&pair[1], "/at"), counted / passed.max(1e-3))
    };
    timeline.windows(2).map(between).collect()
}
