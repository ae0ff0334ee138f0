//! `/proc/<pid>`, read.

use std::fs;

/// What a process had taken at some moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Clock ticks in user and in kernel mode, of all its threads.
    pub ticks: u64,
    /// The same of its children that have ended.
    pub children_ticks: u64,
    /// The most memory that it ever had, in KiB.
    pub peak_kb: u64,
    /// Bytes that it caused to be written; none when only others may know.
    pub written: Option<u64>,
}

/// The parts of `/proc/<pid>/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// Who started it.
    pub parent: u32,
    /// User and kernel mode.
    pub ticks: u64,
    /// The same of children that have ended.
    pub children_ticks: u64,
}

impl Reading {
    /// Of a process that is there.
    pub fn of(pid: u32) -> Option<Self> {
        let stat = stat(pid)?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let io = fs::read_to_string(format!("/proc/{pid}/io")).ok();
        Some(Self {
            ticks: stat.ticks,
            children_ticks: stat.children_ticks,
            // One on its way out has none left.
            peak_kb: field(&status, "VmHWM").unwrap_or(0),
            written: io.and_then(|io| field(&io, "write_bytes")),
        })
    }
}

/// `/proc/<pid>/stat` of a process that is there.
pub fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name of a process's program.
pub fn program(pid: u32) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(name.trim_end().to_owned())
}

/// Every process's id.
pub fn all() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// After the program's name, which may have any character in it, come the state, the parent, and so on: see proc(5).
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    let at = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(at(1)?).ok()?,
        ticks: at(11)? + at(12)?,
        children_ticks: at(13)? + at(14)?,
    })
}

/// A line `name: number`, with or without a unit.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(name)?.strip_prefix(':')?;
        value.split_ascii_whitespace().next()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_stat_line_is_read_though_the_programs_name_has_spaces_and_brackets() {
        let line =
            "4711 (a (b) c) S 17 4711 4711 0 -1 4194560 1 2 3 4 1200 345 6 7 20 0 9 0 100 1 2";
        let expected = Stat {
            parent: 17,
            ticks: 1545,
            children_ticks: 13,
        };
        assert_eq!(parse_stat(line), Some(expected));
        assert_eq!(parse_stat("4711 (a) S 17"), None);
    }

    #[test]
    fn fields_are_found_by_their_whole_name() {
        let status = "VmPeak:\t  200 kB\nVmHWM:\t  12345 kB\nVmRSS:\t 1 kB\n";
        assert_eq!(field(status, "VmHWM"), Some(12345));
        assert_eq!(field(status, "VmH"), None);
        let io = "wchar: 9\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(field(io, "write_bytes"), Some(4096));
    }

    #[test]
    fn this_process_can_be_read() {
        let own = Reading::of(std::process::id()).unwrap();
        assert!(own.peak_kb > 0);
        assert!(all().contains(&std::process::id()));
        assert!(program(std::process::id()).is_some());
    }
}
