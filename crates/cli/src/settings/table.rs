//! Every setting of the server: its name, where else it can be said, and how it is written.

use toml::Value;

use super::{
    Settings,
    forms::{
        Address, Bytes, Count, Database, Entries, Every, FORWARDED, Form as _, Hidden, LOG_FORMAT, List, Optional,
        Path, Switch, Text, Time,
    },
};

/// A setting.
pub struct Setting {
    /// Its name: section and key.
    pub key: &'static str,
    /// The variable of the environment, where it is not made of the name.
    named: Option<&'static str>,
    /// The option of `sceau serve`, if there is one.
    pub option: Option<&'static str>,
    /// Whether it must not stand in a file that is copied around.
    pub secret: bool,
    /// Takes a value over, or says what it must be.
    pub set: fn(&mut Settings, &Value) -> Result<(), String>,
    /// The value, as it would be written in the file; `None` if there is none.
    pub show: fn(&Settings) -> Option<Value>,
}

impl Setting {
    /// The variable of the environment that says it.
    pub fn variable(&self) -> String {
        self.named.map_or_else(|| format!("SCEAU_{}", self.key.replace('.', "_").to_ascii_uppercase()), str::to_owned)
    }

    /// Its section and its key in there.
    pub fn parts(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }

    const fn named(mut self, variable: &'static str) -> Self {
        self.named = Some(variable);
        self
    }

    const fn option(mut self, option: &'static str) -> Self {
        self.option = Some(option);
        self
    }

    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

macro_rules! setting {
    ($key:literal, $form:expr, $($field:tt)+) => {
        Setting {
            key: $key,
            named: None,
            option: None,
            secret: false,
            set: |settings, given| {
                settings.$($field)+ = $form.read(given)?;
                Ok(())
            },
            show: |settings| $form.show(&settings.$($field)+),
        }
    };
}

/// The most seconds of a limit of time.
const LONG: u64 = 24 * 3_600;
/// The most of what is only bounded by reason.
const MANY: u64 = u32::MAX as u64;

/// All of them, section by section.
pub const SETTINGS: &[Setting] = &[
    setting!("server.listen", Address, listen).option("--listen"),
    setting!("server.insecure_http", Switch, insecure_http).option("--insecure-http"),
    setting!("server.trusted_proxies", List, trusted_proxies).option("--trusted-proxy"),
    setting!("server.forwarded_header", FORWARDED, forwarded_header).option("--forwarded-header"),
    setting!("server.standby", Switch, standby).option("--standby"),
    setting!("server.origin", Optional(Text), origin).option("--origin"),
    setting!("server.bootstrap_token", Optional(Hidden), bootstrap_token).named("SCEAU_BOOTSTRAP_TOKEN").secret(),
    setting!("server.bootstrap_token_file", Optional(Path), bootstrap_token_file),
    setting!("server.landlock", Switch, landlock).option("--no-landlock"),
    setting!("tls.cert", Optional(Path), tls_cert).option("--tls-cert"),
    setting!("tls.key", Optional(Path), tls_key).option("--tls-key"),
    setting!("tls.self_signed", Switch, tls_self_signed).option("--tls-self-signed"),
    setting!("tls.names", List, tls_names).option("--tls-name"),
    setting!("store.data_dir", Path, data_dir).named("SCEAU_DATA_DIR").option("--data-dir"),
    setting!("store.uri", Optional(Database), uri).named("SCEAU_STORE").option("--store"),
    setting!("store.password", Optional(Hidden), password).secret(),
    setting!("store.password_file", Optional(Path), password_file).option("--store-password-file"),
    setting!("store.segment_entries", Entries, segment_entries).option("--segment-entries"),
    setting!("store.min_free", Optional(Bytes), min_free).named("SCEAU_MIN_FREE").option("--min-free"),
    setting!("keys.dir", Path, key_dir).named("SCEAU_KEY_DIR").option("--key-dir"),
    setting!("keys.seal_after", Time(1, 3_600), seal_after).option("--seal-after"),
    setting!("ingest.parsers", Optional(Path), parsers).option("--parsers"),
    setting!("ingest.body", Bytes, limits.body),
    setting!("ingest.inflated", Bytes, limits.inflated),
    setting!("ingest.bodies", Bytes, limits.bodies),
    setting!("ingest.queue", Bytes, limits.queue),
    setting!("ingest.idempotency_keys", Count(1, MANY), limits.idempotency_keys),
    setting!("ingest.commit_bytes", Bytes, limits.commit_bytes),
    setting!("ingest.commit_entries", Count(1, 1 << 20), limits.commit_entries),
    setting!("ingest.rest_time", Time(1, LONG), limits.rest_time),
    setting!("ingest.body_time", Time(1, LONG), limits.body_time),
    setting!("limits.connections", Count(1, 1 << 20), limits.connections),
    setting!("limits.queries", Count(1, 1_024), limits.queries),
    setting!("limits.query_time", Time(1, LONG), limits.query_time),
    setting!("limits.answers", Bytes, limits.answers),
    setting!("limits.handshake_time", Time(1, LONG), limits.handshake_time),
    setting!("limits.header_time", Time(1, LONG), limits.header_time),
    setting!("limits.write_time", Time(1, LONG), limits.write_time),
    setting!("limits.shutdown_time", Time(1, LONG), limits.shutdown_time),
    setting!("rates.address", Count(0, MANY), rates.address.per_second),
    setting!("rates.address_burst", Count(1, MANY), rates.address.burst),
    setting!("rates.token", Count(0, MANY), rates.token.per_second),
    setting!("rates.token_burst", Count(1, MANY), rates.token.burst),
    setting!("rates.ingest_address", Count(0, MANY), rates.ingest_address.per_second),
    setting!("rates.ingest_address_burst", Count(1, MANY), rates.ingest_address.burst),
    setting!("rates.ingest_token", Count(0, MANY), rates.ingest_token.per_second),
    setting!("rates.ingest_token_burst", Count(1, MANY), rates.ingest_token.burst),
    setting!("detection.enabled", Switch, detection).option("--no-detection"),
    setting!("detection.rules", Optional(Path), rules).named("SCEAU_RULES").option("--rules"),
    setting!("retention.days", Optional(Count(1, MANY)), retain_days)
        .named("SCEAU_RETAIN_DAYS")
        .option("--retain-days"),
    setting!("retention.bytes", Optional(Bytes), retain_bytes).named("SCEAU_RETAIN_BYTES").option("--retain-bytes"),
    setting!("verify.every", Every, verify_every).option("--verify-every"),
    setting!("verify.all_every", Time(1, 366 * 86_400), verify_all_every).option("--verify-all-every"),
    setting!("verify.share", Count(1, 100), verify_share).option("--verify-share"),
    setting!("log.format", LOG_FORMAT, log_format).option("--log-format"),
    setting!("log.level", Text, log_level).option("--log-level"),
];

/// The setting of a name.
pub fn setting(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

/// The variables that are no settings of the server.
const FURTHER: [&str; 5] = ["SCEAU_CONFIG", "SCEAU_URL", "SCEAU_TOKEN", "SCEAU_CA_FILE", "SCEAU_TLS_FINGERPRINT"];

/// Whether a variable with our prefix is none of ours, and which may be meant.
pub fn unknown_variable(name: &str) -> Option<String> {
    let known: Vec<String> =
        SETTINGS.iter().map(Setting::variable).chain(FURTHER.iter().map(|name| (*name).to_owned())).collect();
    if known.iter().any(|known| known == name) {
        return None;
    }
    let nearest = known.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
    let near = nearest.filter(|known| strsim::damerau_levenshtein(known, name) <= 3);
    Some(near.map_or_else(String::new, |near| format!("; is {near} meant?")))
}
