//! The same through `sceau import`: what a file holds must not hurt the one who imports it either.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
};

use flate2::{Compression, write::GzEncoder};

use crate::{
    Victim,
    common::{Said, signal, skip, text, until},
};

const MIB: usize = 1 << 20;
/// What an import may take, in MiB: it keeps a few batches of 4 MiB, whatever the file holds.
const MEMORY: u64 = 200;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Memory of a process at its most, in MiB, while it runs.
fn peak(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().trim_end_matches(" kB").parse::<u64>().ok().map(|kib| kib >> 10)
}

/// Runs an import to its end and looks at its memory on the way.
fn watched(command: &mut Command) -> Said {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (mut status, mut most) = (None, 0);
    until("the import's end", || {
        most = most.max(peak(&child).unwrap_or(0));
        status = child.try_wait().unwrap();
        status.is_some()
    });
    let output = child.wait_with_output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(!err.contains("panicked"), "{err}");
    assert!(most <= MEMORY, "the import took {most} MiB");
    Said { code: status.unwrap().code().unwrap_or(-1), out: String::from_utf8(output.stdout).unwrap(), err }
}

#[test]
fn long_lines_and_bombs_are_streamed() {
    let victim = Victim::new();
    let place = &victim.place;
    let import = |name: &str, more: &[&str], content: &[u8]| {
        let file = text(&place.file(name, content));
        watched(&mut victim.server.command(&[&["import", file.as_str()], more].concat()))
    };
    let long = |end: &[u8]| [b"first\n".as_slice(), &vec![b'x'; 100 * MIB], end].concat();
    for (name, content) in [("a.log", long(b"")), ("b.log", long(b"\nlast\n")), ("c.log.gz", gzip(&long(b"\nlast\n")))]
    {
        let said = import(name, &[], &content).with(3);
        assert!(said.out.contains("1 refused") && said.out.contains("line 2 refused (too_large)"), "{said:?}");
    }
    let object = [b"{\"a\":1}\n{\"a\":\"".as_slice(), &vec![b'x'; 100 * MIB], b"\"}\n{\"a\":3}\n"].concat();
    let said = import("d.json", &[], &object).with(3);
    assert!(said.out.contains("2 accepted, 1 refused"), "{said:?}");
    let array = [b"[{\"a\":1},{\"a\":[".as_slice(), &b"1,".repeat(20 * MIB), b"1]},{\"a\":3}]"].concat();
    let said = import("e.json", &[], &array).with(3);
    assert!(said.out.contains("2 accepted, 1 refused"), "{said:?}");

    // A gigabyte of zeros without a line's end, and one of empty lines.
    let mut zeros = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    let piece = vec![0; MIB];
    (0..1_024).for_each(|_| zeros.write_all(&piece).unwrap());
    let said = import("f.log.zst", &[], &zeros.finish().unwrap()).with(3);
    assert!(said.out.contains("1 lines, 0 accepted, 1 refused"), "{said:?}");
    let said = import("g.log.gz", &[], &gzip(&vec![b'\n'; MIB]).repeat(256)).with(0);
    assert!(said.out.contains("0 accepted"), "{said:?}");
    let said = import("h.json", &["--format", "json"], &b"[".repeat(10 * MIB)).with(0);
    assert!(said.out.contains("0 accepted"), "{said:?}");
    let said = import("i.json", &["--format", "json"], &b"{\"a\":".repeat(MIB)).with(0);
    assert!(said.err.contains("not finished yet"), "{said:?}");
    victim.survived();
}

#[test]
fn what_is_no_file_of_logs_is_said() {
    let victim = Victim::new();
    let place = &victim.place;
    let import = |file: &str| watched(&mut victim.server.command(&["import", file]));
    let good = gzip(&b"one\ntwo\n".repeat(100_000));
    for (name, content) in [
        ("cut.gz", good[..good.len() - 6].to_vec()),
        ("half.gz", good[..good.len() / 2].to_vec()),
        ("behind.gz", [good.as_slice(), b"garbage"].concat()),
        ("head.zst", b"\x28\xb5\x2f\xfd".to_vec()),
        // A window of 2 GiB.
        ("window.zst", vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x0b, 0x00, 0x00, b'x']),
        ("other.zip", b"PK\x03\x04....".to_vec()),
        ("other.bz2", b"BZh91AY".to_vec()),
    ] {
        let said = import(&text(&place.file(name, content))).with(1);
        // On a slow machine it tells how far it is before.
        let told: Vec<&str> = said.err.lines().filter(|line| !line.ends_with("events/s")).collect();
        assert!(told.first().is_some_and(|line| line.starts_with("sceau: ")) && told.len() <= 2, "{name}: {said:?}");
    }
    assert!(import(&text(place.dir.path())).with(1).err.contains("directory"));
    assert!(import("/no/such/file").with(1).err.contains("/no/such/file"));
    assert!(import("/proc/self/mem").code != 0);
    let secret = place.file("unreadable.log", "x\n");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o000)).unwrap();
    if File::open(&secret).is_ok() {
        skip("an unreadable file", "this user reads everything");
    } else {
        import(&text(&secret)).with(1);
    }
    let empty = import(&text(&place.file("empty.log", ""))).with(0);
    assert!(empty.out.contains("0 lines"), "{empty:?}");
    assert_eq!(import("/dev/null").with(0).out.matches("0 accepted").count(), 1);
    victim.survived();
}

/// An input without an end is read without growing, until somebody has enough.
#[test]
fn an_endless_input_can_be_stopped() {
    let victim = Victim::new();
    let zero = File::open("/dev/zero").unwrap();
    for arguments in [["import", "/dev/zero"], ["import", "-"]] {
        let mut command = victim.server.command(&arguments);
        let mut child =
            command.stdin(zero.try_clone().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let read = |child: &Child| {
            let io = fs::read_to_string(format!("/proc/{}/io", child.id())).unwrap_or_default();
            let line = io.lines().find_map(|line| line.strip_prefix("rchar: ").map(str::to_owned));
            line.and_then(|bytes| bytes.parse::<u64>().ok()).unwrap_or(0)
        };
        until("half a gigabyte read", || read(&child) > 512 << 20);
        let most = peak(&child).unwrap();
        assert!(most <= MEMORY, "{most} MiB");
        signal(&child, "INT");
        let mut status = None;
        until("the import's end", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        assert!(!status.unwrap().success());
    }
    victim.survived();
}
