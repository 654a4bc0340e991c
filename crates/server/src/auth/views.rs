//! Users, tokens and sessions as they are shown.

use std::net::IpAddr;

use sceau_event::Micros;
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    Role,
    network::Network,
    sessions::Session,
    tokens::{Kept, Use},
    users::Account,
};

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = User)]
pub struct UserView {
    /// The name for log-ins.
    pub id: String,
    /// What people call him.
    pub name: String,
    /// What he may do.
    pub role: Role,
    /// Whether he may not log in.
    pub disabled: bool,
    /// When he was made.
    #[schema(value_type = String, format = DateTime)]
    pub created: Micros,
    /// Whether he has chosen a password yet.
    pub ready: bool,
    /// Whether a second factor is set.
    pub second_factor: bool,
    /// Recovery codes that are left.
    pub recovery_codes: usize,
    /// When password or second factor were changed last.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub changed: Option<Micros>,
}

impl UserView {
    pub(super) fn of(id: &str, account: &Account) -> Self {
        let credential = account.credential.as_ref();
        Self {
            id: id.to_owned(),
            name: account.user.name.clone(),
            role: account.user.role,
            disabled: account.user.disabled,
            created: account.user.created,
            ready: credential.is_some(),
            second_factor: account.user.totp,
            recovery_codes: credential.map_or(0, |credential| credential.recovery.len()),
            changed: credential.map(|credential| credential.changed),
        }
    }
}

/// A token, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenView {
    /// Its public name.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made.
    pub created: String,
    /// Who made it.
    pub created_by: Option<String>,
    /// When it stops to be valid.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires: Option<Micros>,
    /// The only sources that it may send as; any, if there are none.
    pub sources: Vec<String>,
    /// The only networks that it may come from; any, if there are none.
    pub addresses: Vec<String>,
    /// When it was revoked.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked: Option<Micros>,
    /// When it was used last, to the minute.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used: Option<Micros>,
    /// From where.
    #[schema(value_type = Option<String>)]
    pub last_address: Option<IpAddr>,
}

impl TokenView {
    pub(super) fn of(id: String, kept: Kept, last: Option<Use>) -> Self {
        Self {
            id,
            name: kept.name,
            role: kept.role,
            created: kept.created,
            created_by: kept.created_by,
            expires: kept.expires,
            sources: kept.sources,
            addresses: kept.addresses.iter().map(Network::to_string).collect(),
            revoked: kept.revoked,
            last_used: last.map(|last| last.used),
            last_address: last.map(|last| last.address),
        }
    }
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = OpenSession)]
pub struct SessionView {
    /// Its public name.
    pub id: String,
    /// Whose it is.
    pub user: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created: Micros,
    /// When it was begun or refreshed last.
    #[schema(value_type = String, format = DateTime)]
    pub used: Micros,
    /// When it ends if it is not used.
    #[schema(value_type = String, format = DateTime)]
    pub expires: Micros,
    /// From where it was used last.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// What the client says it is.
    pub agent: String,
}

impl SessionView {
    pub(super) fn of(id: String, session: Session) -> Self {
        let expires = session.expires();
        let Session { user, created, used, address, agent, .. } = session;
        Self { id, user, created, used, expires, address, agent }
    }
}
