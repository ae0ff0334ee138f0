//! Named points at which a test lets a process die or fail.
//!
//! Owns the marks and, under the feature `armed`, the reading of orders. Has no knowledge of what stands around a mark. Invariant:
//! without the feature a mark is no code and its name is in no binary; with it and without orders a mark does nothing.
//!
//! A mark is named for what has just happened: `append_outbound.committed`. Orders are files in the folder that
//! `SEALPOST_FAILPOINTS` names, one for each point: `<folder>/<instance>/<point>`, where the instance is the stem of the file behind
//! `--config`, or else the program's name. An order is one line:
//!
//! ```text
//! 3 kill            the third time from here on, this process kills itself
//! 1 kill 4711       the first time it kills process 4711, then itself
//! 1 fail            the first time, the step fails (at marks that can: `fails!`)
//! each fail         it fails until the order is taken away
//! ```
//!
//! An order that was carried out is renamed to `<point>.reached`; an `each` stays, with such a file beside it. Orders are read anew
//! each time, so that one process serves many of them in turn.

#[cfg(feature = "armed")]
mod armed;

#[cfg(feature = "armed")]
pub use armed::{folder, reached};

/// Whether this build reads orders.
pub const ARMED: bool = cfg!(feature = "armed");

/// Where orders are; in this build nowhere.
#[cfg(not(feature = "armed"))]
#[must_use]
pub fn folder() -> Option<std::path::PathBuf> {
    None
}

/// A point, named as by [`format!`]: the process may end here.
#[cfg(feature = "armed")]
#[macro_export]
macro_rules! failpoint {
    ($($name:tt)+) => {
        let _ = $crate::reached(&::std::format!($($name)+));
    };
}

/// A point, named as by [`format!`]: the process may end here, or the step must fail when this is true.
#[cfg(feature = "armed")]
#[macro_export]
macro_rules! fails {
    ($($name:tt)+) => {
        $crate::reached(&::std::format!($($name)+))
    };
}

/// A point; nothing in this build.
#[cfg(not(feature = "armed"))]
#[macro_export]
macro_rules! failpoint {
    ($($name:tt)+) => {
        let _ = $crate::fails!($($name)+);
    };
}

/// A point; nothing in this build: a closure that nobody calls is checked and not compiled.
#[cfg(not(feature = "armed"))]
#[macro_export]
macro_rules! fails {
    ($($name:tt)+) => {{
        let _ = || ::std::format!($($name)+);
        false
    }};
}
