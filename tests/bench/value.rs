//! Figures out of reports.

use serde_json::Value;

/// The figure at a path such as `/latency_ms/delivered/p99`; 0 when there is none.
pub fn at(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0)
}

/// The word at a path.
pub fn word<'a>(report: &'a Value, path: &str) -> &'a str {
    report.pointer(path).and_then(Value::as_str).unwrap_or("")
}

/// The entries of a list.
pub fn entries<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    let list = value.pointer(path).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// Processor time of one process for a message, in microseconds; 0 when it took no part.
pub fn cpu_us(report: &Value, process: &str) -> f64 {
    let processes = entries(report, "/processes");
    let found = processes.iter().find(|one| one["name"] == process);
    found.map_or(0.0, |one| at(one, "/cpu_us_per_message"))
}

/// Of all processes together, the drivers too.
pub fn all_cpu_us(report: &Value) -> f64 {
    let processes = entries(report, "/processes").iter();
    processes.map(|one| at(one, "/cpu_us_per_message")).sum()
}

/// A figure for a table: three digits that count, thousands apart.
pub fn shown(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => format!("{value:.2}"),
        size if size < 100.0 => format!("{value:.1}"),
        _ => grouped(value),
    }
}

/// A whole number, thousands apart.
pub fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 {
        format!("-{text}")
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_thousands_stand_apart() {
        for (value, text) in [
            (0.0, "0"),
            (1.234, "1.23"),
            (12.34, "12.3"),
            (999.6, "1,000"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(shown(value), text);
        }
    }
}
