//! What a seed tries: histories with different weights, so that each rule of the feed has some
//! that press on it.

use std::collections::BTreeSet;

use crate::oracle::step::{Change, DEVICES, GROUPS, PERSONS, RECORDS, Step, Token, Who};
use crate::random::Random;

/// What a history is mostly about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mix {
    /// A little of everything.
    Even,
    /// Records are shared with groups, and people come and go.
    Groups,
    /// Rights above the records change.
    Wholes,
    /// Records are deleted and come back with the same readers.
    Revivals,
    /// Records go from readers to readers.
    Chains,
    /// Pages are short, and what ended is forgotten.
    Horizons,
    /// Tokens are old, or of somebody else.
    Tokens,
}

/// All of them.
pub const MIXES: [Mix; 7] =
    [Mix::Even, Mix::Groups, Mix::Wholes, Mix::Revivals, Mix::Chains, Mix::Horizons, Mix::Tokens];

#[derive(Clone, Copy)]
enum Kind {
    Put,
    Again,
    Delete,
    Share,
    Unshare,
    Member,
    Group,
    Collection,
    Bucket,
    Gone,
    Create,
    Several,
    Page,
    Compact,
    Merge,
    Forget,
}

/// The steps that a seed stands for.
pub fn history(seed: u64, mix: Mix, steps: usize) -> Vec<Step> {
    let mut chooser = Chooser { random: Random::new(seed ^ 0x6f72_6163_6c65), mix };
    (0..steps).map(|_| chooser.step()).collect()
}

struct Chooser {
    random: Random,
    mix: Mix,
}

impl Chooser {
    fn step(&mut self) -> Step {
        let kind = self.random.weighted(&self.weights());
        match kind {
            Kind::Page => self.page(),
            Kind::Compact => Step::Compact(self.random.below(4)),
            Kind::Merge => Step::Merge,
            Kind::Forget => Step::ForgetViews,
            Kind::Several => {
                let count = 2 + self.random.below(3);
                Step::Change((0..count).map(|_| self.small()).collect())
            }
            kind => Step::Change(vec![self.change(kind)]),
        }
    }

    // A change that can be made together with others.
    fn small(&mut self) -> Change {
        use Kind::*;
        let kinds = [
            (5, Put),
            (3, Again),
            (3, Delete),
            (2, Share),
            (2, Unshare),
            (3, Member),
            (1, Collection),
        ];
        let kind = self.random.weighted(&kinds);
        self.change(kind)
    }

    fn weights(&self) -> Vec<(usize, Kind)> {
        use Kind::*;
        // In this order, so that the mixes can be compared.
        let kinds = [
            Put, Again, Delete, Share, Unshare, Member, Group, Collection, Bucket, Gone, Create,
            Several, Page, Compact, Merge, Forget,
        ];
        let weights: [usize; 16] = match self.mix {
            Mix::Even => [14, 6, 7, 4, 4, 8, 1, 2, 1, 1, 4, 6, 50, 1, 1, 1],
            Mix::Groups => [12, 6, 8, 1, 1, 22, 2, 0, 0, 0, 2, 5, 60, 0, 1, 0],
            Mix::Wholes => [16, 5, 8, 2, 2, 4, 1, 9, 6, 1, 4, 4, 55, 1, 1, 0],
            Mix::Revivals => [8, 22, 20, 0, 0, 10, 0, 2, 0, 0, 2, 3, 60, 0, 1, 0],
            Mix::Chains => [20, 2, 3, 8, 8, 8, 1, 1, 0, 0, 2, 6, 45, 0, 3, 0],
            Mix::Horizons => [16, 6, 12, 3, 3, 5, 0, 1, 0, 1, 3, 3, 60, 7, 1, 1],
            Mix::Tokens => [14, 6, 8, 3, 3, 7, 1, 2, 1, 2, 5, 3, 60, 2, 1, 1],
        };
        weights.into_iter().zip(kinds).collect()
    }

    fn page(&mut self) -> Step {
        let device = self.random.below(DEVICES.len());
        let short = match self.mix {
            Mix::Horizons | Mix::Groups | Mix::Revivals => 80,
            _ => 60,
        };
        let limit = if self.random.chance(short) { 1 + self.random.below(3) } else { 100 };
        let odd = match self.mix {
            Mix::Tokens => 40,
            Mix::Groups | Mix::Revivals => 2,
            _ => 6,
        };
        let token = if self.random.chance(odd) { self.token() } else { Token::Own };
        Step::Page { device, limit, token, sum: self.random.chance(30) }
    }

    fn token(&mut self) -> Token {
        match self.random.below(8) {
            0..=2 => Token::Back(1 + self.random.below(4)),
            3..=5 => Token::Of(self.random.below(DEVICES.len())),
            6 => Token::Forged,
            _ => Token::None,
        }
    }

    fn change(&mut self, kind: Kind) -> Change {
        let record = self.random.below(RECORDS);
        match kind {
            Kind::Put => {
                let readers = if self.random.chance(75) { Some(self.readers()) } else { None };
                Change::Put(record, readers, self.time())
            }
            Kind::Again => Change::Put(record, None, self.time()),
            Kind::Delete => Change::Delete(record, self.time()),
            Kind::Share => Change::Share(record, self.reader()),
            Kind::Unshare => Change::Unshare(record, self.reader()),
            Kind::Group => Change::DropGroup(self.random.below(GROUPS)),
            Kind::Collection => Change::CollectionReader(self.reader()),
            Kind::Bucket => Change::BucketReader(self.reader()),
            Kind::Gone if self.random.chance(25) => Change::DropBucket,
            Kind::Gone => Change::DropCollection,
            Kind::Create => Change::Create,
            _ => Change::Member(self.random.below(GROUPS), self.member()),
        }
    }

    fn time(&mut self) -> Option<i64> {
        self.random.chance(15).then(|| self.random.below(40) as i64 - 30)
    }

    fn readers(&mut self) -> BTreeSet<Who> {
        let count = self.random.weighted(&[(2, 0), (8, 1), (3, 2), (1, 3)]);
        (0..count).map(|_| self.reader()).collect()
    }

    fn reader(&mut self) -> Who {
        let groups = match self.mix {
            Mix::Groups | Mix::Revivals => 80,
            Mix::Chains => 30,
            _ => 50,
        };
        match self.random.below(24) {
            0 => Who::Authenticated,
            1 => Who::Everyone,
            _ if self.random.chance(groups) => Who::Group(self.random.below(GROUPS)),
            _ => Who::Person(self.random.below(PERSONS)),
        }
    }

    fn member(&mut self) -> Who {
        match self.random.below(12) {
            0 => Who::Authenticated,
            1..=3 => Who::Group(self.random.below(GROUPS)),
            _ => Who::Person(self.random.below(PERSONS)),
        }
    }
}
