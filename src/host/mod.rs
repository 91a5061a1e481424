//! How to reach a host. `local` starts the supervisor as a child of this process and holds the engine's end of its
//! pipes; other kinds of host will be other ways to start the same program.

pub mod local;
pub mod secret;
pub mod strace;
