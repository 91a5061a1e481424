//! What bounds a run and a task, as the protocol writes it. A fleet file has more to say; these are read, and written
//! where they can say all of it.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::run::TrustLevel;

/// The protocol's `FleetTaskBudget`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBudget {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tool_calls: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_seconds: Option<u64>,
}

/// The protocol's `FleetRetryPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryPolicy {
    pub max_attempts: u32,
    pub initial_backoff_seconds: u64,
    pub max_backoff_seconds: u64,
    pub backoff_multiplier: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { max_attempts: 3, initial_backoff_seconds: 5, max_backoff_seconds: 300, backoff_multiplier: 2 }
    }
}

/// The protocol's `FleetSecurityPolicy`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityPolicy {
    #[serde(default = "sandbox")]
    pub default_trust_level: TrustLevel,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_secrets: Vec<SecretRef>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capability_grants: Vec<CapabilityGrant>,
    #[serde(default = "operator")]
    pub max_trust_level: TrustLevel,
    #[serde(default)]
    pub require_identity_verification: bool,
    #[serde(default)]
    pub allow_parallel_reads: bool,
}

fn sandbox() -> TrustLevel {
    TrustLevel::Sandbox
}

fn operator() -> TrustLevel {
    TrustLevel::Operator
}

/// The protocol's `FleetSecretRef`: a name, never a value. Old writers put the key alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SecretRef {
    pub key: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Wire {
            Key(String),
            Structured {
                key: String,
                #[serde(default)]
                source: Option<String>,
            },
        }
        let (key, source) = match Wire::deserialize(deserializer)? {
            Wire::Key(key) => (key, None),
            Wire::Structured { key, source } => (key, source),
        };
        if key.trim().is_empty() {
            return Err(de::Error::custom("secret ref key cannot be empty"));
        }
        Ok(Self { key, source })
    }
}

/// The protocol's `FleetCapabilityGrant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CapabilityGrant {
    pub capability: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The protocol's `FleetAlertPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertPolicy {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<AlertEvent>,
    #[serde(default)]
    pub channels: Vec<AlertChannel>,
    #[serde(default)]
    pub after_attempts: Option<u32>,
    #[serde(default)]
    pub after_minutes_stale: Option<u64>,
}

/// The protocol's `FleetAlertEventClass`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertEvent {
    Stale,
    RestartExhausted,
    NeedsHuman,
    BudgetExceeded,
    VerifierFailed,
    RunCompleted,
}

/// The protocol's `FleetAlertChannel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AlertChannel {
    Slack(AlertEndpoint),
    Webhook(AlertEndpoint),
    #[serde(alias = "pagerduty")]
    PagerDuty {
        routing_key: String,
        severity: String,
    },
}

/// The protocol's `FleetAlertEndpoint`, with the names that old writers used.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlertEndpoint {
    #[serde(default, alias = "webhook_url", alias = "endpoint_url", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    #[serde(
        default,
        alias = "webhook_url_ref",
        alias = "webhook_ref",
        alias = "url_secret_ref",
        skip_serializing_if = "Option::is_none"
    )]
    pub url_ref: Option<SecretRef>,
    #[serde(
        default,
        alias = "secret",
        alias = "webhook_secret",
        alias = "signing_secret",
        skip_serializing_if = "Option::is_none"
    )]
    pub secret_ref: Option<SecretRef>,
}
