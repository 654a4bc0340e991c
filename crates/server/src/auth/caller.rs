//! Whoever asks, once it is known who that is.

use std::{net::IpAddr, sync::Arc};

use sceau_event::Micros;

use super::{Accounts, By, Permission, Role};
use crate::error::ServerError;

/// What came with a request.
#[derive(Clone, Copy)]
pub(crate) enum Presented<'a> {
    /// In the `Authorization` header: a token or an access token.
    Bearer(&'a str),
    /// In a browser's cookie: an access token.
    Cookie(&'a str),
}

/// A program or a person.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerKind {
    Token,
    User,
}

/// Whoever asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    pub kind: CallerKind,
    /// The token's public name, or the user's.
    pub id: String,
    pub role: Role,
    /// A user's session.
    pub session: Option<String>,
    /// The only sources that it may send as.
    pub sources: Option<Arc<[String]>>,
    /// Whether a cookie said so: then a request that changes something must show that it comes from our own page.
    pub by_cookie: bool,
    /// Whether a second factor is required and not set yet: until then nothing else can be done.
    pub unfinished: bool,
    /// From where.
    pub address: IpAddr,
}

impl Caller {
    /// Whether it may do this.
    pub fn may(&self, permission: Permission) -> bool {
        let has_account = self.kind == CallerKind::User || permission != Permission::OwnAccount;
        self.role.may(permission) && has_account && (!self.unfinished || permission == Permission::OwnAccount)
    }

    /// Makes sure that it may do this.
    ///
    /// # Errors
    /// [`ServerError::Forbidden`].
    pub fn check(&self, permission: Permission) -> Result<(), ServerError> {
        if self.may(permission) {
            return Ok(());
        }
        Err(ServerError::Forbidden(if self.unfinished {
            format!("the role {} needs a second factor: set one first", self.role)
        } else {
            format!("the role {} may not do this ({})", self.role, permission.as_str())
        }))
    }

    /// Makes sure that it may send as this source.
    ///
    /// # Errors
    /// [`ServerError::Forbidden`].
    pub fn check_source(&self, source: &str) -> Result<(), ServerError> {
        match &self.sources {
            Some(allowed) if !allowed.iter().any(|it| it == source) => {
                Err(ServerError::Forbidden(format!("this token may not send as the source {source:?}")))
            }
            _ => Ok(()),
        }
    }

    /// The user.
    ///
    /// # Errors
    /// [`ServerError::Forbidden`] for a token, which has no account.
    pub fn user(&self) -> Result<&str, ServerError> {
        match self.kind {
            CallerKind::User => Ok(&self.id),
            CallerKind::Token => Err(ServerError::Forbidden("a token has no account of its own".to_owned())),
        }
    }

    /// As entries of `sceau.audit` name it.
    pub fn by(&self) -> By {
        By::from(&self.id, self.address)
    }
}

impl Accounts {
    /// Who this is; `None` if nobody who may ask.
    pub(crate) fn authenticate(&self, presented: Presented<'_>, address: IpAddr, now: Micros) -> Option<Caller> {
        match presented {
            Presented::Bearer(text) => {
                self.token_of(text, address, now).or_else(|| self.user_of(text, false, address, now))
            }
            Presented::Cookie(text) => self.user_of(text, true, address, now),
        }
    }

    /// Whether somebody who was let in would be once more, as what he was then.
    pub(crate) fn still_holds(&self, caller: &Caller, now: Micros) -> bool {
        match (caller.kind, &caller.session) {
            (CallerKind::Token, _) => self.0.tokens.still_holds(&caller.id, now),
            (CallerKind::User, Some(session)) => {
                let same = |found: &Caller| (found.role, found.unfinished) == (caller.role, caller.unfinished);
                self.user_in(&caller.id, session, caller.by_cookie, caller.address, now).as_ref().is_some_and(same)
            }
            (CallerKind::User, None) => false,
        }
    }

    fn token_of(&self, text: &str, address: IpAddr, now: Micros) -> Option<Caller> {
        let (id, token) = self.0.tokens.find(text, address, now)?;
        Some(Caller {
            kind: CallerKind::Token,
            id,
            role: token.kept.role,
            session: None,
            sources: token.sources,
            by_cookie: false,
            unfinished: false,
            address: address.to_canonical(),
        })
    }

    fn user_of(&self, text: &str, by_cookie: bool, address: IpAddr, now: Micros) -> Option<Caller> {
        let claims = self.0.signer.check(text, now)?;
        self.user_in(&claims.sub, &claims.sid, by_cookie, address, now)
    }

    fn user_in(&self, user: &str, session: &str, by_cookie: bool, address: IpAddr, now: Micros) -> Option<Caller> {
        self.0.sessions.get(session, now).filter(|found| found.user == user)?;
        let account =
            self.0.users.get(user).filter(|account| !account.user.disabled && account.credential.is_some())?;
        Some(Caller {
            kind: CallerKind::User,
            id: user.to_owned(),
            role: account.user.role,
            session: Some(session.to_owned()),
            sources: None,
            by_cookie,
            unfinished: self.lacks_factor(&account.user),
            address: address.to_canonical(),
        })
    }
}
