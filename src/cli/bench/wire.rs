//! The load: HTTP/1.1 by hand over connections that stay open, so that it costs as little as possible of the
//! processor that it shares with what it measures.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::try_join_all;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::payload::{Envelope, Signed};
use super::report::Times;
use crate::clock::Stopwatch;

/// An answer that never comes is no measurement.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection that stays open.
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub(super) async fn connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let buffer = vec![0; 64 * 1024];
        Ok(Self { stream, buffer })
    }

    /// Sends a request and reads the whole answer; its status.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> io::Result<u16> {
        tokio::time::timeout(PATIENCE, self.exchange_unbounded(request))
            .await
            .unwrap_or_else(|_| Err(io::Error::other("no answer in time")))
    }

    async fn exchange_unbounded(&mut self, request: &[u8]) -> io::Result<u16> {
        self.stream.write_all(request).await?;
        let mut len = 0;
        let (status, whole) = loop {
            let head = find(&self.buffer[..len], b"\r\n\r\n");
            if let Some(end) = head {
                break read_head(&self.buffer[..end], end + 4)?;
            }
            len += self.more(len).await?;
        };
        while len < whole {
            len += self.more(len).await?;
        }
        Ok(status)
    }

    async fn more(&mut self, len: usize) -> io::Result<usize> {
        if len == self.buffer.len() {
            self.buffer.resize(len * 2, 0);
        }
        let read = self.stream.read(&mut self.buffer[len..]).await?;
        if read == 0 {
            return Err(io::Error::other("the connection was closed within an answer"));
        }
        Ok(read)
    }

    /// A request without a body.
    pub(super) async fn get(&mut self, target: &str) -> io::Result<u16> {
        let token = super::place::API_TOKEN;
        let request = format!("GET {target} HTTP/1.1\r\nHost: stepherd\r\nAuthorization: Bearer {token}\r\n\r\n");
        self.exchange(request.as_bytes()).await
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Status, and how long the whole answer is.
fn read_head(head: &[u8], body_at: usize) -> io::Result<(u16, usize)> {
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    let status = text.get(9..12).and_then(|code| code.parse().ok());
    let length = text
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map(|value| value.trim().parse::<usize>());
    match (status, length) {
        (Some(status), Some(Ok(length))) => Ok((status, body_at + length)),
        (Some(status), None) if !text.contains("transfer-encoding") => Ok((status, body_at)),
        _ => Err(io::Error::other("an answer that the benchmark cannot read")),
    }
}

/// What came of a flood of deliveries.
#[derive(Debug, Default)]
pub(super) struct Flood {
    /// Which were answered with a 2xx, by their place in the list.
    pub(super) accepted: Vec<usize>,
    /// How many were turned away.
    pub(super) refused: u64,
    pub(super) latencies: Times,
    pub(super) took: Duration,
}

impl Flood {
    pub(super) fn rate(&self) -> f64 {
        self.accepted.len() as f64 / self.took.as_secs_f64()
    }
}

/// Sends deliveries over so many connections, each as fast as it is answered, until the time is over or there are no
/// more; `again` sends the same ones again and again instead, to who keeps none.
pub(super) async fn flood(
    address: SocketAddr,
    envelope: &Envelope,
    deliveries: &Arc<Vec<Signed>>,
    connections: usize,
    time: Duration,
    again: bool,
) -> io::Result<Flood> {
    let mut wires = Vec::new();
    for _ in 0..connections {
        wires.push(Wire::connect(address).await?);
    }
    let next = Arc::new(AtomicUsize::new(0));
    let watch = Stopwatch::start();
    let tasks = wires.into_iter().map(|mut wire| {
        let (mut envelope, deliveries, next) = (envelope.clone(), deliveries.clone(), next.clone());
        tokio::spawn(async move {
            let (mut accepted, mut micros, mut refused) = (Vec::new(), Vec::new(), 0_u64);
            loop {
                let began = watch.elapsed();
                let place = next.fetch_add(1, Ordering::Relaxed);
                let place = if again { place % deliveries.len() } else { place };
                let Some(signed) = deliveries.get(place).filter(|_| began < time) else {
                    break;
                };
                if (200..300).contains(&wire.exchange(envelope.fill(signed)).await?) {
                    accepted.push(place);
                    micros.push(micros_of(watch.elapsed().saturating_sub(began)));
                } else {
                    refused += 1;
                }
            }
            Ok::<_, io::Error>((accepted, micros, refused))
        })
    });
    let done = try_join_all(tasks).await.map_err(io::Error::other)?;
    let mut flood = Flood {
        took: watch.elapsed(),
        ..Flood::default()
    };
    let mut all = Vec::new();
    for part in done {
        let (accepted, micros, refused) = part?;
        flood.accepted.extend(accepted);
        flood.refused += refused;
        all.extend(micros);
    }
    flood.latencies = Times::of(all);
    Ok(flood)
}

/// A request without a body, so many times one after the other.
pub(super) async fn gets(address: SocketAddr, targets: &[String]) -> Result<Times, String> {
    let said = |error: io::Error| format!("reading the API: {error}");
    let mut wire = Wire::connect(address).await.map_err(said)?;
    let watch = Stopwatch::start();
    let mut micros = Vec::with_capacity(targets.len());
    for target in targets {
        let began = watch.elapsed();
        let status = wire.get(target).await.map_err(said)?;
        if status != 200 {
            return Err(format!("GET {target} was answered with {status}"));
        }
        micros.push(micros_of(watch.elapsed().saturating_sub(began)));
    }
    Ok(Times::of(micros))
}

pub(super) fn micros_of(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
