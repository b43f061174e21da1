//! The engines of this workspace that need no server keep the contract.

use std::path::Path;

use poa_core::engine_factory;
use poa_engine_local::{Log, LogConfig, Memory, MemoryConfig};
use poa_testkit::{EngineContract, Storage};

#[tokio::test(start_paused = true)]
async fn memory_keeps_the_contract() {
    EngineContract::new(|| engine_factory::<Memory>(MemoryConfig::default())).check().await;
}

/// A log that starts a file for each group cannot be written once its directory is gone.
#[tokio::test]
async fn the_log_keeps_the_contract() {
    EngineContract::new(|| engine_factory::<Log>(LogConfig::default().segment_bytes(1)))
        .with_storage_fault(move_away)
        .check()
        .await;
}

/// Files of the usual size, so that one holds everything that the contract sends.
#[tokio::test]
async fn a_log_of_one_file_keeps_the_contract() {
    EngineContract::new(|| engine_factory::<Log>(LogConfig::default())).check().await;
}

fn move_away(data_dir: &Path, storage: Storage) {
    let (log, away) = (data_dir.join("log"), data_dir.join("away"));
    let moved = match storage {
        Storage::Fails => std::fs::rename(log, away),
        Storage::Works => std::fs::rename(away, log),
    };
    moved.expect("a directory can be renamed");
}
