//! Landlock: the kernel refuses to open, make, move and remove files outside of what the rules name, for this process
//! and all it starts, whatever user it is. There is no way back, so it is tried in a process of its own.

use std::fs;
use std::io;

use landlock::{
    ABI, Access as _, AccessFs, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

use super::orders::Rules;

/// Enough to hold what is written: without truncation a file outside could be emptied.
pub(super) const WRITES: Level = Level(3);
/// Enough to hold a task alone: signals and abstract sockets too.
pub(super) const ALL: Level = Level(6);

/// A version of the kernel's interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(pub(super) i32);

impl Level {
    /// The Linux that brought it.
    pub(super) fn linux(self) -> &'static str {
        if self >= ALL { "6.12" } else { "6.2" }
    }

    fn abi(self) -> ABI {
        if self >= ALL { ABI::V6 } else { ABI::V3 }
    }
}

/// Holds this process to the rules, or says why that cannot be.
pub(super) fn restrict(rules: &Rules) -> Result<(), String> {
    let status = enforce(rules).map_err(|error| format!("Landlock refused: {error}"))?;
    if status == RulesetStatus::FullyEnforced {
        return Ok(());
    }
    Err("Landlock is not fully enforced by this kernel".to_owned())
}

fn enforce(rules: &Rules) -> Result<RulesetStatus, RulesetError> {
    let abi = if rules.scoped { ALL.abi() } else { WRITES.abi() };
    let write = AccessFs::from_write(abi);
    let read = AccessFs::from_read(abi);
    let handled: BitFlags<AccessFs> = if rules.reads { AccessFs::from_all(abi) } else { write };
    let rw = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::Truncate;
    let mut ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(handled)?;
    if rules.scoped {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    let mut ruleset = ruleset.create()?;
    if rules.reads {
        ruleset = ruleset
            .add_rules(path_beneath_rules(&rules.read, read))?
            .add_rules(path_beneath_rules(&rules.list, AccessFs::ReadDir))?;
    }
    let ruleset = ruleset
        .add_rules(path_beneath_rules(&rules.write, handled))?
        .add_rules(path_beneath_rules(&rules.devices, rw & handled))?;
    Ok(ruleset.restrict_self()?.ruleset)
}

/// Tries in this process, which is of no more use afterwards, whether the kernel really holds what it is told.
pub(super) fn attempt(level: Level) -> Result<(), String> {
    let reads = level >= ALL;
    restrict(&Rules { reads, scoped: reads, ..Rules::default() })?;
    let denied = |result: io::Result<()>| result.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied);
    let written = fs::OpenOptions::new().write(true).open("/dev/null").map(drop);
    let listed = fs::read_dir("/").map(drop);
    if denied(written) && (!reads || denied(listed)) { Ok(()) } else { Err("Landlock holds nothing".to_owned()) }
}
