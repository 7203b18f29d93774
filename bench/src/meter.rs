//! Passes on what a client and PostgreSQL say to each other, and counts it: how many statements
//! were executed, and how often the client had to wait for the database.
//!
//! Works on the frames of the protocol alone, without encryption; it does not know what is in
//! them. It runs on a thread of its own and is in the way only while something is counted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const CHUNK_BYTES: usize = 64 * 1024;

/// What passed by so far.
#[derive(Default)]
struct Counters {
    round_trips: AtomicU64,
    statements: AtomicU64,
}

/// Round trips and statements, so far or since something else.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traffic {
    pub(crate) round_trips: u64,
    pub(crate) statements: u64,
}

/// Counts for who connects to its address instead of the database's. Ends with the program.
pub(crate) struct Meter {
    pub(crate) address: SocketAddr,
    counters: Arc<Counters>,
}

impl Meter {
    pub(crate) fn start(database: SocketAddr) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let counters = Arc::new(Counters::default());
        let mine = Arc::clone(&counters);
        std::thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (client, _) = listener.accept().await?;
                    tokio::spawn(pass_on(client, database, Arc::clone(&mine)));
                }
                // What goes wrong here, the client meets as a connection that is not made.
                #[expect(unreachable_code, reason = "tells the type of the errors above")]
                std::io::Result::Ok(())
            })
        });
        Ok(Self { address, counters })
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            round_trips: self.counters.round_trips.load(Ordering::Relaxed),
            statements: self.counters.statements.load(Ordering::Relaxed),
        }
    }
}

impl Traffic {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            round_trips: self.round_trips - earlier.round_trips,
            statements: self.statements - earlier.statements,
        }
    }
}

async fn pass_on(
    client: TcpStream,
    database: SocketAddr,
    counters: Arc<Counters>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(database).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    // Requests that the database has yet to say of that it is ready for the next.
    let unanswered = AtomicU64::new(0);
    let forward = async {
        let mut frames = Frames::of_client();
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let bytes = from_client.read(&mut chunk).await?;
            if bytes == 0 {
                return to_server.shutdown().await;
            }
            frames.take(&chunk[..bytes], |kind| match kind {
                // Execute.
                b'E' => {
                    counters.statements.fetch_add(1, Ordering::Relaxed);
                }
                // Sync and Query ask for an answer; a Query is a statement as well.
                b'S' | b'Q' => {
                    counters.statements.fetch_add(u64::from(kind == b'Q'), Ordering::Relaxed);
                    let alone = unanswered.fetch_add(1, Ordering::Relaxed) == 0;
                    counters.round_trips.fetch_add(u64::from(alone), Ordering::Relaxed);
                }
                _ => {}
            });
            to_server.write_all(&chunk[..bytes]).await?;
        }
    };
    let back = async {
        let mut frames = Frames::of_server();
        let mut chunk = vec![0; CHUNK_BYTES];
        // The first time that it is ready answers the greeting.
        let mut is_greeted = false;
        loop {
            let bytes = from_server.read(&mut chunk).await?;
            if bytes == 0 {
                return to_client.shutdown().await;
            }
            frames.take(&chunk[..bytes], |kind| {
                if kind == b'Z' && std::mem::replace(&mut is_greeted, true) {
                    unanswered.fetch_sub(1, Ordering::Relaxed);
                }
            });
            to_client.write_all(&chunk[..bytes]).await?;
        }
    };
    tokio::try_join!(forward, back).map(drop)
}

/// Finds the kinds of the frames in a stream that comes in pieces.
struct Frames {
    /// The start of a frame whose length is not known yet.
    head: Vec<u8>,
    head_bytes: usize,
    /// Bytes of the present frame still to come.
    rest: usize,
}

impl Frames {
    // The client's first frame has no kind.
    fn of_client() -> Self {
        Self { head: Vec::new(), head_bytes: 4, rest: 0 }
    }

    fn of_server() -> Self {
        Self { head: Vec::new(), head_bytes: 5, rest: 0 }
    }

    fn take(&mut self, mut bytes: &[u8], mut seen: impl FnMut(u8)) {
        while !bytes.is_empty() {
            let skipped = self.rest.min(bytes.len());
            self.rest -= skipped;
            bytes = &bytes[skipped..];
            let wanted = (self.head_bytes - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.rest > 0 || self.head.len() < self.head_bytes {
                continue;
            }
            // A length counts itself but not the kind.
            let (kind, length) = self.head.split_at(self.head_bytes - 4);
            let length = length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte));
            self.rest = length.saturating_sub(4);
            if let Some(kind) = kind.first() {
                seen(*kind);
            }
            self.head.clear();
            self.head_bytes = 5;
        }
    }
}

#[cfg(test)]
mod tests;
