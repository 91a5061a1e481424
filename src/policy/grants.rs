//! What single tasks may beyond the trust of their worker.

use std::path::Path;

use globset::Glob;

use crate::model::{Capability, Fleet, Grant, Task};

/// The grants that are for a task: by its name, its base name, or a glob of either.
#[must_use]
pub fn of<'a>(fleet: &'a Fleet, task: &Task) -> Vec<&'a Grant> {
    let grants = fleet.policies.security.as_ref().map_or(&[][..], |security| &security.grants);
    grants.iter().filter(|grant| is_for(&grant.scope, task)).collect()
}

fn is_for(scope: &str, task: &Task) -> bool {
    // A glob that is none was refused when the file was read.
    let glob = Glob::new(scope).map(|glob| glob.compile_matcher());
    let takes = |name: &str| scope == name || glob.as_ref().is_ok_and(|glob| glob.is_match(name));
    takes(&task.name) || takes(&task.base)
}

/// Whether a task may have the secrets it names on a worker that may have none.
#[must_use]
pub fn secrets(fleet: &Fleet, task: &Task) -> bool {
    of(fleet, task).iter().any(|grant| matches!(grant.capability, Capability::Secrets | Capability::Release))
}

/// The folder or file that a grant to write opens: what stands before the first wildcard.
#[must_use]
pub fn written_folder(workspace: &Path, glob: &str) -> String {
    let literal: Vec<&str> = glob.split('/').take_while(|part| !part.contains(['*', '?', '[', '{'])).collect();
    let literal = literal.join("/");
    let path = if glob.starts_with('/') { literal } else { workspace.join(literal).to_string_lossy().into_owned() };
    if path.is_empty() { "/".to_owned() } else { path.trim_end_matches('/').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grant_to_write_opens_what_stands_before_the_first_wildcard() {
        let folder = |glob| written_folder(Path::new("/w"), glob);
        assert_eq!(folder("out/**"), "/w/out");
        assert_eq!(folder("out/app"), "/w/out/app");
        assert_eq!(folder("/var/cache/app/*"), "/var/cache/app");
        assert_eq!(folder("**"), "/w");
    }
}
