//! gzip, piece by piece, with nothing kept in between.
//!
//! Each piece is compressed for itself and ends at a byte, so that it can be read as soon as it
//! arrives. What a compressor holds, some hundred kilobytes, is given back after each piece:
//! thousands of readers that wait cost nothing.

use std::io::Write;

use bytes::Bytes;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// What a stream begins with: no name, no time, no system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const LAST_BLOCK: [u8; 5] = [1, 0, 0, 0xff, 0xff];
/// Up to here a piece is not worth a compressor.
const STORED_BYTES_MAX: usize = 64;

/// What is known of a stream so far.
#[derive(Default)]
pub(crate) struct Gzip {
    crc: Crc,
    begun: bool,
}

impl Gzip {
    /// A whole text.
    pub(crate) fn whole(text: &[u8]) -> Bytes {
        let mut gzip = Self::default();
        let mut pressed = gzip.piece(text);
        pressed.extend(gzip.end());
        pressed.into()
    }

    /// The next piece.
    pub(crate) fn piece(&mut self, text: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD.len() + text.len() / 2 + STORED_BYTES_MAX);
        if !self.begun {
            self.begun = true;
            out.extend(HEAD);
        }
        self.crc.update(text);
        match u8::try_from(text.len()) {
            Ok(0) => out,
            Ok(length) if text.len() <= STORED_BYTES_MAX => {
                out.extend([0, length, 0, !length, 0xff]);
                out.extend(text);
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
    pub(crate) fn end(&mut self) -> Vec<u8> {
        let mut out = self.piece(&[]);
        out.extend(LAST_BLOCK);
        out.extend(self.crc.sum().to_le_bytes());
        out.extend(self.crc.amount().to_le_bytes());
        out
    }
}

#[cfg(test)]
mod tests;
