//! The description is whole, is what the repository has, and holds for whatever any test is answered.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
    sync::LazyLock,
};

use axum::{
    http::{Method, header},
    response::Response,
};
use serde_json::Value;

use super::super::{access::Mounted, describe};
use crate::auth::{Permission, Role};

/// The description of all endpoints.
pub(super) static DOCUMENT: LazyLock<Value> = LazyLock::new(|| serde_json::to_value(describe::document()).unwrap());

/// Every operation: method, path, and what is said of it.
pub(super) fn operations() -> impl Iterator<Item = (String, &'static str, &'static Value)> {
    let paths = DOCUMENT["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (method.to_uppercase(), path.as_str(), operation))
    })
}

/// What an operation needs; `None`: nothing.
pub(super) fn permission(operation: &Value) -> Option<Permission> {
    let word = operation["x-permission"].as_str().expect("every operation says what it needs");
    let found = Permission::ALL.into_iter().find(|permission| permission.as_str() == word);
    assert!(found.is_some() || word == "none", "{word}");
    found
}

fn resolved(value: &'static Value) -> &'static Value {
    match value["$ref"].as_str() {
        Some(place) => DOCUMENT.pointer(place.trim_start_matches('#')).expect(place),
        None => value,
    }
}

/// Whether an answer is one that the description tells of. Every answer of every test comes past here.
pub(in crate::api) fn holds(method: &Method, response: &Response) {
    let Some(Mounted(path)) = response.extensions().get() else { return };
    let path = path.replace("{*", "{");
    let method = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let status = response.status().as_u16().to_string();
    let operation = DOCUMENT["paths"][&path].get(&method).expect("a mounted path is described");
    let described = operation["responses"].get(&status);
    let described = resolved(described.unwrap_or_else(|| panic!("{method} {path} answers {status}, undescribed")));
    let Some(kind) = response.headers().get(header::CONTENT_TYPE) else { return };
    let kind = kind.to_str().unwrap().split(';').next().unwrap();
    let kinds = described["content"].as_object();
    assert!(kinds.is_some_and(|kinds| kinds.contains_key(kind)), "{method} {path} answers {status} with {kind}");
}

/// Compares what is made with what the repository has, or puts it there.
fn compare(path: &str, made: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    if std::env::var_os("SCEAU_WRITE_DOCS").is_some() {
        std::fs::write(&file, made).unwrap();
    }
    assert!(std::fs::read_to_string(&file).unwrap() == made, "{path} is not as the code says: run `make openapi`");
}

#[test]
fn the_repository_has_this_description() {
    let json = describe::json(&describe::document()).unwrap();
    compare("docs/openapi.json", std::str::from_utf8(&json).unwrap());
}

#[test]
fn the_documents_have_this_table_of_permissions() {
    let mut table =
        String::from("| call | permission | administrator | analyst | auditor | ingest |\n|---|---|---|---|---|---|\n");
    let mut rows: Vec<_> = operations().collect();
    rows.sort_by_key(|(method, path, _)| (*path, method.clone()));
    for (method, path, operation) in rows {
        let needed = permission(operation);
        let cells: Vec<&str> = Role::ALL
            .into_iter()
            .map(|role| if needed.is_none_or(|needed| role.may(needed)) { "yes" } else { "–" })
            .collect();
        let word = needed.map_or("open", Permission::as_str);
        table.push_str(&format!("| `{method} {path}` | {word} | {} |\n", cells.join(" | ")));
    }
    let (begin, end) = ("<!-- permissions: made by `make openapi` -->\n", "<!-- /permissions -->");
    let text = include_str!("../../../../../docs/api.md");
    let (before, rest) = text.split_once(begin).expect("docs/api.md has a place for the table");
    let (_, after) = rest.split_once(end).expect("the table has an end");
    compare("docs/api.md", &format!("{before}{begin}{table}{end}{after}"));
}

#[test]
fn every_operation_says_all_that_is_needed() {
    assert_eq!(DOCUMENT["openapi"], "3.1.0");
    let tags: BTreeSet<&str> =
        DOCUMENT["tags"].as_array().unwrap().iter().map(|tag| tag["name"].as_str().unwrap()).collect();
    let mut ids = BTreeMap::new();
    for (method, path, operation) in operations() {
        let what = format!("{method} {path}");
        let id = operation["operationId"].as_str().expect(&what);
        assert!(ids.insert(id, what.clone()).is_none(), "{what} has the id {id} of another one");
        assert!(
            id.chars().all(|c| c.is_ascii_alphanumeric()) && id.starts_with(|c: char| c.is_ascii_lowercase()),
            "{id}"
        );
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5 && text.ends_with('.')), "{what}");
        let tag = operation["tags"].as_array().expect(&what);
        assert!(tag.len() == 1 && tags.contains(tag[0].as_str().unwrap()), "{what}: {tag:?}");
        let secured = permission(operation).is_some();
        assert_eq!(operation["security"].as_array().map(Vec::len), Some(if secured { 2 } else { 0 }), "{what}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(!secured || responses.contains_key("401") && responses.contains_key("403"), "{what}");
        assert!(responses.keys().any(|status| status.starts_with(['2', '3'])), "{what}");
        for (status, response) in responses {
            let response = resolved(response);
            assert!(response["description"].as_str().is_some_and(|text| !text.is_empty()), "{what} {status}");
            if status.starts_with(['4', '5']) && !["414", "431"].contains(&status.as_str()) {
                assert!(response["content"].get("application/problem+json").is_some(), "{what} {status}");
            }
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let name = parameter["name"].as_str().unwrap();
            assert!(parameter["description"].as_str().is_some_and(|text| !text.is_empty()), "{what} {name}");
            assert_eq!(
                parameter["required"],
                parameter["in"] == "path" || name == "field" && id == "topValues",
                "{what} {name}"
            );
            assert!(!parameter["schema"].to_string().contains("null"), "{what} {name}: {}", parameter["schema"]);
        }
        let named = path.matches('{').count();
        let given = operation["parameters"].as_array().into_iter().flatten().filter(|p| p["in"] == "path").count();
        assert_eq!(named, given, "{what}");
    }
    for tag in tags {
        assert!(operations().any(|(_, _, operation)| operation["tags"][0] == tag), "{tag} has no operation");
    }
}

/// Lists have a limit and a cursor of the same names and kinds, or are named here with the reason why they need none.
#[test]
fn lists_are_asked_for_in_one_way() {
    let lists = ["searchEvents", "listAlerts", "listRules", "listExceptions", "listUsers", "listTokens"];
    // Bounded by their limit alone: the most frequent values. By the index to go on from: entries.
    let others = ["topValues", "exportEntries"];
    // Bounded by the program: analyses, and the sessions that a user may have.
    let short = ["listAnalyses", "listSessions"];
    for (_, path, operation) in operations() {
        let id = operation["operationId"].as_str().unwrap();
        let named = |name: &str| {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            parameters.any(|parameter| parameter["name"] == name && parameter["in"] == "query")
        };
        assert_eq!(named("limit") && named("cursor"), lists.contains(&id), "{path}");
        assert!(!named("offset") && !named("page") && !named("size"), "{path}");
        assert_eq!(named("limit"), lists.contains(&id) || others.contains(&id), "{path}");
        assert!(!id.starts_with("list") || lists.contains(&id) || short.contains(&id), "{path} needs a limit");
        if lists.contains(&id) {
            let schema = &operation["responses"]["200"]["content"]["application/json"]["schema"];
            assert!(!resolved(schema)["properties"]["next_cursor"].is_null(), "{path}");
        }
    }
}

#[test]
fn nothing_refers_to_what_is_not_there() {
    fn walk(value: &Value, seen: &mut BTreeSet<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    match member.as_str() {
                        Some(place) if name == "$ref" => seen.extend([place.to_owned()]),
                        _ => walk(member, seen),
                    }
                }
            }
            Value::Array(members) => members.iter().for_each(|member| walk(member, seen)),
            _ => {}
        }
    }
    let mut seen = BTreeSet::new();
    walk(&DOCUMENT, &mut seen);
    for place in &seen {
        assert!(DOCUMENT.pointer(place.trim_start_matches('#')).is_some(), "{place}");
    }
    for (kind, part) in [("schemas", "schemas"), ("responses", "responses")] {
        for name in DOCUMENT["components"][kind].as_object().unwrap().keys() {
            assert!(seen.contains(&format!("#/components/{part}/{name}")), "{kind} {name} is used nowhere");
        }
    }
}
