//! The load of this machine.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use sysinfo::{CpuRefreshKind, Disk, DiskRefreshKind, Disks, MemoryRefreshKind, System};

use crate::{BoxError, Metric, Source};

/// Over which time the first CPU load is taken. Shorter is coarser: the kernel counts in hundredths of a second.
const FIRST_READING: Duration = Duration::from_millis(500);

/// Measures CPU, memory and disk of this machine as one `system_metrics` metric.
#[derive(Debug, Clone, Default)]
pub struct SystemSource {
    probe: Arc<Mutex<Probe>>,
}

#[derive(Debug, Default)]
struct Probe {
    system: System,
    warm: bool,
}

/// Units as agents have always sent them.
#[derive(Debug, Serialize)]
struct Statistics {
    /// Percent over all cores.
    cpu_load: f64,
    /// Whole percent of the root disk. Left out where no disk is to be seen, as in some containers.
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_usage: Option<u8>,
    /// A fraction of one, not percent.
    memory_usage: f64,
}

impl SystemSource {
    /// Prepares to measure. The first reading takes half a second, since a load needs two looks.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Source for SystemSource {
    async fn measure(&mut self) -> Result<Vec<Metric>, BoxError> {
        let probe = Arc::clone(&self.probe);
        // A network disk that hangs must hold up this thread only.
        let statistics = tokio::task::spawn_blocking(move || probe.lock().read()).await?;
        Ok(vec![Metric::new("system_metrics", "statistics", &statistics)?])
    }
}

impl Probe {
    fn read(&mut self) -> Statistics {
        if !self.warm {
            self.system.refresh_cpu_usage();
            std::thread::sleep(FIRST_READING.max(sysinfo::MINIMUM_CPU_UPDATE_INTERVAL));
            self.warm = true;
        }
        self.system.refresh_cpu_specifics(CpuRefreshKind::nothing().with_cpu_usage());
        self.system.refresh_memory_specifics(MemoryRefreshKind::nothing().with_ram());
        Statistics {
            cpu_load: f64::from(self.system.global_cpu_usage()).clamp(0.0, 100.0),
            disk_usage: disk_usage(),
            memory_usage: fraction(self.system.used_memory(), self.system.total_memory()),
        }
    }
}

/// The disk the system lives on, else the largest.
fn disk_usage() -> Option<u8> {
    let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
    let disks = || disks.list().iter().filter(|disk| disk.total_space() > 0);
    let disk = disks()
        .find(|disk| disk.mount_point() == Path::new("/"))
        .or_else(|| disks().max_by_key(|disk| disk.total_space()))?;
    Some(percent_used(disk))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction of one, in percent"
)]
fn percent_used(disk: &Disk) -> u8 {
    let used = disk.total_space().saturating_sub(disk.available_space());
    (fraction(used, disk.total_space()) * 100.0).round() as u8
}

#[expect(clippy::cast_precision_loss, reason = "more digits than any meter has")]
fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { (part as f64 / whole as f64).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_gives_numbers_in_range() {
        let mut probe = Probe::default();
        for _ in 0..2 {
            let read = probe.read();
            assert!((0.0..=100.0).contains(&read.cpu_load), "{read:?}");
            assert!(read.memory_usage > 0.0 && read.memory_usage < 1.0, "{read:?}");
            assert!(read.disk_usage.is_none_or(|percent| percent <= 100), "{read:?}");
        }
    }

    #[test]
    fn a_busy_machine_does_not_look_idle() {
        let mut probe = Probe::default();
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spinning = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            }
        });
        let load = probe.read().cpu_load;
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        spinning.join().unwrap();
        assert!(load > 0.0, "one core was busy all the time");
    }

    #[test]
    fn a_fraction_of_nothing_is_nothing() {
        assert!((fraction(1, 4) - 0.25).abs() < f64::EPSILON);
        assert!(fraction(1, 0).abs() < f64::EPSILON);
        assert!((fraction(5, 4) - 1.0).abs() < f64::EPSILON);
    }

    #[tokio::test]
    async fn a_reading_is_one_statistics_metric() {
        let metrics = SystemSource::new().measure().await.unwrap();
        assert_eq!(metrics.len(), 1);
        assert_eq!(metrics[0].data_type(), "system_metrics");
        let data: serde_json::Value = rmp_serde::from_slice(metrics[0].data()).unwrap();
        assert_eq!(data["type"], "statistics");
        assert!(
            data["body"]["cpu_load"].is_f64() && data["body"]["memory_usage"].is_f64(),
            "{data}"
        );
    }
}
