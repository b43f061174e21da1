//! Metrics of this process from `/proc`, if the operating system has it.

use std::fmt::Write as _;
use std::fs;

/// Adds memory, open files and CPU time to a text of metrics. Adds nothing that cannot be read.
pub(crate) fn write(text: &mut String) {
    if let Some(bytes) = resident_bytes() {
        metric(text, "process_resident_memory_bytes", "gauge", "Memory in use", "", bytes as f64);
    }
    if let Some(count) = open_files() {
        metric(text, "process_open_fds", "gauge", "Files and sockets open", "", count as f64);
    }
    if let Some(seconds) = cpu_seconds() {
        metric(text, "process_cpu_seconds", "counter", "CPU time used", "_total", seconds);
    }
}

fn metric(text: &mut String, name: &str, kind: &str, help: &str, suffix: &str, value: f64) {
    let _ = write!(text, "# HELP {name} {help}.\n# TYPE {name} {kind}\n{name}{suffix} {value}\n");
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

fn cpu_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program, in parentheses, may contain spaces; fields 14 and 15 of all are fields 12 and 13 after
    // it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some((user + system) as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn reads_this_process() {
        let mut text = String::new();
        super::write(&mut text);
        for name in
            ["process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total"]
        {
            let line = text.lines().find(|line| line.starts_with(&format!("{name} ")));
            let value: f64 = line.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value >= 0.0, "{text}");
        }
        assert!(super::resident_bytes().unwrap() > 1 << 20);
    }
}
