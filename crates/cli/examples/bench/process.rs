//! What a process cost, read from /proc.

use std::{fs, io, path::Path, process::Child, time::Duration};

/// Linux counts CPU time for user space in hundredths of a second, whatever the kernel's own tick is.
const TICK: Duration = Duration::from_millis(10);

/// A number from `/proc/PID/stat`, counted from behind the name, which may hold anything.
fn stat(pid: u32) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let behind = text.rsplit_once(')').map_or("", |(_, behind)| behind);
    Ok(behind.split_whitespace().map(str::to_owned).collect())
}

/// CPU time of a process so far, user and system.
pub fn cpu(pid: u32) -> io::Result<Duration> {
    let fields = stat(pid)?;
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u32>().ok()).unwrap_or(0);
    Ok(TICK * (ticks(11) + ticks(12)))
}

/// CPU time of a process's living threads, to the nanosecond; for what is too short for [`cpu`].
pub fn cpu_of_threads(pid: u32) -> io::Result<Duration> {
    let mut total = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        total += text.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(total))
}

/// The most memory that a process ever held.
pub const PEAK: &str = "VmHWM:";
/// What it holds now.
pub const NOW: &str = "VmRSS:";

/// Resident memory in bytes.
pub fn memory(pid: u32, which: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(which)).unwrap_or_default();
    Ok(line.split_whitespace().next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0) * 1024)
}

/// How many processes wanted to run, over the last minutes.
pub fn load() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/loadavg")?.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// Waits for a process to end; the CPU time that it took, and its exit code.
pub fn finish(mut child: Child) -> io::Result<(Duration, Option<i32>)> {
    let pid = child.id();
    // An ended process keeps its numbers until it is waited for.
    while stat(pid)?.first().is_none_or(|state| state != "Z") {
        std::thread::sleep(Duration::from_millis(20));
    }
    let cpu = cpu(pid)?;
    Ok((cpu, child.wait()?.code()))
}

/// Bytes that a directory takes on the disk.
pub fn disk(path: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let found = entry.metadata()?;
        total += if found.is_dir() { disk(&entry.path())? } else { found.len() };
    }
    Ok(total)
}
