//! Where tasks run, what they ask of the place, and what bounds it: workers and their hosts, limits, policies and what
//! they say of trust. As written, like everything in `file`.

use std::num::{NonZeroU16, NonZeroU32};

use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Cores, DurationText, Free, HostWord, List, Named, RunRaw, SandboxWord, SizeText, Table, Text, TrustRaw, lenient,
    shapes,
};

written! {
    /// What a task asks of a worker; every part must hold.
    WorkerRequestRaw = "WorkerRequest" {
        optional {
            /// That worker and no other.
            id: Text,
            /// Labels it must have.
            labels: Table<Text>,
            /// Capabilities it must have.
            capabilities: List<Text>,
            /// At least this much trust.
            trust: TrustRaw,
            /// A role it must have.
            role: Text,
            /// Programs it must be declared to have.
            tools: List<Text>,
        }
    }

    /// What an attempt may take of the machine. What is not said is not bounded.
    LimitsRaw = "Limits" {
        optional {
            /// Processor cores.
            cpu: Cores,
            /// Memory; an attempt that takes more is killed.
            memory: SizeText,
            /// Processes and threads at once.
            #[schemars(range(min = 1, max = 4_194_304))]
            pids: NonZeroU32,
        }
    }

    /// A place to run.
    #[schemars(extend("not" = { "required": ["slots", "max_concurrent_tasks"] }))]
    WorkerRaw = "Worker" {
        required {
            /// The kind of place: `"local"`, or a table.
            host: HostRaw,
        }
        optional {
            /// How many attempts it carries at once; unless said the number of cores on this machine, and 1 elsewhere.
            slots: NonZeroU32,
            /// Another name of `slots`.
            max_concurrent_tasks: NonZeroU32,
            /// What tasks may ask for.
            labels: Table<Text>,
            /// What tasks may ask for.
            capabilities: List<Text>,
            /// What it is for; tasks may ask for one.
            roles: List<Text>,
            /// Programs it has; tasks may ask for them.
            tools: List<Text>,
            /// How far it is trusted; by the policy or else by its host unless said.
            trust: TrustRaw,
            /// How long it may be silent before it counts as lost, from 3s to 1h; 30s unless said. Not for a local host.
            lease: DurationText,
            /// For how long it is tried again when it is lost, while what may run nowhere else waits; 1m unless said,
            /// 0s for not at all. Not for a local host.
            reconnect: DurationText,
            /// What inputs that are kept there between runs may take; 10GiB unless said. Only where tasks work on a copy.
            cache_size: SizeText,
            /// What the directory of one attempt may take there; 20GiB unless said. Only where tasks work on a copy.
            attempt_size: SizeText,
            /// Free; carried through to receipts.
            metadata: Free,
        }
    }

    /// This machine.
    LocalRaw = "Local" {
        optional {}
    }

    /// A machine that the user's own `ssh` reaches.
    SshRaw = "Ssh" {
        required {
            /// A name of the network or of the user's ssh configuration.
            host: Text,
        }
        optional {
            /// The user there; as `ssh` decides unless said.
            user: Text,
            /// The port; as `ssh` decides unless said.
            port: NonZeroU16,
            /// A file with a private key: absolute, below `~/`, or in the workspace.
            identity: Text,
            /// The only file of known host keys that counts: absolute, below `~/`, or in the workspace.
            known_hosts: Text,
            /// The only host key that counts: `SHA256:` and 43 characters, as `ssh-keygen -l` prints it.
            #[schemars(regex(pattern = r"^SHA256:[A-Za-z0-9+/]{43}$|\$\{"))]
            host_key_fingerprint: Text,
            /// The folder there in which everything is kept, absolute; `~/.cache/fleet` unless said.
            working_directory: Text,
        }
    }

    /// A container to run in.
    ContainerRaw = "Container" {
        required {
            /// The image: `name@sha256:…`, or a tag, which only the trust `sandbox` takes.
            image: Text,
        }
        optional {
            /// More words for the engine's `create`; the worker's trust decides which.
            args: List<Text>,
        }
    }

    /// What bounds a run.
    PoliciesRaw = "Policies" {
        optional {
            /// After a failure, cancel what runs and start nothing more.
            fail_fast: bool,
            /// Attempts at once over all workers.
            max_parallel: NonZeroU32,
            /// Time for the whole run.
            timeout: DurationText,
            /// Named pools; a task takes from them with `uses`.
            limits: Named<NonZeroU32>,
            /// What bounds trust.
            security: Box<SecurityRaw>,
        }
    }

    /// What bounds trust.
    SecurityRaw = "Security" {
        optional {
            /// The trust of workers that do not say; by their host unless said.
            default_trust: TrustRaw,
            /// No worker has more; `"operator"` unless said.
            max_trust: TrustRaw,
            /// Whether a machine behind ssh whose host key is neither pinned nor known is an error of the file.
            require_identity_verification: bool,
            /// Keys that tasks may ask for; none unless said.
            allowed_secrets: List<Text>,
            /// Single things that some tasks may do beyond the trust of their worker.
            grants: List<GrantRaw>,
            /// What may hold a sandboxed task, the best first; `["bubblewrap", "landlock"]` unless said.
            #[schemars(length(min = 1))]
            sandbox: List<SandboxWord>,
            /// Where the source `file` of secrets looks: absolute, or below `~/`.
            secrets_directory: Text,
            /// The program of the source `command` of secrets; the key is added as its last word.
            secrets_command: RunRaw,
        }
    }

    /// One thing more than trust allows, for a reason.
    GrantRaw = "Grant" {
        required {
            /// `network`, `secrets`, `release` (both), or `write:` and a path.
            #[schemars(regex(pattern = r"^(network|secrets|release|write:.+)$|\$\{"))]
            capability: Text,
            /// The tasks it is for: a name, or a glob of names.
            scope: Text,
            /// Why; shown in the plan and in receipts.
            reason: Text,
        }
        optional {}
    }
}

/// The kind of a worker's host, with what that kind needs to know.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(rename = "Host", rename_all = "snake_case")]
#[schemars(tag = "kind")]
pub enum HostTable {
    Local(LocalRaw),
    Ssh(Box<SshRaw>),
    Docker(Box<ContainerRaw>),
    Podman(Box<ContainerRaw>),
    /// Another word for `docker`.
    Container(Box<ContainerRaw>),
}

shapes! {
    /// Where a worker lives.
    HostRaw = "host" {
        Word(HostWord) = "text",
        Table(Box<HostTable>) = "table",
    }
}
