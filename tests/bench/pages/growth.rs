//! What `make growth` found.

use serde_json::Value;

use super::table;
use crate::machine;
use crate::plot::{Curve, curves};
use crate::value::{at, entries, grouped, shown, word};

const PARTS: [(&str, &str); 3] = [
    ("sessions", "sessions in the vault"),
    ("records", "records in the store"),
    ("numbers", "numbers of the business"),
];

/// The tables.
pub fn tables(set: &Value) -> String {
    if set.is_null() {
        return String::new();
    }
    let mut text = format!("{}\n\n", machine::words(set));
    for (part, what) in PARTS {
        let runs = entries(set, &format!("/{part}"));
        if runs.is_empty() {
            continue;
        }
        let row = |run: &Value| row(&grouped(at(run, "/size")), &run["report"]);
        text.push_str(&table(
            headings(what),
            &runs.iter().map(row).collect::<Vec<_>>(),
        ));
        text.push_str(&format!("![{what}](performance/growth-{part}.svg)\n\n"));
    }
    for left_out in entries(set, "/left_out") {
        text.push_str(&format!(
            "Left out for want of disk: {} {}.\n\n",
            grouped(at(left_out, "/size")),
            word(left_out, "/what")
        ));
    }
    for run in entries(set, "/deletion") {
        let rows = [row("without", &run["without"]), row("with", &run["with"])];
        text.push_str(&format!(
            "Retention deletes {} records past their time, {} rows with their events; the last was gone {} s after messages began to \
             flow, of which {} s were measured after a warm-up:\n\n",
            grouped(at(run, "/expired")),
            grouped(at(run, "/deleted_rows")),
            shown(at(run, "/gone_after_s")),
            shown(at(run, "/with/seconds"))
        ));
        text.push_str(&table(headings("deletion"), &rows));
    }
    text
}

fn headings(what: &str) -> [&str; 7] {
    [
        what,
        "database",
        "delivered/s",
        "accepted p50 ms",
        "p99",
        "delivered p50 ms",
        "p99",
    ]
}

fn row(label: &str, report: &Value) -> [String; 7] {
    let ms = |path: &str| shown(at(report, path));
    [
        label.to_owned(),
        word(report, "/database").to_owned(),
        shown(at(report, "/delivered_per_s")),
        ms("/latency_ms/accepted/p50"),
        ms("/latency_ms/accepted/p99"),
        ms("/latency_ms/delivered/p50"),
        ms("/latency_ms/delivered/p99"),
    ]
}

/// The plots, by name.
pub fn plots(set: &Value) -> Vec<(&'static str, String)> {
    let mut plots = Vec::new();
    for (part, what) in PARTS {
        let runs = entries(set, &format!("/{part}"));
        if runs.is_empty() {
            continue;
        }
        let curve = |label: &str, path: &str| Curve {
            label: label.to_owned(),
            points: runs
                .iter()
                .map(|run| (at(run, "/size"), at(&run["report"], path)))
                .collect(),
        };
        let name = match part {
            "sessions" => "growth-sessions",
            "records" => "growth-records",
            _ => "growth-numbers",
        };
        let both = [
            curve("delivered/s", "/delivered_per_s"),
            curve("p50 ms", "/latency_ms/delivered/p50"),
            curve("p99 ms", "/latency_ms/delivered/p99"),
        ];
        let title = format!("Throughput and latency by {what}");
        plots.push((name, curves(&title, what, "", (true, true), &both)));
    }
    plots
}
