//! What processes take: processor time, memory, bytes written.

mod postgres;
mod proc;

pub use postgres::find as find_postgres;

use std::collections::BTreeMap;

use self::proc::Reading;

/// A process, or several that are reported as one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// How it is called in the report.
    pub name: String,
    /// Its processes.
    pub kind: Kind,
    /// Whether it is of the server's side, whose time is compared with libsignal's.
    pub is_counted: bool,
}

/// Which processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One.
    One(u32),
    /// A PostgreSQL server's first, and every one that it started.
    Postgres(u32),
}

/// What all subjects had taken at some moment.
pub struct Sample(BTreeMap<String, Reading>);

/// What one took between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Taken {
    /// Processor time, in microseconds.
    pub cpu_us: f64,
    /// The most memory that it ever had, in MB.
    pub peak_mb: f64,
    /// Bytes that it caused to be written; none when the system does not say.
    pub written: Option<u64>,
}

impl Sample {
    /// Reads all of them now. One that is gone has nothing.
    pub fn take(subjects: &[Subject]) -> Self {
        let read = |subject: &Subject| {
            let reading = match subject.kind {
                Kind::One(pid) => Reading::of(pid)?,
                Kind::Postgres(pid) => postgres::reading(pid)?,
            };
            Some((subject.name.clone(), reading))
        };
        Self(subjects.iter().filter_map(read).collect())
    }

    /// What that one took since `before`; none when it ended meanwhile.
    pub fn since(&self, before: &Self, name: &str) -> Option<Taken> {
        let (before, after) = (before.0.get(name)?, self.0.get(name)?);
        let micros = 1e6 / rustix::param::clock_ticks_per_second() as f64;
        Some(Taken {
            cpu_us: after.ticks.saturating_sub(before.ticks) as f64 * micros,
            peak_mb: after.peak_kb as f64 / 1024.0,
            written: Some(after.written?.saturating_sub(before.written?)),
        })
    }
}
