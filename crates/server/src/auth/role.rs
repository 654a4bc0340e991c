//! Roles, and what each may do: the one table.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::error::ServerError;

/// What somebody is to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Does everything. The first versions wrote `admin`.
    #[serde(alias = "admin")]
    Administrator,
    /// Works on alerts and on what is detected.
    Analyst,
    /// Reads, verifies and exports; changes nothing.
    Auditor,
    /// Only sends events.
    Ingest,
}

/// What an endpoint asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// To read events, integrity, alerts and rules.
    Read,
    /// To send events.
    Ingest,
    /// To take entries, tiles and proofs away.
    Export,
    /// To start verifications.
    Verify,
    /// To move alerts on.
    WorkAlerts,
    /// To change rules, settings and exceptions, and to replay.
    ChangeRules,
    /// To rotate keys and to derive records again.
    ManageKeys,
    /// To change users, tokens and the sessions of others.
    ManageUsers,
    /// To change one's own password, second factor and sessions.
    OwnAccount,
    /// To read what the server counts.
    Metrics,
}

impl Permission {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Ingest,
        Self::Export,
        Self::Verify,
        Self::WorkAlerts,
        Self::ChangeRules,
        Self::ManageKeys,
        Self::ManageUsers,
        Self::OwnAccount,
        Self::Metrics,
    ];

    /// Its name in the API's description.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Ingest => "ingest",
            Self::Export => "export",
            Self::Verify => "verify",
            Self::WorkAlerts => "work_alerts",
            Self::ChangeRules => "change_rules",
            Self::ManageKeys => "manage_keys",
            Self::ManageUsers => "manage_users",
            Self::OwnAccount => "own_account",
            Self::Metrics => "metrics",
        }
    }
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::Analyst, Self::Auditor, Self::Ingest];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::Analyst => "analyst",
            Self::Auditor => "auditor",
            Self::Ingest => "ingest",
        }
    }

    /// Whether it may do this.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        use Permission as P;
        match self {
            Self::Administrator => true,
            Self::Analyst => matches!(
                permission,
                P::Read | P::Export | P::Verify | P::WorkAlerts | P::ChangeRules | P::OwnAccount | P::Metrics
            ),
            Self::Auditor => matches!(permission, P::Read | P::Export | P::Verify | P::OwnAccount | P::Metrics),
            Self::Ingest => permission == P::Ingest,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = ServerError;

    fn from_str(text: &str) -> Result<Self, ServerError> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| ServerError::parameter("role", "must be administrator, analyst, auditor or ingest"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_what_the_documents_say() {
        let may = |role: Role| -> Vec<&str> {
            Permission::ALL.iter().filter(|permission| role.may(**permission)).map(|it| it.as_str()).collect()
        };
        assert_eq!(may(Role::Administrator).len(), Permission::ALL.len());
        assert_eq!(
            may(Role::Analyst),
            ["read", "export", "verify", "work_alerts", "change_rules", "own_account", "metrics"]
        );
        assert_eq!(may(Role::Auditor), ["read", "export", "verify", "own_account", "metrics"]);
        assert_eq!(may(Role::Ingest), ["ingest"]);
    }

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse::<Role>().unwrap(), role);
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!(serde_json::from_str::<Role>("\"admin\"").unwrap(), Role::Administrator);
        assert!("admin".parse::<Role>().is_err() && "".parse::<Role>().is_err() && "Auditor".parse::<Role>().is_err());
        assert!(serde_json::from_str::<Role>("\"root\"").is_err());
        for permission in Permission::ALL {
            assert_eq!(serde_json::to_value(permission).unwrap(), permission.as_str());
        }
    }
}
