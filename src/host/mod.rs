//! Where tasks run, and how their supervisor is reached: each kind of host is only a way to start one and to get its
//! pipes.
//! `link` our end of them · `local` a child of ours · `ssh` a machine of the user's ssh, `host_key` who it is, `known_hosts` where that is looked up ·
//! `container` one of an engine's command line, `cell` one for a single attempt · `connect` what those two have in common · `client` the programs that lead there · `bundle` this program for
//! another host · `secret` where values of secrets come from · `strace` reading a trace.

// Both panic where nobody listens any more.
#![deny(clippy::print_stderr, clippy::print_stdout)]

pub mod bundle;
pub mod cell;
pub mod client;
pub mod connect;
pub mod container;
pub mod host_key;
pub mod known_hosts;
pub mod link;
pub mod local;
pub mod secret;
pub mod ssh;
pub mod strace;
