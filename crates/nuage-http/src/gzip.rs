//! gzip: bodies as a whole, and streams piece by piece, with nothing kept in between.
//!
//! Each piece is compressed for itself and ends at a byte, so that it can be read as soon as it
//! arrives. What a compressor holds, some hundred kilobytes, is given back after each piece:
//! thousands of readers that wait cost nothing.
//!
//! Large bodies are compressed off the threads that serve, a few at a time. Beyond that they keep
//! their size and are wrapped only, as small ones are.

use std::io::Write;
use std::sync::Arc;

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tokio::sync::Semaphore;

/// What a stream begins with: no name, no time, no system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// Up to here a piece is not worth a compressor.
const STORED_BYTES_MAX: usize = 64;
/// Up to here a whole body is not worth one.
const WRAPPED_BYTES_MAX: usize = 512;
/// The most that one block can hold as it is.
const BLOCK_BYTES_MAX: usize = 0xffff;
/// Up to here compressing takes less than handing it to another thread and back is worth.
const AT_ONCE_BYTES_MAX: usize = 16 * 1024;
/// Bodies that are compressed at a time.
const PARALLEL: usize = 2;

/// Whether a client takes gzip.
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).into_iter();
    let codings = values.filter_map(|value| value.to_str().ok()).flat_map(|text| text.split(','));
    codings.into_iter().any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok());
        is_gzip && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// Compresses bodies.
pub struct Compressor {
    turns: Arc<Semaphore>,
}

impl Default for Compressor {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(PARALLEL)) }
    }
}

impl Compressor {
    /// The body as gzip. Small ones, and others while many are being compressed, are no smaller
    /// than before.
    pub async fn gzip(&self, body: Bytes) -> Bytes {
        if body.len() <= WRAPPED_BYTES_MAX {
            return Gzip::wrapped(&body);
        }
        if body.len() <= AT_ONCE_BYTES_MAX {
            return Gzip::whole(&body);
        }
        // Whoever waits for a turn would hold its body meanwhile.
        let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() else {
            return Gzip::wrapped(&body);
        };
        let text = body.clone();
        let work = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            Gzip::whole(&text)
        });
        work.await.unwrap_or_else(|_| Gzip::wrapped(&body))
    }
}

/// What is known of a stream so far.
#[derive(Default)]
pub struct Gzip {
    crc: Crc,
    begun: bool,
}

impl Gzip {
    fn whole(text: &[u8]) -> Bytes {
        let mut gzip = Self::default();
        let mut pressed = gzip.piece(text);
        pressed.extend(gzip.end());
        pressed.into()
    }

    /// The text as it is, in the form of gzip.
    fn wrapped(text: &[u8]) -> Bytes {
        let mut gzip = Self { crc: Crc::new(), begun: true };
        let mut out = Vec::with_capacity(text.len() + text.len() / 8_192 + STORED_BYTES_MAX);
        out.extend(HEAD);
        gzip.crc.update(text);
        for block in text.chunks(BLOCK_BYTES_MAX) {
            push_stored(&mut out, block);
        }
        out.extend(gzip.end());
        out.into()
    }

    /// The next piece of a stream, for its reader to have at once.
    pub fn piece(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD.len() + text.len() / 2 + STORED_BYTES_MAX);
        if !self.begun {
            self.begun = true;
            out.extend(HEAD);
        }
        self.crc.update(text);
        match text.len() {
            0 => out,
            1..=STORED_BYTES_MAX => {
                push_stored(&mut out, text);
                out
            }
            _ => {
                let mut encoder = DeflateEncoder::new(out, Compression::fast());
                let written = encoder.write_all(text).and_then(|()| encoder.flush());
                written.expect("memory takes what is written");
                std::mem::take(encoder.get_mut())
            }
        }
    }

    /// What it ends with.
    pub fn end(&mut self) -> Vec<u8> {
        let mut out = self.piece(&[]);
        out.extend(LAST_BLOCK);
        out.extend(self.crc.sum().to_le_bytes());
        out.extend(self.crc.amount().to_le_bytes());
        out
    }
}

/// A block that is not compressed and not the last. RFC 1951, section 3.2.4.
fn push_stored(out: &mut Vec<u8>, block: &[u8]) {
    let length = u16::try_from(block.len()).expect("blocks were cut to fit");
    out.push(0);
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(block);
}

#[cfg(test)]
mod tests;
