//! Accounts as the API uses them, on a real log.

mod guessing;
mod manage;
mod second_factor;
mod sessions;
mod setup;
mod standby;
mod tamper;

use std::net::IpAddr;

use sceau_event::Micros;
use serde_json::Value;

use super::*;
use crate::{
    Log,
    testing::Fixture,
    verify::{Cancel, VerifyOptions, VerifyReport, verify_dir},
};

const MINUTE: i64 = 60_000_000;
/// Passwords that are good enough.
const PASSWORD: &str = "eleven blue birds over Paris";
const OTHER: &str = "seven quiet rivers in Brittany";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn home() -> IpAddr {
    ip("192.0.2.10")
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// An open log with its accounts, and a time that the test moves.
struct Desk {
    fixture: Fixture,
    log: Log,
    accounts: Accounts,
    now: i64,
}

impl Desk {
    async fn new() -> Self {
        Self::with(AccountsConfig::default()).await
    }

    async fn with(settings: AccountsConfig) -> Self {
        let mut fixture = Fixture::new().await;
        fixture.config.accounts = settings;
        let log = fixture.log().await;
        let accounts = Accounts::of(&log, &fixture.config.accounts).await.unwrap();
        let now = log.now().0;
        Self { fixture, log, accounts, now }
    }

    /// With an administrator called `admin` besides.
    async fn with_admin() -> Self {
        let desk = Self::new().await;
        let link = desk.accounts.first_link(&desk.log, desk.now()).await.unwrap().unwrap();
        desk.set_up(&link.secret, "admin", PASSWORD).await.unwrap();
        desk
    }

    fn now(&self) -> Micros {
        Micros(self.now)
    }

    /// Lets time pass.
    fn pass(&mut self, time: i64) {
        self.now += time;
    }

    fn by(&self) -> By {
        By::from("admin", home())
    }

    async fn set_up(&self, link: &Secret, user: &str, password: &str) -> Result<String, ServerError> {
        self.accounts.setup(&self.log, link, user, &secret(password), home(), self.now()).await
    }

    /// Makes a user with a password.
    async fn user(&self, id: &str, role: Role) {
        let link = self.accounts.create_user(&self.log, &self.by(), id, id, role, self.now()).await.unwrap();
        self.set_up(&link.secret, "", PASSWORD).await.unwrap();
    }

    async fn login_with(&self, user: &str, password: &str, code: Option<&str>) -> Result<LoggedIn, ServerError> {
        self.login_from(user, password, code, home()).await
    }

    async fn login_from(
        &self,
        user: &str,
        password: &str,
        code: Option<&str>,
        address: IpAddr,
    ) -> Result<LoggedIn, ServerError> {
        let credentials = Credentials { user: user.into(), password: secret(password), code: code.map(secret) };
        self.accounts.login(&self.log, credentials, address, "test/1", self.now()).await
    }

    async fn login(&self, user: &str) -> LoggedIn {
        self.login_with(user, PASSWORD, None).await.unwrap()
    }

    /// Who has this access token, if anybody.
    fn caller(&self, access: &Secret) -> Option<Caller> {
        self.accounts.authenticate(Presented::Bearer(access.expose()), home(), self.now())
    }

    /// What is sealed of the product's own, the oldest first.
    async fn sealed(&self) -> Vec<Value> {
        let store = self.log.reader().store();
        let rows = store.entries(store.kept_from().await.unwrap(), usize::MAX).await.unwrap();
        let entry = |entry: &Vec<u8>| serde_json::from_slice::<Value>(entry).unwrap();
        let audit = rows.entries.iter().map(entry).filter(|entry| entry["source"] == "sceau.audit");
        audit.map(|entry| entry["data"].clone()).collect()
    }

    /// The newest entry.
    async fn last(&self) -> Value {
        self.sealed().await.pop().unwrap()
    }

    /// Stops the server and starts it again.
    async fn restart(self) -> Self {
        self.log.close().await.unwrap();
        let Self { fixture, log, accounts, now } = self;
        drop((log, accounts));
        let log = fixture.log().await;
        let accounts = Accounts::of(&log, &fixture.config.accounts).await.unwrap();
        Self { fixture, log, accounts, now }
    }

    /// Closes the log and verifies it.
    async fn verified(self) -> VerifyReport {
        self.log.close().await.unwrap();
        let Self { fixture, log, accounts, .. } = self;
        drop((log, accounts));
        report(&fixture).await
    }
}

async fn report(fixture: &Fixture) -> VerifyReport {
    verify_dir(&fixture.config, VerifyOptions::default(), &|_, _| (), Cancel::new()).await.unwrap()
}

fn code<T>(result: Result<T, ServerError>) -> &'static str {
    result.err().map_or("none", |error| error.code())
}
