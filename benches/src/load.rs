//! A load of HTTP requests over keep-alive connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::Failure;

/// The results of a load.
pub(crate) struct Seen {
    pub(crate) requests: u64,
    pub(crate) seconds: f64,
    /// Times of answers, in microseconds.
    pub(crate) p50: u64,
    pub(crate) p99: u64,
}

/// Sends the same request over `connections` connections for this long, each waiting for its answer.
///
/// Fails when any answer is not 200.
pub(crate) fn run(
    address: &str,
    request: &[u8],
    connections: usize,
    time: Duration,
) -> Result<Seen, Failure> {
    // One thread, so that the client leaves processor time to the server, which shares two cores with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        let request: Arc<[u8]> = request.into();
        let mut tasks = Vec::new();
        let begin = Instant::now();
        for _ in 0..connections {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            tasks.push(tokio::spawn(connection(stream, request.clone(), stop.clone())));
        }
        tokio::time::sleep(time).await;
        stop.store(true, Relaxed);
        let mut micros = Vec::new();
        for task in tasks {
            micros.append(&mut task.await??);
        }
        Ok(seen(micros, begin.elapsed().as_secs_f64()))
    })
}

fn seen(mut micros: Vec<u32>, seconds: f64) -> Seen {
    micros.sort_unstable();
    let at = |share: f64| micros.get((micros.len() as f64 * share) as usize).copied();
    Seen {
        requests: micros.len() as u64,
        seconds,
        p50: at(0.5).unwrap_or(0).into(),
        p99: at(0.99).unwrap_or(0).into(),
    }
}

async fn connection(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    stop: Arc<AtomicBool>,
) -> Result<Vec<u32>, Failure> {
    let mut micros = Vec::new();
    let mut buffer = vec![0; 4096];
    while !stop.load(Relaxed) {
        let begin = Instant::now();
        stream.write_all(&request).await?;
        if let Answer::Other(text) = read_answer(&mut stream, &mut buffer).await? {
            return Err(format!("the server answered {text}").into());
        }
        micros.push(begin.elapsed().as_micros() as u32);
    }
    Ok(micros)
}

/// An answer.
pub(crate) enum Answer {
    /// With the status 200.
    Success,
    /// With another status: the whole answer.
    Other(String),
}

/// Reads one small answer with a content-length.
pub(crate) async fn read_answer(
    stream: &mut TcpStream,
    buffer: &mut [u8],
) -> Result<Answer, Failure> {
    let mut len = 0;
    loop {
        let read = stream.read(&mut buffer[len..]).await?;
        if read == 0 {
            return Err("the server closed the connection".into());
        }
        len += read;
        let text = std::str::from_utf8(&buffer[..len])?;
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
            .ok_or("the answer has no content-length")?;
        if body.len() >= length.1.trim().parse::<usize>()? {
            let success = text.starts_with("HTTP/1.1 200");
            return Ok(if success { Answer::Success } else { Answer::Other(text.to_owned()) });
        }
    }
}
