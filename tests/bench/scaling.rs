//! The model of more than one machine: what was measured, multiplied. No figure of its own but the assumptions, which it shows.

use serde_json::Value;

use crate::machine;
use crate::pages::table;
use crate::value::{all_cpu_us, at, cpu_us, entries, grouped, shown, word};

/// A billion messages a day.
const A_DAY: f64 = 1e9;
const SECONDS_OF_A_DAY: f64 = 86_400.0;
/// The busiest second, compared with the mean one.
const PEAK: f64 = 3.0;
/// How busy a core is planned to be at the peak.
const BUSY: f64 = 0.6;
/// Cores of a machine that a cell's service is on.
const CORES: f64 = 16.0;
/// What a core costs an hour, in dollars: an assumption to replace.
const CORE_HOUR: f64 = 0.04;
/// What has one writer: services with a database.
const WRITERS: [&str; 3] = ["key-vault", "store", "relay"];
const SERVICES: [&str; 7] = [
    "gateway",
    "key-vault",
    "store",
    "relay",
    "directory",
    "retention",
    "postgres",
];

/// The tables.
pub fn tables(all: &Value) -> String {
    let set = &all["bench"];
    let runs = entries(set, "/runs");
    if runs.is_empty() {
        return String::new();
    }
    let cores = at(set, "/cores");
    let mut text = format!(
        "From the figures of [performance.md](performance.md). {}\n\n",
        machine::words(set)
    );
    text.push_str(&check(runs, cores));
    for database in ["sqlite", "postgres"] {
        let case = "out, 512 in flight";
        let run = runs
            .iter()
            .find(|run| word(run, "/case") == case && word(run, "/report/database") == database);
        if let Some(run) = run {
            text.push_str(&services(database, &run["report"]));
            text.push_str(&billion(database, &run["report"]));
        }
    }
    text
}

/// Whether processor time explains the throughput.
fn check(runs: &[Value], cores: f64) -> String {
    let row = |run: &Value| {
        let report = &run["report"];
        let all = all_cpu_us(report);
        let model = cores * 1e6 / all.max(1e-9);
        let measured = at(report, "/delivered_per_s");
        [
            format!("{}, {}", word(run, "/case"), word(report, "/database")),
            shown(all),
            shown(model),
            shown(measured),
            format!("{:.0} %", 100.0 * measured / model),
        ]
    };
    format!(
        "The model against the measurement: {cores:.0} cores × 10⁶ ÷ (µs a message, services and drivers) is what processor time \
         alone would allow. Near 100 % the processor is what saturates; far below, the run waits for something else (a window of one, \
         a disk).\n\n{}",
        table(
            [
                "run",
                "µs a message, all processes",
                "model, messages/s",
                "measured",
                "measured ÷ model"
            ],
            &runs.iter().map(row).collect::<Vec<_>>()
        )
    )
}

/// What each service takes.
fn services(database: &str, report: &Value) -> String {
    let server = cpu_us(report, "postgres");
    let row = |service: &&str| {
        let micros = cpu_us(report, service);
        let writes = WRITERS.contains(service);
        [
            (*service).to_owned(),
            shown(micros),
            shown(1e6 / micros.max(1e-9)),
            if writes && micros > 0.0 {
                shown(1e6 / (micros + server))
            } else {
                "–".to_owned()
            },
            shown(micros / 3.6e3),
            format!("{:.4}", micros / 3.6e3 * CORE_HOUR),
        ]
    };
    let taking = |service: &&&str| cpu_us(report, service) > 0.0;
    let mut rows: Vec<_> = SERVICES.iter().filter(taking).map(row).collect();
    let sum = at(report, "/server_cpu_us_per_message");
    rows.push([
        "all".to_owned(),
        shown(sum),
        shown(1e6 / sum.max(1e-9)),
        "–".to_owned(),
        shown(sum / 3.6e3),
        format!("{:.4}", sum / 3.6e3 * CORE_HOUR),
    ]);
    format!(
        "Messages out on {database}, 512 in flight. Messages a core = 10⁶ ÷ µs. A writer is one thread: were all of a service's time its \
         writer's, and all of the database server's too, it would end there: the least at which a database saturates. Core hours a million \
         messages = µs ÷ 3,600; dollars at {CORE_HOUR} a core hour.\n\n{}",
        table(
            [
                "service",
                "µs a message",
                "messages a core, /s",
                "one writer, at least /s",
                "core hours a million",
                "$ a million",
            ],
            &rows
        )
    )
}

/// What a billion a day needs.
fn billion(database: &str, report: &Value) -> String {
    let mean = A_DAY / SECONDS_OF_A_DAY;
    let peak = mean * PEAK;
    let cores = |service: &str| peak * cpu_us(report, service) / 1e6 / BUSY;
    let writer = WRITERS
        .iter()
        .map(|service| cpu_us(report, service))
        .fold(0.0, f64::max)
        + cpu_us(report, "postgres");
    let cell = BUSY * 1e6 / writer.max(1e-9);
    let cells = (peak / cell).ceil();
    let written: f64 = entries(report, "/processes")
        .iter()
        .filter(|one| one["counted"] == true)
        .map(|one| at(one, "/written_bytes_per_message"))
        .sum();
    let mut rows = vec![
        [
            "messages a second, mean".to_owned(),
            "10⁹ ÷ 86,400".to_owned(),
            grouped(mean),
        ],
        [
            "at the peak".to_owned(),
            format!("mean × {PEAK}"),
            grouped(peak),
        ],
        [
            "messages a second of a cell".to_owned(),
            format!("{BUSY} × one writer of the busiest database"),
            grouped(cell),
        ],
        [
            "cells".to_owned(),
            "peak ÷ a cell's".to_owned(),
            grouped(cells),
        ],
    ];
    let mut all = 0.0;
    for service in SERVICES {
        let needs = cores(service);
        all += needs;
        if needs > 0.0 {
            rows.push([
                format!("cores, {service}"),
                format!("peak × µs ÷ 10⁶ ÷ {BUSY}"),
                shown(needs),
            ]);
        }
    }
    rows.push([
        "cores in all".to_owned(),
        "their sum".to_owned(),
        grouped(all.ceil()),
    ]);
    rows.push([
        format!("machines of {CORES} cores"),
        format!("cores ÷ {CORES}"),
        grouped((all / CORES).ceil()),
    ]);
    rows.push([
        "written a day, TB".to_owned(),
        format!("{} bytes a message × 10⁹", grouped(written)),
        shown(written * A_DAY / 1e12),
    ]);
    rows.push([
        "$ a day for processors".to_owned(),
        format!("cores × 24 × {CORE_HOUR}"),
        grouped(all * 24.0 * CORE_HOUR),
    ]);
    format!(
        "A billion messages a day on {database}:\n\n{}",
        table(["what", "formula", "value"], &rows)
    )
}
