//! Publishers that each wait until their record is durable, and the thread that writes for all of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;

use super::{RECORD, Store};
use crate::Failure;

pub(super) struct Measured {
    pub(super) records: u64,
    pub(super) groups: u64,
    /// Bytes written to the disks of the machine meanwhile.
    pub(super) written: u64,
    pub(super) seconds: f64,
}

#[derive(Default)]
struct Waiting {
    records: Mutex<Pending>,
    work: Condvar,
    stop: AtomicBool,
}

#[derive(Default)]
struct Pending {
    records: Vec<Box<[u8]>>,
    answers: Vec<oneshot::Sender<()>>,
}

/// Records that arrive while a group is written form the next group, as in the bus.
pub(super) fn measure(
    store: Box<dyn Store>,
    publishers: usize,
    time: Duration,
) -> Result<Measured, Failure> {
    let waiting = Arc::new(Waiting::default());
    let committer = std::thread::spawn({
        let waiting = waiting.clone();
        move || commit(store, &waiting)
    });
    let written = written_bytes()?;
    let begin = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let records = runtime.block_on(publish(&waiting, publishers, time))?;
    let seconds = begin.elapsed().as_secs_f64();
    waiting.stop.store(true, Relaxed);
    waiting.work.notify_one();
    let groups = committer.join().map_err(|_| "the committer panicked")??;
    Ok(Measured { records, groups, written: written_bytes()? - written, seconds })
}

async fn publish(
    waiting: &Arc<Waiting>,
    publishers: usize,
    time: Duration,
) -> Result<u64, Failure> {
    let tasks: Vec<_> = (0..publishers)
        .map(|_| {
            let waiting = waiting.clone();
            tokio::spawn(async move {
                let mut records = 0;
                while !waiting.stop.load(Relaxed) {
                    let (answer, answered) = oneshot::channel();
                    {
                        let mut pending = waiting.records.lock();
                        pending.records.push(vec![0x55; RECORD].into());
                        pending.answers.push(answer);
                    }
                    waiting.work.notify_one();
                    if answered.await.is_err() {
                        break;
                    }
                    records += 1;
                }
                records
            })
        })
        .collect();
    tokio::time::sleep(time).await;
    waiting.stop.store(true, Relaxed);
    let mut records = 0;
    for task in tasks {
        records += task.await?;
    }
    Ok(records)
}

fn commit(mut store: Box<dyn Store>, waiting: &Waiting) -> Result<u64, Failure> {
    let mut groups = 0;
    loop {
        let group = {
            let mut pending = waiting.records.lock();
            while pending.records.is_empty() {
                if waiting.stop.load(Relaxed) {
                    return Ok(groups);
                }
                waiting.work.wait_for(&mut pending, Duration::from_millis(50));
            }
            std::mem::take(&mut *pending)
        };
        store.commit(&group.records)?;
        groups += 1;
        for answer in group.answers {
            // A publisher always waits for its answer.
            let _ = answer.send(());
        }
    }
}

/// The bytes written to the disks of this machine so far. The count of this process alone includes pages that were
/// modified repeatedly before they were written, and so exceeds the bytes written by far.
fn written_bytes() -> Result<u64, Failure> {
    const SECTOR: u64 = 512;
    let mut sectors = 0;
    for line in std::fs::read_to_string("/proc/diskstats")?.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = fields.get(2).ok_or("cannot read /proc/diskstats")?;
        // Whole disks only, without partitions.
        if std::path::Path::new("/sys/block").join(name).exists() && !name.starts_with("loop") {
            sectors += fields.get(9).ok_or("cannot read /proc/diskstats")?.parse::<u64>()?;
        }
    }
    Ok(sectors * SECTOR)
}
