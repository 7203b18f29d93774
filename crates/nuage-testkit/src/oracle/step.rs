//! What a history is made of, and how it reads when it is shown to people.
//!
//! A step means something in whatever state it meets, or nothing: so any of them can be left out
//! of a history that failed.

use std::collections::BTreeSet;
use std::fmt;

use nuage_model::{AUTHENTICATED, EVERYONE};

/// Persons; whoever is beyond them is a stranger without a name.
pub const PERSONS: usize = 3;
/// Groups.
pub const GROUPS: usize = 4;
/// Buckets: the first one has the collection, and groups are in all of them.
pub const BUCKETS: usize = 3;
/// Records.
pub const RECORDS: usize = 7;
/// Whose each device is: two are of one person, the last is a stranger's.
pub const DEVICES: [usize; 5] = [0, 0, 1, 2, PERSONS];

/// Who may be let in.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Who {
    /// One of the persons.
    Person(usize),
    /// All in one of the groups.
    Group(usize),
    /// All who say who they are.
    Authenticated,
    /// All.
    Everyone,
}

/// Which of the buckets a group is in.
pub(crate) fn bucket_of(group: usize) -> usize {
    group % BUCKETS
}

/// The names that a history gives to what it is about: its own, so that many share a server.
#[derive(Clone, Debug)]
pub struct Names {
    /// The bucket of the history; those of other groups have names that begin so.
    pub bucket: String,
    /// The persons, as principals.
    pub persons: Vec<String>,
}

impl Names {
    /// One of the buckets.
    pub fn bucket(&self, number: usize) -> String {
        match number {
            0 => self.bucket.clone(),
            _ => format!("{}-{number}", self.bucket),
        }
    }

    /// A group, by its bucket and its id.
    pub fn group(&self, group: usize) -> (String, String) {
        (self.bucket(bucket_of(group)), format!("g{group}"))
    }

    /// The principal that stands for somebody.
    pub fn principal(&self, who: Who) -> String {
        match who {
            Who::Person(person) => self.persons[person].clone(),
            Who::Group(group) => {
                let (bucket, group) = self.group(group);
                format!("/buckets/{bucket}/groups/{group}")
            }
            Who::Authenticated => AUTHENTICATED.to_owned(),
            Who::Everyone => EVERYONE.to_owned(),
        }
    }

    /// The principals that stand for some.
    pub fn principals(&self, all: &BTreeSet<Who>) -> Vec<String> {
        all.iter().map(|who| self.principal(*who)).collect()
    }
}

/// One step of a history.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// Changes that are made together.
    Change(Vec<Change>),
    /// A device asks for a page.
    Page {
        /// Which.
        device: usize,
        /// Most entries.
        limit: usize,
        /// What it brings.
        token: Token,
        /// Whether it asks for the sum.
        sum: bool,
    },
    /// What ended is forgotten: up to the present, or to where a page told that the head was, so
    /// many pages ago.
    Compact(usize),
    /// What was kept of views is forgotten.
    ForgetViews,
}

/// What a device brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Token {
    /// Its own.
    Own,
    /// Its own, of so many pages ago, with the mirror that it had then: it was restored from a
    /// copy.
    Back(usize),
    /// The one of another device; with its mirror, if they are of the same person.
    Of(usize),
    /// Nothing that the server ever gave.
    Forged,
    /// Nothing: it begins anew.
    None,
}

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Change {
    /// A record is written, with these readers or those that it has or last had; under a time so
    /// many milliseconds away from the latest one.
    Put(usize, Option<BTreeSet<Who>>, Option<i64>),
    /// A record is deleted.
    Delete(usize, Option<i64>),
    /// One reader more.
    Share(usize, Who),
    /// One reader less.
    Unshare(usize, Who),
    /// Goes into a group, or out of it.
    Member(usize, Who),
    /// A group is deleted.
    DropGroup(usize),
    /// May read the whole collection, or not any more.
    CollectionReader(Who),
    /// May read the whole bucket, or not any more.
    BucketReader(Who),
    /// The collection is deleted.
    DropCollection,
    /// A bucket is deleted.
    DropBucket(usize),
    /// What was deleted of buckets and collection is made again, empty.
    Create,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Person(person) => write!(f, "p{person}"),
            Self::Group(group) => write!(f, "g{group}"),
            Self::Authenticated => f.write_str("authenticated"),
            Self::Everyone => f.write_str("everyone"),
        }
    }
}

/// Some of them, in braces.
pub(crate) fn shown(all: &BTreeSet<Who>) -> String {
    let names: Vec<String> = all.iter().map(Who::to_string).collect();
    format!("{{{}}}", names.join(" "))
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Change(changes) => {
                let changes: Vec<String> = changes.iter().map(Change::to_string).collect();
                f.write_str(&changes.join(" + "))
            }
            Self::Page { device, limit, token, sum } => {
                let (whose, sum) = (DEVICES[*device], if *sum { ", sum" } else { "" });
                let whose = if whose < PERSONS { format!("p{whose}") } else { "nobody".to_owned() };
                write!(f, "d{device} of {whose} asks for {limit}{sum}")?;
                match token {
                    Token::Own => Ok(()),
                    Token::Back(pages) => write!(f, ", as it was {pages} pages ago"),
                    Token::Of(other) => write!(f, ", with the token of d{other}"),
                    Token::Forged => f.write_str(", with a forged token"),
                    Token::None => f.write_str(", anew"),
                }
            }
            Self::Compact(0) => f.write_str("all that ended is forgotten"),
            Self::Compact(pages) => write!(f, "what ended before {pages} pages is forgotten"),
            Self::ForgetViews => f.write_str("views are forgotten"),
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |chosen: &Option<i64>| match chosen {
            Some(away) => format!(" at {away:+} ms"),
            None => String::new(),
        };
        match self {
            Self::Put(record, Some(readers), chosen) => {
                write!(f, "put r{record} {}{}", shown(readers), at(chosen))
            }
            Self::Put(record, None, chosen) => {
                write!(f, "put r{record}, readers as they were{}", at(chosen))
            }
            Self::Delete(record, chosen) => write!(f, "delete r{record}{}", at(chosen)),
            Self::Share(record, who) => write!(f, "share r{record} with {who}"),
            Self::Unshare(record, who) => write!(f, "unshare r{record} with {who}"),
            Self::Member(group, who) => write!(f, "{who} into or out of g{group}"),
            Self::DropGroup(group) => write!(f, "delete g{group}"),
            Self::CollectionReader(who) => write!(f, "collection readable by {who} or not"),
            Self::BucketReader(who) => write!(f, "bucket readable by {who} or not"),
            Self::DropCollection => f.write_str("delete the collection"),
            Self::DropBucket(bucket) => write!(f, "delete bucket {bucket}"),
            Self::Create => f.write_str("make what was deleted again"),
        }
    }
}
