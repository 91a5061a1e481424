//! What grants add to the trust of a task's worker.

use globset::Glob;

use crate::model::policy::{Capability, Security};
use crate::model::{Fleet, Task, Trust};

/// The least trust that may have secrets without a grant.
pub const SECRETS_FROM: Trust = Trust::Local;

/// Whether a task may have its secrets on a worker of this trust.
#[must_use]
pub fn may_have_secrets(fleet: &Fleet, task: &Task, trust: Trust) -> bool {
    let granted = |security: &Security| {
        security.grants.iter().any(|grant| {
            matches!(grant.capability, Capability::Secrets | Capability::Release) && is_for(&grant.scope, &task.name)
        })
    };
    trust >= SECRETS_FROM || fleet.policies.security.as_deref().is_some_and(granted)
}

/// Whether a grant is for a task: by name, or by glob of names.
fn is_for(scope: &str, task: &str) -> bool {
    // A pattern was checked when the file was read; one that does not compile is for nobody.
    scope == task || Glob::new(scope).is_ok_and(|glob| glob.compile_matcher().is_match(task))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{fleet, id};
    use crate::model::policy::Grant;

    #[test]
    fn secrets_are_for_local_trust_and_for_whom_they_are_granted() {
        let mut fleet = fleet(&["deploy:eu"]);
        let task = fleet.tasks[id(0)].clone();
        for (capability, scope, sandboxed) in [
            (Capability::Secrets, "deploy:eu", true),
            (Capability::Release, "deploy:*", true),
            (Capability::Secrets, "build", false),
            (Capability::Network, "deploy:eu", false),
        ] {
            fleet.policies.security = Some(Box::new(Security {
                default_trust: None,
                max_trust: Trust::Operator,
                require_identity_verification: false,
                allowed_secrets: Vec::new(),
                grants: vec![Grant { capability, scope: scope.into(), reason: "a test".into() }],
                sandbox: Vec::new(),
                secrets_directory: None,
                secrets_command: None,
            }));
            assert_eq!(may_have_secrets(&fleet, &task, Trust::Sandbox), sandboxed, "{scope}");
            assert!(may_have_secrets(&fleet, &task, Trust::Local));
        }
        fleet.policies.security = None;
        assert!(!may_have_secrets(&fleet, &task, Trust::Sandbox));
    }
}
