//! Everything that needs two processes, or the whole workspace, to be seen.

#![allow(missing_docs, clippy::unwrap_used)]

mod walls;
