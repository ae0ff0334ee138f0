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
