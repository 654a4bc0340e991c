use std::io::Write as _;

use super::*;

/// The settings of a file with that text, some variables and some options.
fn told(text: &str, variables: &[(&str, &str)], options: Options) -> Result<Told, CliError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    Told::read(options, Some(file.path()), variable)
}

#[test]
fn options_win_over_the_environment_and_that_over_the_file() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\n[retention]\ndays = 1\nbytes = \"1G\"\n";
    let variables = [("SCEAU_SERVER_LISTEN", "127.0.0.1:2"), ("SCEAU_RETAIN_DAYS", "2")];
    let options = vec![("server.listen", Value::from("127.0.0.1:3"))];
    let told = told(file, &variables, options).unwrap();
    let config = told.config().unwrap();
    assert_eq!(config.listen.port(), 3);
    assert_eq!(config.retention, Retention { days: Some(2), bytes: Some(1 << 30) });
    assert_eq!(told.origin("server.listen"), Origin::Option("--listen"));
    assert_eq!(told.origin("retention.days"), Origin::Environment("SCEAU_RETAIN_DAYS".into()));
    assert!(matches!(told.origin("retention.bytes"), Origin::File(_, 5)));
    assert_eq!(told.origin("retention.bytes").to_string().rsplit(':').next(), Some("5"));
    assert_eq!(told.origin("log.level"), Origin::Default);
}

#[test]
fn what_is_wrong_is_told_with_where_it_was_said() {
    let wrong = |text: &str, variables: &[(&str, &str)], options: Options| {
        let error = told(text, variables, options).and_then(|told| told.config().map(|_| ())).unwrap_err();
        assert_eq!(error.code(), 2, "{error}");
        error.to_string()
    };
    let error = wrong("[limits]\nqueries = 0\n", &[], Vec::new());
    assert!(error.contains(":2: limits.queries must be a number"), "{error}");
    let error = wrong("", &[("SCEAU_LIMITS_QUERIES", "x")], Vec::new());
    assert!(error.starts_with("SCEAU_LIMITS_QUERIES must be a number"), "{error}");
    let error = wrong("", &[], vec![("keys.seal_after", Value::from("4000"))]);
    assert!(error.starts_with("--seal-after must be a time"), "{error}");
    let error = wrong("[server]\ntrusted_proxies = [\"nobody\"]", &[], Vec::new());
    assert!(error.contains(":2: server.trusted_proxies: \"nobody\""), "{error}");
    for (text, told) in [
        ("[tls]\ncert = \"c\"", "tls.key"),
        ("[tls]\nkey = \"k\"", "tls.cert"),
        ("[tls]\nnames = [\"a\"]", "tls.self_signed"),
        ("[tls]\ncert = \"c\"\nkey = \"k\"\nself_signed = true", "either"),
        ("[store]\nuri = \"mongodb://a:hidden@h/d\"", "password_file"),
        ("[store]\nuri = \"mongodb://h/d\"\ndata_dir = \"/d\"", "a log is in one of them"),
    ] {
        let error = wrong(text, &[], Vec::new());
        assert!(error.contains(told) && !error.contains("hidden"), "{error}");
    }
}

#[test]
fn the_nearer_place_of_the_log_counts() {
    let at = |text: &str, variables: &[(&str, &str)], options: Options| {
        told(text, variables, options).unwrap().place().unwrap().to_string()
    };
    let directory = || vec![("store.data_dir", Value::from("/option"))];
    let file = "[store]\nuri = \"mongodb://h/d\"\n";
    assert_eq!(at("", &[], Vec::new()), DATA_DIR);
    assert_eq!(at(file, &[], Vec::new()), "mongodb://h/d");
    assert_eq!(at(file, &[("SCEAU_DATA_DIR", "/d")], Vec::new()), "/d");
    assert_eq!(at(file, &[("SCEAU_STORE", "mongodb://i/d")], directory()), "/option");
    let both = told("", &[("SCEAU_DATA_DIR", "/d"), ("SCEAU_STORE", "mongodb://h")], Vec::new()).unwrap();
    assert!(both.place().unwrap_err().to_string().contains("--data-dir"));
}

#[test]
fn secrets_come_from_files_or_the_environment_and_are_never_shown() {
    let mut secret = tempfile::NamedTempFile::new().unwrap();
    secret.write_all(b"from-a-file-of-its-own\n").unwrap();
    let text = format!("[server]\nbootstrap_token_file = {:?}\n", secret.path().to_str().unwrap());
    let token = |told: &Told| told.config().unwrap().bootstrap_token.map(|token| token.expose().to_owned());
    assert_eq!(token(&told(&text, &[], Vec::new()).unwrap()).as_deref(), Some("from-a-file-of-its-own"));
    let variables = [("SCEAU_BOOTSTRAP_TOKEN", "hidden-in-the-environment"), ("SCEAU_STORE", "mongodb://a:hidden@h")];
    let told = told(&text, &variables, Vec::new()).unwrap();
    assert_eq!(token(&told).as_deref(), Some("hidden-in-the-environment"), "it is nearer than the file");
    let shown: Vec<String> = told.all().map(|(_, value, origin)| format!("{value:?} {origin}")).collect();
    let shown = shown.join("\n");
    assert!(!shown.contains("hidden") && shown.contains("***"), "{shown}");
    assert!(!format!("{told:?}").contains("hidden"));
}

#[test]
fn rust_log_wins_over_every_level() {
    let told = told("", &[("RUST_LOG", "trace")], vec![("log.level", Value::from("warn"))]).unwrap();
    assert_eq!(
        (told.settings.log_level.as_str(), told.origin("log.level").to_string().as_str()),
        ("trace", "RUST_LOG")
    );
}

/// The example says every setting with its default, and those that have none in a comment.
#[test]
fn the_example_says_the_defaults() {
    let text = include_str!("../../../../docs/sceau.toml");
    let example = told(text, &[], Vec::new()).unwrap();
    let defaults = Settings::default();
    for (setting, value, origin) in example.all() {
        let (_, key) = setting.parts();
        assert_eq!(value, (setting.show)(&defaults), "{}", setting.key);
        let is_said = matches!(origin, Origin::File(..)) || text.contains(&format!("\n# {key} = "));
        // What has no default is there as a comment; secrets are not in it at all.
        assert!(is_said != setting.secret, "{} is not in the example", setting.key);
    }
    let uncommented = |line: &'static str| line.strip_prefix("# ").filter(|rest| is_assignment(rest)).unwrap_or(line);
    let all: Vec<&str> = text.lines().map(uncommented).collect();
    SettingsFile::all_known(&all.join("\n")).unwrap();
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(key, _)| !key.contains(' '))
}

#[test]
fn each_setting_has_a_name_a_variable_and_an_option_of_its_own() {
    let mut seen = std::collections::HashSet::new();
    for setting in SETTINGS {
        let (section, key) = setting.parts();
        assert!(!section.is_empty() && !key.is_empty(), "{}", setting.key);
        for name in [Some(setting.key.to_owned()), Some(setting.variable()), setting.option.map(str::to_owned)] {
            assert!(name.is_none_or(|name| seen.insert(name)), "{}", setting.key);
        }
        assert!(table::unknown_variable(&setting.variable()).is_none());
    }
    assert!(table::unknown_variable("SCEAU_DATADIR").is_some_and(|meant| meant.contains("SCEAU_DATA_DIR")));
}
