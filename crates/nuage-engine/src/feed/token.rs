//! What a device brings back: where it is in a feed, sealed.
//!
//! A token is sealed for one person and one collection (AES-256-GCM-SIV, RFC 8452): nobody else
//! can use it, read it or make one. The same place in a feed gives the same token, which this
//! cipher allows. It does not know whether what it names still exists.

use aes_gcm_siv::aead::{Aead, KeyInit, Payload};
use aes_gcm_siv::{Aes256GcmSiv, Key, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nuage_model::{CollectionPath, Principal, Seq, Signature};

/// What the key is derived for, so that the same secret serves other purposes too.
const PURPOSE: &str = "nuage feed token 1";
/// Longer ones are not ours: the longest has 210 characters.
const TOKEN_BYTES_MAX: usize = 256;
/// Tokens of the same content are the same, so that no nonce is needed.
const NONCE: [u8; 12] = [0; 12];

/// Writes and reads tokens.
pub(crate) struct Tokens {
    cipher: Aes256GcmSiv,
}

/// Whose token, for which feed.
pub(super) struct Owner<'a> {
    pub(super) person: &'a Principal,
    pub(super) collection: &'a CollectionPath,
}

/// Where a device is in a feed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) base: Base,
    /// The device has what `view` may see at this position, once the run is over.
    pub(super) at: Seq,
    pub(super) view: ViewName,
    /// Whether the device has anything at all at rest.
    pub(super) holds: bool,
    /// Under way to the present.
    pub(super) run: Option<Run>,
}

/// What positions count from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Base {
    /// From the epoch of the store.
    pub(super) epoch: [u8; 8],
    /// Of the collection.
    pub(super) incarnation: [u8; 8],
}

/// A way from what a device had to the present.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// What the person may see now.
    pub(super) view: ViewName,
    /// The head when it began.
    pub(super) begun: Seq,
    /// Names the state of everything that decides about the view.
    pub(super) rights: [u8; 8],
    pub(super) phase: Phase,
}

/// How far a run has come.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Telling of what is no longer visible.
    Retract(Cursor),
    /// Telling of what has become visible without changing.
    Replay(Cursor),
    /// Telling of what happened after this position.
    Tail(Seq),
}

/// A place in the order of signatures and positions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Cursor {
    /// All before this signature is done; `None` at the beginning.
    pub(super) signature: Option<Signature>,
    /// Of that signature, all up to this position is done; everything if `None`.
    pub(super) seq: Option<Seq>,
}

impl Phase {
    /// How far it has come, as a position.
    pub(super) fn position(&self) -> Seq {
        match self {
            Self::Retract(cursor) | Self::Replay(cursor) => cursor.seq.unwrap_or_default(),
            Self::Tail(seq) => *seq,
        }
    }
}

impl Cursor {
    pub(super) const START: Self = Self { signature: None, seq: None };
}

/// Which view: what may be seen of a collection, by name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum ViewName {
    /// Nothing at all: that of an empty device.
    Nothing,
    /// Everything.
    Whole,
    /// What the person may see without being in any group.
    Alone,
    /// What the person may see being in these groups.
    Groups([u8; 16]),
}

impl Tokens {
    /// The same secret reads what the same secret wrote, in any process.
    pub(crate) fn new(secret: &str) -> Self {
        let key: Key<Aes256GcmSiv> = blake3::derive_key(PURPOSE, secret.as_bytes()).into();
        Self { cipher: Aes256GcmSiv::new(&key) }
    }

    pub(super) fn seal(&self, token: &Token, owner: &Owner<'_>) -> String {
        let (message, context) = (write(token), owner.context());
        let payload = Payload { msg: &message, aad: &context };
        let sealed = self.cipher.encrypt(&Nonce::from(NONCE), payload);
        URL_SAFE_NO_PAD.encode(sealed.expect("a token is shorter than the cipher's limit"))
    }

    /// `None`: not a token, or not one of this owner.
    pub(super) fn open(&self, text: &str, owner: &Owner<'_>) -> Option<Token> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let context = owner.context();
        let payload = Payload { msg: &sealed, aad: &context };
        let message = self.cipher.decrypt(&Nonce::from(NONCE), payload).ok()?;
        let mut reader = Reader(&message);
        let token = reader.token()?;
        reader.0.is_empty().then_some(token)
    }
}

impl Owner<'_> {
    fn context(&self) -> Vec<u8> {
        let person = match crate::feed::mutants::is(crate::feed::Mutant::TokenNotBound) {
            true => "",
            false => self.person.as_str(),
        };
        let name = self.collection.stored_name();
        let parts = [person, self.collection.bucket.as_str(), &name];
        let mut context = Vec::new();
        for part in parts {
            context.extend((part.len() as u64).to_be_bytes());
            context.extend(part.as_bytes());
        }
        context
    }
}

fn write(token: &Token) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(token.base.epoch);
    bytes.extend(token.base.incarnation);
    bytes.extend(token.at.0.to_be_bytes());
    write_view(&mut bytes, token.view);
    bytes.push(u8::from(token.holds));
    let Some(run) = &token.run else {
        bytes.push(0);
        return bytes;
    };
    let (number, cursor) = match &run.phase {
        Phase::Retract(cursor) => (1, Ok(cursor)),
        Phase::Replay(cursor) => (2, Ok(cursor)),
        Phase::Tail(seq) => (3, Err(seq)),
    };
    bytes.push(number);
    write_view(&mut bytes, run.view);
    bytes.extend(run.begun.0.to_be_bytes());
    bytes.extend(run.rights);
    match cursor {
        Ok(cursor) => {
            let flags = u8::from(cursor.signature.is_some()) | u8::from(cursor.seq.is_some()) << 1;
            bytes.push(flags);
            bytes.extend(cursor.signature.map(|signature| signature.0).unwrap_or_default());
            bytes.extend(cursor.seq.unwrap_or_default().0.to_be_bytes());
        }
        Err(seq) => bytes.extend(seq.0.to_be_bytes()),
    }
    bytes
}

fn write_view(bytes: &mut Vec<u8>, view: ViewName) {
    match view {
        ViewName::Nothing => bytes.push(0),
        ViewName::Whole => bytes.push(1),
        ViewName::Alone => bytes.push(2),
        ViewName::Groups(name) => {
            bytes.push(3);
            bytes.extend(name);
        }
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn token(&mut self) -> Option<Token> {
        let base = Base { epoch: self.take()?, incarnation: self.take()? };
        let at = self.seq()?;
        let view = self.view()?;
        let holds = self.byte()? == 1;
        let number = self.byte()?;
        if number == 0 {
            return Some(Token { base, at, view, holds, run: None });
        }
        let to = self.view()?;
        let begun = self.seq()?;
        let rights = self.take()?;
        let phase = match number {
            1 => Phase::Retract(self.cursor()?),
            2 => Phase::Replay(self.cursor()?),
            3 => Phase::Tail(self.seq()?),
            _ => return None,
        };
        Some(Token { base, at, view, holds, run: Some(Run { view: to, begun, rights, phase }) })
    }

    fn cursor(&mut self) -> Option<Cursor> {
        let flags = self.byte()?;
        let (signature, seq) = (Signature(self.take()?), self.seq()?);
        Some(Cursor {
            signature: (flags & 1 != 0).then_some(signature),
            seq: (flags & 2 != 0).then_some(seq),
        })
    }

    fn view(&mut self) -> Option<ViewName> {
        Some(match self.byte()? {
            0 => ViewName::Nothing,
            1 => ViewName::Whole,
            2 => ViewName::Alone,
            3 => ViewName::Groups(self.take()?),
            _ => return None,
        })
    }

    fn seq(&mut self) -> Option<Seq> {
        Some(Seq(i64::from_be_bytes(self.take()?)))
    }

    fn byte(&mut self) -> Option<u8> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }
}

#[cfg(test)]
mod tests;
