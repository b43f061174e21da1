//! Metrics of the program around the host.

use std::fmt::Write as _;
use std::path::Path;

use super::certificates;
use super::view::View;
use crate::About;
use crate::reload::Reloads;

/// Adds the build, the start time, reloads, free space and the counts of the log to a text of metrics.
pub(crate) fn write(text: &mut String, view: &View) {
    build(text, &view.about);
    reloads(text, &view.reloads);
    certificates::write(text, &view.certificates);
    if let Some(free) = view.data_dir.as_deref().and_then(free_bytes) {
        let _ = write!(
            text,
            "# HELP poa_data_dir_free_bytes Space left for the data directory.\n\
             # TYPE poa_data_dir_free_bytes gauge\npoa_data_dir_free_bytes {free}\n"
        );
    }
}

/// The space that an unprivileged user can still write to; `None` on a file system that does not report it.
fn free_bytes(directory: &Path) -> Option<u64> {
    let space = rustix::fs::statvfs(directory).ok()?;
    (space.f_blocks > 0).then(|| space.f_bavail.saturating_mul(space.f_frsize))
}

fn reloads(text: &mut String, reloads: &Reloads) {
    text.push_str(
        "# HELP poa_reloads Reloads of the configuration, by result.\n# TYPE poa_reloads counter\n",
    );
    for (result, count) in reloads.counts() {
        let _ = writeln!(text, "poa_reloads_total{{result=\"{result}\"}} {count}");
    }
    let Some(last) = &reloads.last else { return };
    let (good, at) = (u8::from(last.result.is_good()), last.at.as_micros() as f64 / 1e6);
    let _ = write!(
        text,
        "# HELP poa_last_reload_successful 1 if the last reload was applied or had nothing to change.\n\
         # TYPE poa_last_reload_successful gauge\npoa_last_reload_successful {good}\n\
         # HELP poa_last_reload_timestamp_seconds End of the last reload, in seconds since 1970.\n\
         # TYPE poa_last_reload_timestamp_seconds gauge\npoa_last_reload_timestamp_seconds {at}\n"
    );
}

fn build(text: &mut String, about: &About) {
    let seconds = about.started_at().as_micros() as f64 / 1e6;
    let _ = write!(
        text,
        "# HELP poa_build_info Version and commit of the running program.\n# TYPE poa_build_info gauge\n\
         poa_build_info{{version=\"{}\",commit=\"{}\"}} 1\n\
         # HELP process_start_time_seconds Start of the program, in seconds since 1970.\n\
         # TYPE process_start_time_seconds gauge\nprocess_start_time_seconds {seconds}\n",
        about.version(),
        about.commit(),
    );
    let Some(log) = about.log_counts() else { return };
    let _ = write!(
        text,
        "# HELP poa_log_lines Log lines: written, lost, or replaced by a summary of repeated ones.\n\
         # TYPE poa_log_lines counter\n\
         poa_log_lines_total{{outcome=\"written\"}} {}\n\
         poa_log_lines_total{{outcome=\"write_failed\"}} {}\n\
         poa_log_lines_total{{outcome=\"queue_full\"}} {}\n\
         poa_log_lines_total{{outcome=\"summarised\"}} {}\n",
        log.written(),
        log.failed(),
        log.overflowed(),
        log.summarised(),
    );
}
