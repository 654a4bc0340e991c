//! A server on a network: TLS, settings, limits of rate, the sandbox, and what its own log and its metrics tell.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
};

use common::{Place, Said, Server, TOKEN, http::Client, run, sceau, skip, text, until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// An authority and what it signs, in a directory.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(dir.join("ca.pem"), issuer.pem()).unwrap();
        let authority = Self { issuer, dir: dir.to_owned() };
        authority.sign();
        authority
    }

    /// Puts a new certificate and key into their files.
    fn sign(&self) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.at("cert.pem"), certificate.pem()).unwrap();
        fs::write(self.at("key.pem"), key.serialize_pem()).unwrap();
    }

    fn at(&self, name: &str) -> String {
        text(&self.dir.join(name))
    }
}

fn asking(server: &Server, trust: &[&str]) -> Said {
    run(server.command(&["count"]).args(trust))
}

/// The fingerprint that a server printed.
fn fingerprint(server: &Server) -> String {
    let line = server.said.iter().find_map(|line| line.strip_prefix("certificate: ")).unwrap();
    line.to_owned()
}

#[test]
fn a_certificate_is_checked_and_renewed_without_a_restart() {
    let place = Place::new();
    let dir = place.root.join("tls");
    fs::create_dir(&dir).unwrap();
    let authority = Authority::new(&dir);
    let (cert, key, ca) = (authority.at("cert.pem"), authority.at("key.pem"), authority.at("ca.pem"));
    let mut serving = place.serving("127.0.0.1:0");
    let server = place.serve_as(serving.args(["--tls-cert", &cert, "--tls-key", &key]));
    assert!(server.url.starts_with("https://127.0.0.1:"), "{:?}", server.said);
    let first = fingerprint(&server);
    asking(&server, &["--ca-file", &ca]).with(0);
    asking(&server, &["--tls-fingerprint", &first]).with(0);
    run(server.command(&["count"]).env("SCEAU_CA_FILE", &ca)).with(0);
    let said = asking(&server, &["--tls-fingerprint", &"0".repeat(64)]).with(1);
    assert!(said.err.contains("TLS") && said.err.contains(&first), "{said:?}");
    asking(&server, &["--tls-fingerprint", "odd"]).with(2);
    let stranger = place.root.join("stranger");
    fs::create_dir(&stranger).unwrap();
    let said = asking(&server, &["--ca-file", &Authority::new(&stranger).at("ca.pem")]).with(1);
    assert!(said.err.contains("TLS"), "{said:?}");

    authority.sign();
    server.signal("HUP");
    until("the new certificate", || asking(&server, &["--tls-fingerprint", &first]).code == 1);
    asking(&server, &["--ca-file", &ca]).with(0);
    fs::write(&key, "no key").unwrap();
    server.signal("HUP");
    until("the refusal of a bad one", || place.log().contains("the former one stays"));
    asking(&server, &["--ca-file", &ca]).with(0);
    server.stop();
    assert!(place.log().contains("a new certificate is presented"));
}

#[test]
fn a_self_signed_certificate_is_kept_and_opens_the_network() {
    let place = Place::new();
    let serve = || place.serve_as(place.serving("127.0.0.1:0").arg("--tls-self-signed"));
    let server = serve();
    let first = fingerprint(&server);
    let lines = text(&place.file("lines", common::numbered(100)));
    server.run(&["import", &lines, "--tls-fingerprint", &first]).with(0);
    let said = asking(&server, &["--tls-fingerprint", &first]).with(0);
    assert!(said.out.contains("100"), "{said:?}");
    asking(&server, &["--ca-file", &text(&place.keys().join("tls.crt"))]).with(0);
    server.stop();
    let server = serve();
    assert_eq!(fingerprint(&server), first);
    server.stop();
    place.run(&["verify"]).with(0);
    let refused = place.run(&["serve", "--listen", "0.0.0.0:0"]).with(2);
    assert!(refused.err.contains("--tls-self-signed"), "{refused:?}");
    place.serve_as(place.serving("0.0.0.0:0").arg("--tls-self-signed")).stop();
}

#[test]
fn a_server_is_told_everything_by_a_file() {
    let place = Place::new();
    let token = place.file("token", format!("{TOKEN}\n"));
    let said = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nbootstrap_token_file = {token:?}\n[store]\ndata_dir = {:?}\n[keys]\ndir = {:?}\n\
         [log]\nformat = \"json\"\n[rates]\naddress = 1\naddress_burst = 3\n",
        place.data(),
        place.keys()
    );
    let file = text(&place.file("sceau.toml", said));
    let errors = fs::File::create(place.root.join("server.log")).unwrap();
    let mut serving = sceau();
    serving.args(["serve", "--config", &file]).stdout(std::process::Stdio::piped()).stderr(errors);
    let server = place.serve_as(&mut serving);
    let mut client = Client::connect(&server.url).unwrap();
    let answers: Vec<_> = (0..12).map(|_| client.get("/api/v1/events/count").unwrap()).collect();
    assert_eq!(answers[0].status, 200);
    let refused = answers.iter().find(|answer| answer.status == 429).expect("one comes too fast");
    assert_eq!((&refused.json()["code"], refused.header("retry-after")), (&"rate_limited".into(), Some("1")));
    // Sending is counted apart, and probes not at all.
    let json = [("content-type", "application/json")];
    for _ in 0..12 {
        assert_eq!(client.send("POST", "/api/v1/events", &json, b"{\"a\":1}").unwrap().status, 200);
        assert_eq!(client.get("/healthz").unwrap().status, 200);
    }
    server.stop();
    let log = place.log();
    assert!(log.lines().all(|line| line.starts_with('{')) && log.contains("sceau.toml"), "{log}");

    let check = |file: &str| run(sceau().args(["config", "check", file]));
    assert!(check(&file).with(0).out.contains("good"));
    let shown = run(sceau().args(["config", "show", "--config", &file]).env("SCEAU_RULES", "/r")).with(0).out;
    for line in ["address = 1  # ", "rules = \"/r\"  # SCEAU_RULES", "queries = 8  # default", "# days is not set"] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
    assert!(!shown.contains(TOKEN));
    let wrong = text(&place.file("wrong.toml", "[server]\n\nlisten_on = \"127.0.0.1:1\"\n"));
    let said = check(&wrong).with(2);
    assert!(said.err.contains("wrong.toml:3: ") && said.err.contains("is server.listen meant?"), "{said:?}");
    check("/nowhere/sceau.toml").with(1);
}

#[test]
fn the_sandbox_keeps_a_server_from_files_elsewhere() {
    let rule = "title: Elsewhere\nid: 5a1f8f0e-5f3c-4a51-9b0e-3f5a5f5b1c77\nlogsource:\n  product: test\ndetection:\n  \
                selection:\n    event.action: never\n  condition: selection\nlevel: low\n";
    let mut seen = Vec::new();
    for further in [&[][..], &["--no-landlock"]] {
        let place = Place::new();
        let rules = place.root.join("rules");
        fs::create_dir(&rules).unwrap();
        let server = place.detect(&[&["--rules", rules.to_str().unwrap()][..], further].concat());
        if further.is_empty() && place.log().contains("no Landlock") {
            skip("the sandbox of a server", "this kernel has no Landlock");
            return;
        }
        let elsewhere = place.file("elsewhere.yml", rule);
        std::os::unix::fs::symlink(&elsewhere, rules.join("link.yml")).unwrap();
        let mut client = Client::connect(&server.url).unwrap();
        seen.push(client.send("POST", "/api/v1/rules/reload", &[], b"").unwrap().status);
        // What it needs, it has.
        let json = [("content-type", "application/json")];
        assert_eq!(client.send("POST", "/api/v1/events", &json, b"{\"a\":1}").unwrap().status, 200);
        server.stop();
        assert_eq!(place.log().contains("Landlock holds this server"), further.is_empty());
        assert_eq!(place.log().contains("link.yml: Permission denied"), further.is_empty());
        place.run(&["verify"]).with(0);
    }
    assert_eq!(seen, [500, 200], "a rule that lies elsewhere is read without the sandbox only");
}

#[test]
fn no_secret_is_in_the_servers_own_log() {
    for format in ["text", "json"] {
        let place = Place::new();
        let server =
            place.serve_as(place.serving("127.0.0.1:0").args(["--log-level", "trace", "--log-format", format]));
        let mut client = Client::connect(&server.url).unwrap();
        let hidden = "hidden-0123456789";
        let headers = [
            ("Cookie", "__Host-sceau=hidden-0123456789; __Secure-sceau-refresh=srt_hidden-0123456789"),
            ("X-Forwarded-For", "192.0.2.1"),
        ];
        for path in ["/api/v1/events/count", "/metrics", "/nowhere"] {
            client.send("GET", path, &headers, b"").unwrap();
        }
        let login = format!("{{\"user\":\"a\",\"password\":\"{hidden}\"}}");
        let json = [("content-type", "application/json")];
        client.send("POST", "/api/v1/session", &json, login.as_bytes()).unwrap();
        client.send("POST", "/api/v1/events", &json, login.as_bytes()).unwrap();
        let mut stranger = server.command(&["count"]);
        run(stranger.env("SCEAU_TOKEN", hidden)).with(1);
        server.stop();
        let server = place.serve_as(place.serving("127.0.0.1:0").args(["--log-level", "trace", "--tls-self-signed"]));
        asking(&server, &["--tls-fingerprint", &fingerprint(&server)]).with(0);
        server.stop();
        let log = place.log();
        assert!(log.to_ascii_lowercase().contains("trace"), "nothing is logged at that level");
        assert!(!log.contains(TOKEN) && !log.contains(hidden), "a secret is in the log");
        for name in ["log.key", "mac.key", "tls.key"] {
            let key = fs::read_to_string(place.keys().join(name)).unwrap();
            for line in key.lines().filter(|line| line.len() > 20 && !line.starts_with("-----")) {
                assert!(!log.contains(line), "{name} is in the log");
            }
        }
    }
}

/// The names of metrics in a text.
fn metrics(text: &str) -> std::collections::BTreeSet<String> {
    let part = |character: char| !(character.is_ascii_alphanumeric() || character == '_');
    text.split(part).filter(|word| word.starts_with("sceau_") && !word.ends_with('_')).map(str::to_owned).collect()
}

#[test]
fn every_metric_is_described_and_alerts_use_no_other() {
    let place = Place::new();
    let server = place.detect(&["--tls-self-signed"]);
    asking(&server, &["--tls-fingerprint", &fingerprint(&server)]).with(0);
    server.stop();
    let server = place.detect(&[]);
    let mut client = Client::connect(&server.url).unwrap();
    let json = [("content-type", "application/json")];
    client.send("POST", "/api/v1/events", &json, b"{\"a\":1}").unwrap();
    let shown = String::from_utf8(client.get("/metrics").unwrap().body).unwrap();
    server.stop();
    let described = metrics(include_str!("../../../docs/metrics.md"));
    let exposed = shown.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let missing: Vec<_> = exposed.filter(|name| !described.contains(*name)).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:?}");
    for name in metrics(include_str!("../../../packaging/alerts.yml")) {
        let name = name.strip_suffix("_bucket").unwrap_or(&name);
        assert!(described.contains(name), "{name} of packaging/alerts.yml is not in docs/metrics.md");
    }
    assert!(shown.contains("sceau_source_events_total{source=\"http\"} 1"), "{shown}");
}
