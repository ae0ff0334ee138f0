//! On what and when something was measured. No host names.

use std::fs;
use std::process::Command;
use std::thread::available_parallelism;

use serde_json::{Value, json};

/// Today, the machine, and the command that makes it again.
pub fn stamp(command: &str) -> Value {
    json!({
        "date": said("date", &["-u", "+%Y-%m-%d"]),
        "cores": available_parallelism().map_or(0, usize::from),
        "cpu": model(),
        "kernel": said("uname", &["-sr"]),
        "command": command,
    })
}

/// A stamp in words.
pub fn words(stamp: &Value) -> String {
    let word = |key: &str| stamp[key].as_str().unwrap_or("?").to_owned();
    format!(
        "Measured on {}, {} cores, {}, {}: `{}`.",
        word("date"),
        stamp["cores"],
        word("cpu"),
        word("kernel"),
        word("command")
    )
}

fn model() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line.and_then(|line| line.split_once(':'));
    name.map_or("unknown CPU", |(_, name)| name.trim())
        .to_owned()
}

fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    text.unwrap_or_else(|_| "?".to_owned())
}
