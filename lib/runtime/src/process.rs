//! What a process gives up before it holds anything worth taking.

use std::{
    io::{self, Write},
    panic,
};

use rustix::{
    fs::Mode,
    process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit, umask},
};

/// Call first in `main`: no core dumps and no debugger of the same user (so no memory on disk), files readable by
/// their owner only, and a panic that tells where it happened but never what it held.
///
/// # Errors
/// When the kernel refuses; a process that cannot be hardened must not start.
pub fn harden() -> io::Result<()> {
    quiet_panics();
    umask(Mode::RWXG | Mode::RWXO);
    setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// A panic's payload may quote what was being handled, so only its location is printed.
fn quiet_panics() {
    panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string);
        // With nowhere to write to there is nobody to tell.
        let _ = writeln!(
            io::stderr(),
            "panic at {}",
            place.as_deref().unwrap_or("an unknown place")
        );
    }));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{env, fs, os::unix::fs::PermissionsExt, process::Command};

    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    const CHILD: &str = "SEALPOST_TEST_HARDENED_CHILD";

    /// The test runs itself once more, since hardening is for a whole process.
    #[test]
    fn a_hardened_process_leaves_no_core_and_panics_without_its_payload() {
        if let Some(folder) = env::var_os(CHILD) {
            harden().unwrap();
            assert_eq!(getrlimit(Resource::Core).current, Some(0));
            assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
            fs::write(std::path::Path::new(&folder).join("file"), "").unwrap();
            panic!("the secret is {}", "hunter2");
        }
        let folder = tempfile::tempdir().unwrap();
        let output = Command::new(env::current_exe().unwrap())
            .args(["--nocapture", "--exact"])
            .arg("process::tests::a_hardened_process_leaves_no_core_and_panics_without_its_payload")
            .env(CHILD, folder.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8(said).unwrap();
        assert!(
            said.contains("panic at lib") || said.contains("panic at src"),
            "{said}"
        );
        assert!(!said.contains("hunter2"), "{said}");
        let mode = fs::metadata(folder.path().join("file"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
