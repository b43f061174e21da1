//! A load of pipelined calls over WebSocket.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{Failure, rest};

const SUCCESS: &[u8] = br#"{"result":"success""#;

pub(super) struct Seen {
    pub(super) calls: u64,
    pub(super) seconds: f64,
}

/// Keeps `window` calls in flight on each of `connections` connections for this long.
///
/// Fails when any answer is not a success.
pub(super) fn run(
    address: &str,
    token: &str,
    connections: usize,
    window: usize,
    time: Duration,
) -> Result<Seen, Failure> {
    // One thread, so that the client leaves processor time to the server, which shares two cores with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let stop = Arc::new(AtomicBool::new(false));
        // Large enough to write as many calls as were answered.
        let calls: Arc<[u8]> = call().repeat(window).into();
        let mut tasks = Vec::new();
        let begin = Instant::now();
        for _ in 0..connections {
            let stream = open(address, token).await?;
            tasks.push(tokio::spawn(connection(stream, calls.clone(), window, stop.clone())));
        }
        tokio::time::sleep(time).await;
        stop.store(true, Relaxed);
        let mut answered = 0;
        for task in tasks {
            answered += task.await??;
        }
        Ok(Seen { calls: answered, seconds: begin.elapsed().as_secs_f64() })
    })
}

/// A WebSocket connection.
pub(super) async fn open(address: &str, token: &str) -> Result<TcpStream, Failure> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nhost: poa\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         authorization: Bearer {token}\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if head.starts_with(b"HTTP/1.1 101") {
        Ok(stream)
    } else {
        Err(format!("no upgrade: {}", String::from_utf8_lossy(&head)).into())
    }
}

/// A data call.
fn call() -> Vec<u8> {
    frame(0x81, format!(r#"{{"call":"data",{}"#, &rest::BODY[1..]).as_bytes())
}

/// Makes this many data calls in one write, and waits until they and the calls before are answered.
pub(super) async fn exchange(
    stream: &mut TcpStream,
    calls: usize,
    before: usize,
) -> Result<(), Failure> {
    stream.write_all(&call().repeat(calls)).await?;
    let (mut buffer, mut answered) = (Vec::new(), 0);
    while answered < calls + before {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        answered += take_answers(&mut buffer)?;
    }
    Ok(())
}

/// A frame from a client. A constant mask costs the server as much as any other, and the client nothing.
pub(super) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(0x80 | short as u8),
        long => {
            frame.push(0x80 | 126);
            frame.extend((long as u16).to_be_bytes());
        }
    }
    frame.extend(MASK);
    frame.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

async fn connection(
    mut stream: TcpStream,
    calls: Arc<[u8]>,
    window: usize,
    stop: Arc<AtomicBool>,
) -> Result<u64, Failure> {
    let one = calls.len() / window;
    let mut buffer = Vec::with_capacity(1 << 16);
    let (mut answered, mut under_way) = (0, window);
    stream.write_all(&calls).await?;
    while under_way > 0 {
        if stream.read_buf(&mut buffer).await? == 0 {
            return Err("the server closed the connection".into());
        }
        let count = take_answers(&mut buffer)?;
        answered += count as u64;
        under_way -= count;
        if !stop.load(Relaxed) {
            stream.write_all(&calls[..count * one]).await?;
            under_way += count;
        }
    }
    Ok(answered)
}

/// Removes complete answers from the buffer, and counts them.
fn take_answers(buffer: &mut Vec<u8>) -> Result<usize, Failure> {
    let (mut at, mut count) = (0, 0);
    while let [0x81, length @ 0..=125, rest @ ..] = &buffer[at..] {
        let Some(payload) = rest.get(..usize::from(*length)) else { break };
        if !payload.starts_with(SUCCESS) {
            return Err(format!("answered {}", String::from_utf8_lossy(payload)).into());
        }
        at += 2 + payload.len();
        count += 1;
    }
    if buffer.get(at).is_some_and(|first| *first != 0x81) {
        return Err("not an answer, but another frame".into());
    }
    buffer.drain(..at);
    Ok(count)
}
