//! Every field of a worker and of the policy on security as data: its name in the fleet file and its resolved value.
//! `plan --json` and `workers list` walk these tables, so a field that is missing here is a field without an explanation;
//! tests hold them against the types.

use serde_json::{Value, json};

use super::fields::duration;
use crate::model::{Container, Grant, Host, Security, Ssh, Trust, Worker};

/// The key in the fleet file, and its value as one would write it there.
pub(super) type Field<T> = (&'static str, fn(&T) -> Value);

/// In the order of the book's reference.
pub(super) const WORKER_FIELDS: &[Field<Worker>] = &[
    ("host", |worker| host(&worker.host)),
    ("slots", |worker| json!(worker.slots)),
    ("labels", |worker| json!(worker.labels)),
    ("capabilities", |worker| json!(worker.capabilities)),
    ("roles", |worker| json!(worker.roles)),
    ("tools", |worker| json!(worker.tools)),
    ("trust", |worker| json!(worker.trust.name())),
    ("lease", |worker| if worker.host == Host::Local { Value::Null } else { duration(Some(worker.lease)) }),
    ("reconnect", |worker| if worker.host == Host::Local { Value::Null } else { duration(Some(worker.reconnect)) }),
    ("cache_size", |worker| if worker.stages() { json!(worker.cache_bytes) } else { Value::Null }),
    ("attempt_size", |worker| if worker.stages() { json!(worker.attempt_bytes) } else { Value::Null }),
    ("metadata", |worker| json!(worker.metadata)),
];

/// As [`WORKER_FIELDS`].
pub(super) const SECURITY_FIELDS: &[Field<Security>] = &[
    ("default_trust", |security| json!(security.default_trust.map(Trust::name))),
    ("max_trust", |security| json!(security.max_trust.name())),
    ("require_identity_verification", |security| json!(security.require_identity_verification)),
    ("allowed_secrets", |security| json!(security.allowed_secrets)),
    ("grants", |security| security.grants.iter().map(grant).collect()),
    ("sandbox", |security| security.sandbox.iter().map(|layer| json!(layer.name())).collect()),
    ("secrets_directory", |security| json!(security.secrets_directory)),
    ("secrets_command", |security| json!(security.secrets_command)),
];

pub(super) fn host(host: &Host) -> Value {
    match host {
        Host::Local => json!({ "kind": host.name() }),
        Host::Ssh(ssh) => {
            let Ssh { host: name, user, port, identity, known_hosts, host_key_fingerprint, working_directory } = &**ssh;
            json!({
                "kind": host.name(), "host": name, "user": user, "port": port, "identity": identity,
                "known_hosts": known_hosts, "host_key_fingerprint": host_key_fingerprint,
                "working_directory": working_directory,
            })
        }
        Host::Container(container) => {
            let Container { engine, image, args } = &**container;
            json!({ "kind": engine.name(), "image": image, "args": args })
        }
    }
}

pub(super) fn grant(grant: &Grant) -> Value {
    let Grant { capability, scope, reason } = grant;
    json!({ "capability": capability.to_string(), "scope": scope, "reason": reason })
}

/// Where it is, in a word or two: the machine with its user and port, or the image.
pub(super) fn address(host: &Host) -> String {
    match host {
        Host::Local => "this machine".to_owned(),
        Host::Ssh(ssh) => {
            let user = ssh.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
            match ssh.port {
                // A colon of an IPv6 address is no port's.
                Some(port) if ssh.host.contains(':') => format!("{user}[{}]:{port}", ssh.host),
                Some(port) => format!("{user}{}:{port}", ssh.host),
                None => format!("{user}{}", ssh.host),
            }
        }
        Host::Container(container) => container.image.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The destructuring fails to compile when a field is added.
    #[test]
    fn every_field_is_explained() {
        let Worker {
            // Its key, and what is told beside the trust that is left of it.
            name: _,
            own_trust: _,
            host: _,
            slots: _,
            labels: _,
            capabilities: _,
            roles: _,
            tools: _,
            trust: _,
            lease: _,
            reconnect: _,
            cache_bytes: _,
            attempt_bytes: _,
            metadata: _,
        } = Worker::local("here", 1);
        assert_eq!(WORKER_FIELDS.len(), 14 - 2);
        let Security {
            default_trust: _,
            max_trust: _,
            require_identity_verification: _,
            allowed_secrets: _,
            grants: _,
            sandbox: _,
            secrets_directory: _,
            secrets_command: _,
        } = Security::plain();
        assert_eq!(SECURITY_FIELDS.len(), 8);
    }

    #[test]
    fn an_address_is_what_one_would_type() {
        let ssh = |host: &str, user: Option<&str>, port| {
            address(&Host::Ssh(Box::new(Ssh {
                host: host.to_owned(),
                user: user.map(str::to_owned),
                port,
                identity: None,
                known_hosts: None,
                host_key_fingerprint: None,
                working_directory: None,
            })))
        };
        assert_eq!(ssh("build", None, None), "build");
        assert_eq!(ssh("build", Some("ci"), Some(2222)), "ci@build:2222");
        assert_eq!(ssh("::1", Some("ci"), Some(22)), "ci@[::1]:22");
    }
}
