//! What single tasks may beyond the trust of their worker.

use std::path::Path;

use globset::Glob;

use crate::model::{Capability, Fleet, Grant, Task, Trust};

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

/// The least trust that may have secrets without a grant.
pub const SECRETS_FROM: Trust = Trust::Local;

/// Whether a task may have its secrets on a worker of this trust.
#[must_use]
pub fn may_have_secrets(fleet: &Fleet, task: &Task, trust: Trust) -> bool {
    trust >= SECRETS_FROM || secrets(fleet, task)
}

/// The folder or file that a grant to write opens: what stands before its `**`.
#[must_use]
pub fn written_folder(workspace: &Path, glob: &str) -> String {
    // Other patterns are refused when the file is read.
    let path = workspace.join(glob.strip_suffix("**").unwrap_or(glob));
    path.to_string_lossy().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{fleet, id};
    use crate::model::Security;

    #[test]
    fn secrets_are_for_local_trust_and_for_whom_they_are_granted() {
        let mut fleet = fleet(&["deploy:eu"]);
        let task = fleet.tasks[id(0)].clone();
        assert!(!may_have_secrets(&fleet, &task, Trust::Sandbox));
        for (capability, scope, sandboxed) in [
            (Capability::Secrets, "deploy:eu", true),
            (Capability::Release, "deploy:*", true),
            (Capability::Secrets, "build", false),
            (Capability::Network, "deploy:eu", false),
        ] {
            let grants = vec![Grant { capability, scope: scope.into(), reason: "a test".into() }];
            fleet.policies.security = Some(Box::new(Security { grants, ..Security::plain() }));
            assert_eq!(may_have_secrets(&fleet, &task, Trust::Sandbox), sandboxed, "{scope}");
            assert!(may_have_secrets(&fleet, &task, Trust::Local));
        }
    }

    #[test]
    fn a_grant_to_write_opens_a_file_or_a_folder() {
        let folder = |glob| written_folder(Path::new("/w"), glob);
        assert_eq!(folder("out/**"), "/w/out");
        assert_eq!(folder("out/app"), "/w/out/app");
        assert_eq!(folder("/var/cache/app/**"), "/var/cache/app");
        assert_eq!(folder("**"), "/w");
    }
}
