//! Reading and carrying out orders.

use std::{
    collections::HashMap,
    env, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    thread,
};

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Names the folder of orders.
const FOLDER: &str = "SEALPOST_FAILPOINTS";

/// Where orders are, when there may be some.
#[must_use]
pub fn folder() -> Option<PathBuf> {
    env::var_os(FOLDER).map(PathBuf::from)
}

/// What is to happen at a point.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    /// At which time, counted from 1; none is each.
    nth: Option<u64>,
    action: Action,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Action {
    /// These die, and then this process.
    Kill(Vec<i32>),
    Fail,
}

impl Order {
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let nth = match words.next()? {
            "each" => None,
            nth => Some(nth.parse().ok()?),
        };
        let action = match words.next()? {
            "kill" => Action::Kill(
                words
                    .by_ref()
                    .map(str::parse)
                    .collect::<Result<_, _>>()
                    .ok()?,
            ),
            "fail" => Action::Fail,
            _ => return None,
        };
        words.next().is_none().then_some(Self { nth, action })
    }
}

/// Says that the point `name` is reached; answers whether the step must fail.
///
/// # Panics
/// At an order that cannot be read: a test that believes in it must not pass.
#[must_use]
pub fn reached(name: &str) -> bool {
    static ORDERS: OnceLock<Option<PathBuf>> = OnceLock::new();
    let folder = ORDERS.get_or_init(|| Some(folder()?.join(instance())));
    let Some(folder) = folder else { return false };
    match due(folder, name) {
        None => false,
        Some(Action::Fail) => true,
        Some(Action::Kill(others)) => die(&others),
    }
}

/// What is to happen this time.
fn due(folder: &Path, name: &str) -> Option<Action> {
    static COUNTS: Mutex<Option<HashMap<PathBuf, u64>>> = Mutex::new(None);
    let path = folder.join(name);
    let line = match fs::read_to_string(&path) {
        Ok(line) => line,
        Err(error) if error.kind() == ErrorKind::NotFound => return None,
        Err(error) => panic!("the order for {name}: {error}"),
    };
    let order = Order::parse(&line).unwrap_or_else(|| panic!("the order for {name}: {line:?}"));
    let done = folder.join(format!("{name}.reached"));
    let Some(nth) = order.nth else {
        fs::write(done, "").ok();
        return Some(order.action);
    };
    let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
    let count = counts
        .get_or_insert_default()
        .entry(path.clone())
        .or_default();
    *count += 1;
    // Threads that meet here rename one after another; only the first finds the order.
    if *count < nth || fs::rename(&path, done).is_err() {
        return None;
    }
    *count = 0;
    Some(order.action)
}

fn die(others: &[i32]) -> ! {
    for pid in others.iter().filter_map(|pid| Pid::from_raw(*pid)) {
        // One that is gone already is as dead as it is meant to be.
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = kill_process(getpid(), Signal::KILL);
    loop {
        thread::park();
    }
}

/// The stem of the configuration's file, or the program's name.
fn instance() -> PathBuf {
    let mut arguments = env::args_os();
    let program = arguments.next().unwrap_or_default();
    let config = arguments.skip_while(|word| word != "--config").nth(1);
    let path = PathBuf::from(config.unwrap_or(program));
    path.file_stem().unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn an_order_says_when_and_what() {
        let order = |nth, action| Some(Order { nth, action });
        assert_eq!(
            Order::parse("3 kill\n"),
            order(Some(3), Action::Kill(vec![]))
        );
        assert_eq!(
            Order::parse("1 kill 7 8"),
            order(Some(1), Action::Kill(vec![7, 8]))
        );
        assert_eq!(Order::parse("each fail"), order(None, Action::Fail));
        for line in ["", "kill", "1", "1 die", "x kill", "1 kill x", "1 fail 7"] {
            assert_eq!(Order::parse(line), None, "{line}");
        }
    }

    #[test]
    fn an_order_is_carried_out_once_at_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let due = || due(folder.path(), "a.b");
        assert_eq!(due(), None);
        for _ in 0..2 {
            fs::write(folder.path().join("a.b"), "2 fail").unwrap();
            assert_eq!(due(), None);
            assert_eq!(due(), Some(Action::Fail));
            assert_eq!(due(), None);
            assert!(folder.path().join("a.b.reached").exists());
        }
    }

    #[test]
    fn an_order_for_each_time_holds_until_it_is_taken_away() {
        let folder = tempfile::tempdir().unwrap();
        let due = || due(folder.path(), "a.b");
        fs::write(folder.path().join("a.b"), "each fail").unwrap();
        assert_eq!(due(), Some(Action::Fail));
        assert_eq!(due(), Some(Action::Fail));
        fs::remove_file(folder.path().join("a.b")).unwrap();
        assert_eq!(due(), None);
        assert!(folder.path().join("a.b.reached").exists());
    }
}
