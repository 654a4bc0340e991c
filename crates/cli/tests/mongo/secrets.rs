//! The password of the database is in nothing that anybody sees.

use std::{fs, net::TcpListener, process::Command};

use crate::{
    common::{Place, Said, http::Client, run_within, sceau},
    database::{ADMIN, Database, PASSWORD, uri},
    log::{LONG, Load, Log},
};

const WRONG: &str = "hush-wr0ng-also-a-secret";

fn silent(what: &str, said: &Said) {
    for secret in [PASSWORD, WRONG] {
        assert!(!said.out.contains(secret) && !said.err.contains(secret), "{what}: {said:#?}");
    }
}

/// Fails, says so, and says nothing else.
fn fails(what: &str, command: &mut Command) -> Said {
    let said = run_within(command.env("RUST_LOG", "trace"), LONG);
    assert!(said.code != 0 && !said.err.is_empty(), "{what}: {said:#?}");
    silent(what, &said);
    said
}

#[test]
fn errors_do_not_tell_the_password() {
    let Some(database) = Database::start("errors about passwords for MongoDB") else { return };
    let log = Log::new(&database);
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let with = |uri: &str, password: &str| uri.replacen('@', &format!(":{password}@"), 1);
    for args in [&["verify"][..], &["serve", "--listen", "127.0.0.1:0"], &["export"], &["token", "--name", "x"]] {
        let what = args[0];
        fails(what, log.command(args).env("SCEAU_STORE_PASSWORD", WRONG));
        fails(what, log.command(args).env("SCEAU_STORE", with(&log.uri, WRONG)));
        let away = format!("{}&serverSelectionTimeoutMS=200", uri(ADMIN, nobody));
        let said = fails(what, log.command(args).env("SCEAU_STORE", &away));
        assert!(said.err.contains("127.0.0.1"), "it is not said what can't be reached: {said:#?}");
        fails(what, log.command(args).env("SCEAU_STORE", with(&away, PASSWORD)));
        let mut given = log.command(args);
        fails(what, given.env_remove("SCEAU_STORE").arg("--store").arg(with(&away, PASSWORD)));
    }
    for odd in
        ["mongodb://root:{}@", "mongodb://root:{}@h:1:2/", "mongodb://root:{}@127.0.0.1/sceau?w=", "http://root:{}@h/"]
    {
        let odd = odd.replace("{}", PASSWORD);
        fails(&odd, log.command(&["verify"]).env("SCEAU_STORE", &odd));
        fails(&odd, log.command(&["verify", "--store", &odd]).env_remove("SCEAU_STORE"));
        fails(&odd, log.command(&["verify", "--stor", &odd]).env_remove("SCEAU_STORE"));
    }
    let mut help = sceau();
    help.args(["serve", "--help"]).env("SCEAU_STORE", with(&log.uri, PASSWORD)).env("SCEAU_STORE_PASSWORD", PASSWORD);
    silent("help", &run_within(&mut help, LONG).with(0));
}

#[test]
fn a_running_server_does_not_tell_the_password() {
    let Some(database) = Database::start("passwords of running servers on MongoDB") else { return };
    let (log, mut load) = (Log::new(&database), Load::default());
    let file = log.place.file("password", format!("{PASSWORD}\n"));
    let mut serve = log.serving();
    serve.args(["--log-level", "trace", "--store-password-file"]).arg(&file).env_remove("SCEAU_STORE_PASSWORD");
    let mut server = log.place.serve_as(&mut serve);
    let mut client = Client::connect(&server.url).unwrap();
    assert_eq!(load.send(&mut client, 3, true).unwrap(), 200);
    for path in ["/metrics", "/readyz", "/api/v1/integrity", "/api/v1/events/count"] {
        let body = String::from_utf8(client.get(path).unwrap().body).unwrap();
        assert!(!body.contains(PASSWORD), "{path}: {body}");
    }
    for file in ["cmdline", "environ"] {
        let text = fs::read(format!("/proc/{}/{file}", server.id())).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains(PASSWORD), "it is in {file}");
    }
    assert!(!server.said.iter().any(|line| line.contains(PASSWORD)));
    server.said.clear();
    server.stop();
    assert!(!log.place.log().contains(PASSWORD), "it is in what the server logs");
    nowhere_in(&log.place);
}

/// It is in no file beside the one that holds it.
fn nowhere_in(place: &Place) {
    let mut left = vec![place.dir.path().to_owned()];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|file| file.unwrap().path()));
        } else if path.file_name().unwrap() != "password" {
            let text = fs::read(&path).unwrap();
            assert!(!String::from_utf8_lossy(&text).contains(PASSWORD), "it is in {}", path.display());
        }
    }
}
