//! The standard error of a child is logged by the host.

use std::io;
use std::sync::{Arc, Mutex};

use poa_core::Receiver as _;

use crate::{READY, build, sh};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn with_its_level_and_the_name_of_the_plugin() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .without_time()
        .with_ansi(false);
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let say = "echo 'WARNING: nearly full' >&2; echo plain >&2; read -r stop; exit 7";
    let mut receiver = build(sh(&[READY, say])).await.unwrap();
    receiver.terminate().await;
    let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains(r#" WARN poa_exec::stderr: nearly full plugin="child""#), "{log}");
    assert!(log.contains(r#" INFO poa_exec::stderr: plain plugin="child""#), "{log}");
    assert!(log.contains("`sh` ended while it stopped (exit status: 7)"), "{log}");
}
