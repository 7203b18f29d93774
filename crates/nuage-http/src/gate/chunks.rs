//! Where a body in chunks ends (RFC 9112, 7.1). Nothing is decoded: that is hyper's.

/// Digits of a size. More chunks than fit into memory have fewer.
const SIZE_DIGITS_MAX: u32 = 15;

/// How far a body in chunks has come.
#[derive(Default)]
pub(super) struct Chunks {
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the digits of a size: what they say so far, and how many there are.
    Size(u64, u32),
    /// After the digits, in what may follow them.
    Extension(u64),
    /// Before the line feed of a size.
    SizeEnd(u64),
    /// In a chunk of which so much is left.
    Data(u64),
    /// Before the CR, then the LF after a chunk.
    DataEnd(u8),
    /// At the beginning of a trailer line, or in one.
    Trailer {
        empty: bool,
    },
    /// Before the line feed of a trailer line.
    TrailerEnd {
        empty: bool,
    },
    Over,
}

impl Default for At {
    fn default() -> Self {
        Self::Size(0, 0)
    }
}

impl Chunks {
    /// Whether the body is at its end.
    pub(super) fn is_over(&self) -> bool {
        self.at == At::Over
    }

    /// Goes on through these bytes, and tells how many of them belong to the body; `None` if it
    /// is no body in chunks.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut done = 0;
        while done < bytes.len() && !self.is_over() {
            if let At::Data(left) = self.at {
                let passed = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len() - done);
                done += passed;
                let left = left - passed as u64;
                self.at = if left == 0 { At::DataEnd(b'\r') } else { At::Data(left) };
                continue;
            }
            self.at = self.at.after(bytes[done])?;
            done += 1;
        }
        Some(done)
    }
}

impl At {
    fn after(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Size(size, digits), byte) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16)?;
                if digits == SIZE_DIGITS_MAX {
                    return None;
                }
                Self::Size(size * 16 + u64::from(digit), digits + 1)
            }
            (Self::Size(_, 0), _) => return None,
            (Self::Size(size, _) | Self::Extension(size), b'\r') => Self::SizeEnd(size),
            (Self::Size(size, _), b' ' | b'\t' | b';') => Self::Extension(size),
            (Self::Extension(_), b'\n') => return None,
            (Self::Extension(size), _) => Self::Extension(size),
            (Self::SizeEnd(0), b'\n') => Self::Trailer { empty: true },
            (Self::SizeEnd(size), b'\n') => Self::Data(size),
            (Self::DataEnd(b'\r'), b'\r') => Self::DataEnd(b'\n'),
            (Self::DataEnd(b'\n'), b'\n') => Self::default(),
            (Self::Trailer { empty }, b'\r') => Self::TrailerEnd { empty },
            (Self::Trailer { .. }, byte) if byte != b'\n' => Self::Trailer { empty: false },
            (Self::TrailerEnd { empty: true }, b'\n') => Self::Over,
            (Self::TrailerEnd { empty: false }, b'\n') => Self::Trailer { empty: true },
            _ => return None,
        })
    }
}
