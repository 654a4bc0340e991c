//! Imports: each line exactly once, whatever happens in between.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::{
    io::Write as _,
    process::{Child, Stdio},
};

use common::{Place, Said, data, numbered, run, signal, text, until};
use flate2::{Compression, write::GzEncoder};

/// Everything in the log, as it was sent.
fn everything(place: &Place) -> Vec<String> {
    data(&place.run(&["export"]).with(0).out)
}

fn lines(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

fn finish(mut child: Child) -> Said {
    let mut status = None;
    until("the import's end", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let output = child.wait_with_output().unwrap();
    Said {
        code: status.unwrap().code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

#[test]
fn a_killed_server_loses_and_doubles_nothing() {
    let place = Place::new();
    let pin = place.init()["first_epoch_key"].as_str().unwrap().to_owned();
    let content = numbered(300_000);
    let file = text(&place.file("big.log", &content));
    let server = place.serve();
    let mut import = server.command(&["import", &file]);
    let import = import.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("some entries", || server.run(&["count", "source:big.log"]).out.trim().parse().unwrap_or(0) > 10_000);
    server.kill();
    let said = finish(import).with(1);
    assert!(said.err.contains("the same command goes on from there"), "{said:?}");

    let server = place.serve();
    let so_far: u64 = server.run(&["count", "source:big.log"]).with(0).out.trim().parse().unwrap();
    assert!((10_000..300_000).contains(&so_far), "{so_far}");
    let said = server.run(&["import", &file, "--json"]).with(0).json();
    assert_eq!(said["skipped"], so_far, "{said}");
    assert_eq!(said["accepted"], 300_000 - so_far, "{said}");
    let said = server.run(&["import", &file]).with(0);
    assert!(said.out.contains("0 lines, 0 accepted"), "{said:?}");
    server.run(&["verify", "--pin", &pin]).with(0);
    server.stop();
    assert!(everything(&place) == lines(&content), "some lines are missing, doubled or out of order");
    place.run(&["verify", "--pin", &pin]).with(0);
}

#[test]
fn a_file_that_grew_goes_on_and_another_one_starts_anew() {
    let place = Place::new();
    place.init();
    let first = numbered(20);
    let file = text(&place.file("app.log", &first));
    place.run(&["import", &file]).with(0);
    let grown = first.clone() + "appended é\nunfinished";
    place.file("app.log", &grown);
    let said = place.run(&["import", &file]).with(0);
    assert!(
        said.out.contains("20 lines were imported earlier") && said.out.contains("2 lines, 2 accepted"),
        "{said:?}"
    );
    assert_eq!(everything(&place), lines(&grown));

    // Rotated: the same name and first line, but not the same bytes.
    let other = first.lines().next().unwrap().to_owned() + "\nanother file\n";
    place.file("app.log", &other);
    let said = place.run(&["import", &file]).with(0);
    assert!(said.err.contains("not the one that was imported before"), "{said:?}");
    place.file("app.log", other.clone() + "and more\n");
    let said = place.run(&["import", &file]).with(0);
    assert!(said.out.contains("1 lines, 1 accepted") && said.err.is_empty(), "{said:?}");
    assert_eq!(everything(&place), [lines(&grown), lines(&other), lines("and more")].concat());

    // Under another source it is another import.
    let said = place.run(&["import", &file, "--source", "again"]).with(0);
    assert!(said.out.contains("3 lines, 3 accepted"), "{said:?}");
}

#[test]
fn packed_files_and_streams() {
    let place = Place::new();
    place.init();
    let content = numbered(7_000);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(content.as_bytes()).unwrap();
    let gzip = text(&place.file("a.log.gz", gzip.finish().unwrap()));
    let zstd = text(&place.file("b.log.zst", zstd::encode_all(content.as_bytes(), 1).unwrap()));
    place.run(&["import", &gzip, &zstd]).with(0);
    assert_eq!(place.run(&["count", "source:a.log"]).with(0).out.trim(), "7000");
    assert_eq!(place.run(&["count", "source:b.log"]).with(0).out.trim(), "7000");
    let said = place.run(&["import", &gzip, &zstd]).with(0);
    assert_eq!(said.out.matches("0 lines, 0 accepted").count(), 2, "{said:?}");

    let mut import = place.command(&["import", "-", "--source", "pipe"]);
    let mut import = import.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    import.stdin.take().unwrap().write_all(content.as_bytes()).unwrap();
    let said = finish(import).with(0);
    assert!(said.err.contains("can't be resumed") && said.out.contains("7,000 accepted"), "{said:?}");
    let xz = text(&place.file("c.log.xz", b"\xfd7zXZ\0more"));
    assert!(place.run(&["import", &xz]).with(1).err.contains("xz"));
    let directory = text(place.dir.path());
    assert!(place.run(&["import", &directory]).with(1).err.contains("directory"));
    assert_eq!(everything(&place).len(), 21_000);
}

#[test]
fn an_input_that_can_not_be_read_does_not_end_the_others() {
    let place = Place::new();
    place.init();
    let (one, two) = (text(&place.file("one.log", "one\n")), text(&place.file("two.log", "two\n")));
    let (nowhere, broken) =
        (text(&place.dir.path().join("nowhere.log")), text(&place.file("broken.gz", b"\x1f\x8b\x08")));
    let xz = text(&place.file("c.log.xz", b"\xfd7zXZ\0more"));
    let said = place.run(&["import", &nowhere, &one, &broken, &xz, &two]).with(1);
    for told in [&nowhere, &broken, &xz, "3 of 5 inputs"] {
        assert!(said.err.contains(told), "{told}: {said:?}");
    }
    assert_eq!(everything(&place), ["one", "two"]);
    // A wrong option is not the files' fault.
    let said = place.run(&["import", &one, &two, "--zone", "Europe/Nowhere"]).with(2);
    assert_eq!(said.err.lines().count(), 1, "{said:?}");

    let server = place.serve();
    let live = place.file("live.log", "three\n");
    let mut follow = server.command(&["import", "--follow", &xz, &text(&live)]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = || server.run(&["count", "source:live.log"]).out.trim().parse().unwrap_or(0);
    until("the first line", || count() == 1);
    std::fs::File::options().append(true).open(&live).unwrap().write_all(b"four\n").unwrap();
    until("the second line", || count() == 2);
    signal(&follow, "INT");
    let said = finish(follow).with(1);
    assert!(said.err.contains(&xz) && said.out.contains("2 accepted"), "{said:?}");
    server.stop();
}

#[test]
fn refused_lines_are_named_by_their_number_in_the_file() {
    let place = Place::new();
    place.init();
    let mut content = String::new();
    for n in 1..=6_000 {
        content += &match n {
            3 | 5_500 => "{\"n\":1,\"n\":2}\n".to_owned(),
            4 => "\n".to_owned(),
            5 => format!("{{\"n\":\"{}\"}}\n", "x".repeat(70_000)),
            _ => format!("{{\"n\":{n}}}\n"),
        };
    }
    let file = text(&place.file("app.json", &content));
    let rejects = place.dir.path().join("rejects");
    let server = place.serve();
    let said = server.run(&["import", &file, "--rejects", &text(&rejects)]).with(3);
    assert!(said.out.contains("6,000 lines, 5,996 accepted, 3 refused"), "{said:?}");
    for line in ["line 3 refused (duplicate_key)", "line 5 refused (too_large)", "line 5500 refused (duplicate_key)"] {
        assert!(said.out.contains(line), "{line}: {said:?}");
    }
    let rejects = std::fs::read_to_string(rejects).unwrap();
    assert_eq!(rejects.lines().map(str::len).collect::<Vec<_>>(), [13, 70_008, 13]);
    let bad = text(&place.file("bad.json", "{\"a\":1,\"a\":1}\n"));
    let said = server.run(&["import", &bad, "--json"]).with(3).json();
    assert_eq!((said["accepted"].as_u64(), said["refused"].as_u64()), (Some(0), Some(1)), "{said}");
    assert!(server.run(&["import", &bad]).with(0).out.contains("0 lines"));
    let said = server.run(&["import", &file, "--source", "sceau.audit"]).with(2);
    assert!(said.err.contains("sceau.audit"), "{said:?}");
    server.stop();
    assert!(place.run(&["import", &bad, "--source", "offline"]).with(3).out.contains("line 1 refused"));
}

#[test]
fn arrays_and_objects_over_several_lines() {
    let place = Place::new();
    place.init();
    let array = text(&place.file("array.json", "[\n {\"a\": 9007199254740993,\n  \"b\": \"]\"},\n {\"a\":2}, 7\n]\n"));
    let said = place.run(&["import", &array]).with(3);
    assert!(said.out.contains("2 accepted, 1 refused") && said.out.contains("line 3 refused"), "{said:?}");
    let pretty = text(&place.file("pretty.json", "{\n  \"c\": 1\n}\n{\n  \"c\": 2\n}\n"));
    place.run(&["import", &pretty]).with(0);
    let export = place.run(&["export"]).with(0).out;
    assert!(export.contains("\"a\": 9007199254740993,"), "{export}");
    assert_eq!(data(&export).len(), 4, "{export}");
    assert!(place.run(&["import", &array]).with(0).out.contains("0 lines"));
    let said = place.run(&["import", &pretty, "--format", "text", "--source", "as-text"]).with(0);
    assert!(said.out.contains("6 lines, 6 accepted"), "{said:?}");
}

#[test]
fn following_survives_rotation_and_truncation() {
    let place = Place::new();
    place.init();
    let path = place.file("live.log", "one\ntw");
    let server = place.serve();
    let mut follow = server.command(&["import", "--follow", &text(&path)]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = |wanted: u64| {
        until(&format!("{wanted} lines"), || {
            server.run(&["count", "source:live.log"]).out.trim().parse().ok() == Some(wanted)
        });
    };
    let append = |text: &str| {
        std::fs::File::options().append(true).open(&path).unwrap().write_all(text.as_bytes()).unwrap();
    };
    count(1);
    append("o\nthree\n");
    count(3);
    // Renamed, the old file still written to, then a new one under the old name.
    let mut old = std::fs::File::options().append(true).open(&path).unwrap();
    std::fs::rename(&path, place.dir.path().join("live.log.1")).unwrap();
    old.write_all(b"four\n").unwrap();
    place.file("live.log", "five\n");
    count(5);
    // Cut to nothing, then written again.
    std::fs::File::create(&path).unwrap();
    append("six\n");
    count(6);
    signal(&follow, "INT");
    let said = finish(follow).with(0);
    assert!(said.out.contains("6 accepted"), "{said:?}");
    server.stop();
    assert_eq!(everything(&place), ["one", "two", "three", "four", "five", "six"]);
}

#[test]
fn following_notices_a_file_that_was_written_anew_and_a_link_put_elsewhere() {
    let place = Place::new();
    place.init();
    let path = place.file("live.log", "one\ntwo\n");
    let link = |to: &std::path::Path| {
        let new = place.dir.path().join("new");
        std::os::unix::fs::symlink(to, &new).unwrap();
        std::fs::rename(new, place.dir.path().join("current")).unwrap();
    };
    link(&path);
    let server = place.serve();
    let current = text(&place.dir.path().join("current"));
    let mut follow = server.command(&["import", "--follow", "--source", "s", &current]);
    let follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = |wanted: usize| {
        until(&format!("{wanted} lines"), || {
            server.run(&["count", "source:s"]).out.trim().parse().ok() == Some(wanted)
        });
    };
    count(2);
    // Cut and written again in one go, with more than it had.
    let anew = "restart 0\nrestart 1\nrestart 2\n";
    std::fs::write(&path, anew).unwrap();
    count(5);
    // The same while no answer comes.
    server.signal("STOP");
    let again = numbered(40);
    std::fs::write(&path, &again).unwrap();
    server.signal("CONT");
    count(45);
    link(&place.file("other.log", "elsewhere\n"));
    count(46);
    signal(&follow, "INT");
    finish(follow).with(0);
    server.stop();
    assert_eq!(everything(&place), lines(&["one\ntwo\n", anew, &again, "elsewhere\n"].concat()));
}

#[test]
fn a_last_line_that_is_still_being_written() {
    let place = Place::new();
    place.init();
    let first = "{\"n\":1,\"text\":\"one\"}";
    // Even the first line: neither is it sent as text, nor does the file become another one by its end.
    let file = text(&place.file("app.json", &first[..10]));
    let said = place.run(&["import", &file]).with(0);
    assert!(said.err.contains("the last line of") && said.err.contains("is not finished yet"), "{said:?}");
    for (content, accepted, held) in [
        (first.to_owned(), 1, false),
        (format!("{first}\n"), 0, false),
        (format!("{first}\n{{\"n\":2,"), 0, true),
        (format!("{first}\n{{\"n\":2,\"m\":2}}\n{{\"n\":3"), 1, true),
        (format!("{first}\n{{\"n\":2,\"m\":2}}\n{{\"n\":3}}"), 1, false),
    ] {
        place.file("app.json", &content);
        let said = place.run(&["import", &file, "--json"]).with(0);
        assert_eq!(said.json()["accepted"], accepted, "{content}: {said:?}");
        assert_eq!(said.err.contains("not finished yet"), held, "{content}: {said:?}");
    }
    let entries = place.run(&["export"]).with(0).out;
    assert_eq!(data(&entries).len(), 3, "{entries}");

    // Text says nowhere that it is finished, so it is sent, and gone on with from there.
    let file = text(&place.file("app.log", "hal"));
    place.run(&["import", &file]).with(0);
    place.file("app.log", "half\nnext\n");
    place.run(&["import", &file]).with(0);
    assert_eq!(everything(&place)[3..], ["hal", "f", "next"]);
}

#[test]
fn following_waits_for_a_server_that_is_away() {
    let place = Place::new();
    place.init();
    let path = place.file("live.log", "one\n");
    let server = place.serve();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let follow = server.command(&["import", "--follow", &text(&path)]);
    let follow = { follow }.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let count = |server: &common::Server| server.run(&["count", "source:live.log"]).out.trim().parse().unwrap_or(0);
    until("the first line", || count(&server) == 1);
    server.kill();
    std::fs::File::options().append(true).open(&path).unwrap().write_all(b"two\n").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    let server = place.serve_at(&address);
    until("the second line", || count(&server) == 2);
    server.kill();
    std::fs::File::options().append(true).open(&path).unwrap().write_all(b"three\n").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(1));
    signal(&follow, "INT");
    let said = finish(follow).with(0);
    assert!(said.err.contains("no answer from") && said.err.contains("trying again"), "{said:?}");
    assert_eq!(everything(&place), ["one", "two"]);
}

#[test]
fn logs_of_others_come_out_as_counted() {
    let Some(logs) = common::shared("logs") else { return };
    let logs = text(&logs);
    let place = Place::new();
    place.init();
    let (ssh, apache) = (format!("{logs}/openssh_2k.log"), format!("{logs}/apache_access_10k.log"));
    place.run(&["import", &ssh, &apache, "--zone", "UTC"]).with(0);
    let count = |query: &str| place.run(&["count", query, "--json"]).with(0).json();
    let failed = count("source:openssh_2k.log AND \"Failed password\"");
    // 518 lines of their own, and two that stand for five each.
    assert_eq!((failed["count"].as_u64(), failed["occurrences"].as_u64()), (Some(520), Some(528)));
    assert_eq!(count("\"Failed password\" NOT \"message repeated\"")["count"], 518);
    assert_eq!(count("source:apache_access_10k.log")["count"], 10_000);
    assert_eq!(count("http.response.status_code:404")["count"], 213);
    let top = place.run(&["top", "source.ip", "source:apache_access_10k.log", "--json", "--limit", "1"]).with(0).json();
    assert_eq!((top["distinct"].as_u64(), top["values"][0]["value"].as_str()), (Some(1_753), Some("66.249.73.135")));
    assert_eq!(top["values"][0]["count"], 482);
    let failed = place.run(&["top", "source.ip", "\"Failed password\"", "--json"]).with(0).json();
    assert_eq!(failed["distinct"], 23);
    let said = run(&mut place.command(&["verify"])).with(0);
    assert!(said.out.contains("consistent: all"), "{said:?}");
}
