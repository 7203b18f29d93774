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
const PURPOSE: &str = "nuage feed token 2";
/// The same of tokens of the former format, which are read.
const FORMER_PURPOSE: &str = "nuage feed token 1";
/// Longer ones are not ours. The longest is of a run with four different views of
/// [`ORDINALS_MAX`] groups each: 1,640 characters where ordinals are as large as they may be, and
/// 446 where a collection has had 100,000 names.
const TOKEN_BYTES_MAX: usize = 2_048;
/// Views of more groups are named by hash.
pub(super) const ORDINALS_MAX: usize = 32;
/// Tokens of the same content are the same, so that no nonce is needed.
const NONCE: [u8; 12] = [0; 12];

/// Writes and reads tokens.
pub(crate) struct Tokens {
    cipher: Aes256GcmSiv,
    former: Aes256GcmSiv,
}

/// Whose token, for which feed.
pub(super) struct Owner<'a> {
    pub(super) person: &'a Principal,
    pub(super) collection: &'a CollectionPath,
}

/// What a token says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) base: Base,
    /// Whether the device had anything at all when it was last at rest.
    pub(super) holds: bool,
    pub(super) place: Place<ViewName>,
}

/// Where a device is in a feed. Views are names in a token, and what these stand for in a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place<V> {
    /// The head in a moment. Of what is older the device has ...
    pub(super) at: Seq,
    /// ... nothing but what this view saw then, ...
    pub(super) may: V,
    /// ... and all that this one sees. At rest it is the same one.
    pub(super) sure: V,
    /// Under way to a later moment.
    pub(super) run: Option<Run<V>>,
}

impl<V> Place<V> {
    /// All views, each as often as it is there.
    pub(super) fn views(&self) -> impl Iterator<Item = &V> {
        let of_run = self.run.iter().flat_map(|run| [&run.to, &run.keep]);
        [&self.may, &self.sure].into_iter().chain(of_run)
    }

    /// The same with other views.
    pub(super) fn map<W>(&self, mut view: impl FnMut(&V) -> W) -> Place<W> {
        let mut of_run = |run: &Run<V>| Run {
            to: view(&run.to),
            keep: view(&run.keep),
            phase: run.phase.clone(),
        };
        let run = self.run.as_ref().map(&mut of_run);
        Place { at: self.at, may: view(&self.may), sure: view(&self.sure), run }
    }

    /// The latest moment that it tells of.
    pub(super) fn latest(&self) -> Seq {
        self.at.max(self.run.as_ref().and_then(|run| run.phase.until()).unwrap_or(self.at))
    }
}

/// What positions count from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Base {
    /// From the epoch of the store.
    pub(super) epoch: [u8; 8],
    /// Of the collection.
    pub(super) incarnation: [u8; 8],
}

/// A way from a moment to a later one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run<V> {
    /// What the device may have once it is over.
    pub(super) to: V,
    /// What was visible in each page of it.
    pub(super) keep: V,
    pub(super) phase: Phase,
}

/// How far a run has come. The moment to which it goes, `until`, is that in which the first phase
/// ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Phase {
    /// Telling of what is no longer visible.
    Retract(Cursor),
    /// Telling of what has become visible without changing.
    Replay { cursor: Cursor, until: Seq },
    /// Telling of what happened after a position.
    Tail { after: Seq, until: Seq },
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
    /// To which moment it goes, if that is known.
    pub(super) fn until(&self) -> Option<Seq> {
        match self {
            Self::Retract(_) => None,
            Self::Replay { until, .. } | Self::Tail { until, .. } => Some(*until),
        }
    }

    /// How far it has come, as a position.
    pub(super) fn position(&self) -> Seq {
        match self {
            Self::Retract(cursor) | Self::Replay { cursor, .. } => cursor.seq.unwrap_or_default(),
            Self::Tail { after, .. } => *after,
        }
    }
}

impl Cursor {
    pub(super) const START: Self = Self { signature: None, seq: None };
}

/// Which view: what may be seen of a collection, by name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum ViewName {
    /// Nothing at all: that of an empty device.
    Nothing,
    /// Everything.
    Whole,
    /// What the person may see being in the groups with these ordinals, in order.
    Few(Vec<i64>),
    /// What the person may see being in many groups, which the store keeps under this hash.
    Many([u8; 16]),
}

impl Tokens {
    /// The same secret reads what the same secret wrote, in any process.
    pub(crate) fn new(secret: &str) -> Self {
        let cipher = |purpose| {
            let key: Key<Aes256GcmSiv> = blake3::derive_key(purpose, secret.as_bytes()).into();
            Aes256GcmSiv::new(&key)
        };
        Self { cipher: cipher(PURPOSE), former: cipher(FORMER_PURPOSE) }
    }

    pub(super) fn seal(&self, token: &Token, owner: &Owner<'_>) -> String {
        seal(&self.cipher, &write(token), owner)
    }

    /// `None`: not a token, or not one of this owner. One of the former format in the middle of a
    /// run says nothing any more.
    pub(super) fn open(&self, text: &str, owner: &Owner<'_>) -> Option<Option<Token>> {
        if text.len() > TOKEN_BYTES_MAX {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let context = owner.context();
        let message = |cipher: &Aes256GcmSiv| {
            let payload = Payload { msg: &sealed, aad: &context };
            cipher.decrypt(&Nonce::from(NONCE), payload).ok()
        };
        if let Some(message) = message(&self.cipher) {
            let mut reader = Reader(&message);
            let token = reader.token()?;
            return reader.0.is_empty().then_some(Some(token));
        }
        Reader(&message(&self.former)?).former_token()
    }

    /// A token at rest in the former format.
    #[cfg(any(test, feature = "mutants"))]
    pub(super) fn seal_former(
        &self,
        Token { base, holds, place }: &Token,
        view: &ViewName,
        owner: &Owner<'_>,
    ) -> String {
        let mut bytes = [base.epoch, base.incarnation, place.at.0.to_be_bytes()].concat();
        match view {
            ViewName::Nothing => bytes.push(0),
            ViewName::Whole => bytes.push(1),
            ViewName::Few(_) => bytes.push(2),
            ViewName::Many(hash) => {
                bytes.push(3);
                bytes.extend(hash);
            }
        }
        bytes.extend([u8::from(*holds), 0]);
        seal(&self.former, &bytes, owner)
    }
}

fn seal(cipher: &Aes256GcmSiv, message: &[u8], owner: &Owner<'_>) -> String {
    let payload = Payload { msg: message, aad: &owner.context() };
    let sealed = cipher.encrypt(&Nonce::from(NONCE), payload);
    URL_SAFE_NO_PAD.encode(sealed.expect("a token is shorter than the cipher's limit"))
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
    let place = &token.place;
    let mut bytes = Vec::with_capacity(128);
    bytes.extend(token.base.epoch);
    bytes.extend(token.base.incarnation);
    bytes.extend(place.at.0.to_be_bytes());
    let phase = place.run.as_ref().map(|run| &run.phase);
    let number = match phase {
        None => 0,
        Some(Phase::Retract(_)) => 1,
        Some(Phase::Replay { .. }) => 2,
        Some(Phase::Tail { .. }) => 3,
    };
    bytes.push(number << 1 | u8::from(token.holds));
    let views: Vec<&ViewName> = place.views().collect();
    for (at, view) in views.iter().enumerate() {
        match views[..at].iter().position(|before| before == view) {
            Some(same) => bytes.push(SAME + same as u8),
            None => write_view(&mut bytes, view),
        }
    }
    match phase {
        None => {}
        Some(Phase::Retract(cursor)) => write_cursor(&mut bytes, cursor),
        Some(Phase::Replay { cursor, until }) => {
            write_cursor(&mut bytes, cursor);
            bytes.extend(until.0.to_be_bytes());
        }
        Some(Phase::Tail { after, until }) => {
            bytes.extend(after.0.to_be_bytes());
            bytes.extend(until.0.to_be_bytes());
        }
    }
    bytes
}

fn write_cursor(bytes: &mut Vec<u8>, cursor: &Cursor) {
    bytes.push(u8::from(cursor.signature.is_some()) | u8::from(cursor.seq.is_some()) << 1);
    bytes.extend(cursor.signature.map(|signature| signature.0).unwrap_or_default());
    bytes.extend(cursor.seq.unwrap_or_default().0.to_be_bytes());
}

/// The first byte of a view: which of those before it is the same, or what it is. Views of a few
/// groups have as many more than the last of these.
const SAME: u8 = 0;
const NOTHING: u8 = 4;
const WHOLE: u8 = 5;
const MANY: u8 = 6;
const FEW: u8 = 7;

fn write_view(bytes: &mut Vec<u8>, view: &ViewName) {
    match view {
        ViewName::Nothing => bytes.push(NOTHING),
        ViewName::Whole => bytes.push(WHOLE),
        ViewName::Many(hash) => {
            bytes.push(MANY);
            bytes.extend(hash);
        }
        ViewName::Few(ordinals) => {
            bytes.push(FEW + ordinals.len() as u8);
            let mut before = 0;
            for ordinal in ordinals {
                write_number(bytes, ordinal.abs_diff(before));
                before = *ordinal;
            }
        }
    }
}

// Seven bits in a byte, the lowest first; the eighth says that there are more.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn token(&mut self) -> Option<Token> {
        let base = Base { epoch: self.take()?, incarnation: self.take()? };
        let at = self.seq()?;
        let number = self.byte()?;
        let (holds, number) = (number & 1 == 1, number >> 1);
        let mut views = Vec::with_capacity(4);
        for _ in 0..if number == 0 { 2 } else { 4 } {
            let view = self.view(&views)?;
            views.push(view);
        }
        let mut views = views.into_iter();
        let (may, sure) = (views.next()?, views.next()?);
        let phase = match number {
            0 => None,
            1 => Some(Phase::Retract(self.cursor()?)),
            2 => Some(Phase::Replay { cursor: self.cursor()?, until: self.seq()? }),
            3 => Some(Phase::Tail { after: self.seq()?, until: self.seq()? }),
            _ => return None,
        };
        let run = views.next().zip(views.next()).zip(phase);
        let run = run.map(|((to, keep), phase)| Run { to, keep, phase });
        Some(Token { base, holds, place: Place { at, may, sure, run } })
    }

    // Its view has the groups that the person was in, whether they were named or not.
    fn former_token(&mut self) -> Option<Option<Token>> {
        let base = Base { epoch: self.take()?, incarnation: self.take()? };
        let at = self.seq()?;
        let view = match self.byte()? {
            0 => ViewName::Nothing,
            1 => ViewName::Whole,
            2 => ViewName::Few(Vec::new()),
            3 => ViewName::Many(self.take()?),
            _ => return None,
        };
        let holds = self.byte()? == 1;
        if self.byte()? != 0 {
            return Some(None);
        }
        let place = Place { at, may: view.clone(), sure: view, run: None };
        self.0.is_empty().then_some(Some(Token { base, holds, place }))
    }

    fn cursor(&mut self) -> Option<Cursor> {
        let flags = self.byte()?;
        let (signature, seq) = (Signature(self.take()?), self.seq()?);
        Some(Cursor {
            signature: (flags & 1 != 0).then_some(signature),
            seq: (flags & 2 != 0).then_some(seq),
        })
    }

    fn view(&mut self, before: &[ViewName]) -> Option<ViewName> {
        Some(match self.byte()? {
            same @ SAME..NOTHING => before.get(usize::from(same - SAME))?.clone(),
            NOTHING => ViewName::Nothing,
            WHOLE => ViewName::Whole,
            MANY => ViewName::Many(self.take()?),
            few => {
                let mut ordinals = Vec::new();
                let mut last = 0_i64;
                for _ in 0..few - FEW {
                    last = last.checked_add_unsigned(self.number()?)?;
                    ordinals.push(last);
                }
                ViewName::Few(ordinals)
            }
        })
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
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
