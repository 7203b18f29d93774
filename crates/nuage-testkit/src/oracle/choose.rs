//! What a seed tries: histories with different weights, so that each rule of the feed has some
//! that press on it.

use std::collections::BTreeSet;

use crate::oracle::step::{BUCKETS, Change, DEVICES, GROUPS, PERSONS, RECORDS, Step, Token, Who};
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
    /// Devices are away for long.
    Absences,
    /// Much happens between two pages of one run.
    Scenes,
    /// Groups are lost and found while runs are under way.
    Runs,
}

/// All of them.
pub const MIXES: [Mix; 10] = [
    Mix::Even,
    Mix::Groups,
    Mix::Wholes,
    Mix::Revivals,
    Mix::Chains,
    Mix::Horizons,
    Mix::Tokens,
    Mix::Absences,
    Mix::Scenes,
    Mix::Runs,
];

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
    Forget,
}

/// The steps that a seed stands for.
pub fn history(seed: u64, mix: Mix, steps: usize) -> Vec<Step> {
    let mut chooser = Chooser { random: Random::new(seed ^ 0x6f72_6163_6c65), mix };
    let mut all = vec![Step::Change(chooser.beginning())];
    while all.len() < steps {
        let is_scene = chooser.random.chance(15);
        match mix {
            Mix::Scenes if is_scene => all.extend(chooser.scene()),
            Mix::Runs if is_scene => all.extend(chooser.run()),
            _ => all.push(chooser.step()),
        }
    }
    all
}

struct Chooser {
    random: Random,
    mix: Mix,
}

impl Chooser {
    // Something to see, for most.
    fn beginning(&mut self) -> Vec<Change> {
        let mut changes = Vec::new();
        for group in 0..GROUPS {
            changes.push(Change::Member(group, self.member()));
        }
        for record in 0..RECORDS {
            if self.random.chance(70) {
                let readers = BTreeSet::from([self.reader()]);
                changes.push(Change::Put(record, Some(readers), None));
            }
        }
        changes
    }

    // What chance alone would seldom try.
    fn scene(&mut self) -> Vec<Step> {
        let (group, person) = (self.random.below(GROUPS), self.random.below(PERSONS));
        let device = DEVICES.iter().position(|whose| *whose == person).unwrap_or_default();
        let page = |limit, token| Step::Page { device, limit, token, sum: false };
        let readers = || Some(BTreeSet::from([Who::Group(group)]));
        let one = |change| Step::Change(vec![change]);
        let member = || one(Change::Member(group, Who::Person(person)));
        if self.random.chance(50) {
            // Out of a group and in again, while a record comes and goes that nobody saw before.
            let record = RECORDS + self.random.below(100);
            return vec![
                page(1, Token::None),
                member(),
                one(Change::Put(record, readers(), None)),
                one(Change::Delete(record, None)),
                member(),
                page(1, Token::Own),
            ];
        }
        // Out of a group, while a record is deleted and comes back.
        let (first, second) = (self.random.below(RECORDS), self.random.below(RECORDS));
        vec![
            one(Change::Put(first, readers(), None)),
            one(Change::Put(second, readers(), None)),
            page(100, Token::Own),
            member(),
            one(Change::Delete(first, None)),
            page(1, Token::Own),
            one(Change::Put(first, None, None)),
            page(1, Token::Own),
        ]
    }

    // A run that ends otherwise than it began.
    fn run(&mut self) -> Vec<Step> {
        let (group, person) = (self.random.below(GROUPS), self.random.below(PERSONS));
        let other = (group + 1 + self.random.below(GROUPS - 1)) % GROUPS;
        let device = DEVICES.iter().position(|whose| *whose == person).unwrap_or_default();
        let page = |limit| Step::Page { device, limit, token: Token::Own, sum: false };
        let member = |group| Step::Change(vec![Change::Member(group, Who::Person(person))]);
        let shared =
            |record, group| Change::Put(record, Some(BTreeSet::from([Who::Group(group)])), None);
        let hidden = |record| Change::Put(record, Some(BTreeSet::new()), None);
        let one = |change| Step::Change(vec![change]);
        let first = self.random.below(RECORDS);
        let [second, third, last] = [1, 2, 3].map(|more| (first + more) % RECORDS);
        let unknown = RECORDS + self.random.below(100);
        match self.random.below(4) {
            // Shared and taken back, by one commit and by two, beside a stay in the group.
            0 => vec![
                one(hidden(unknown)),
                one(shared(unknown, group)),
                one(hidden(unknown)),
                member(group),
                page(100),
                Step::Change(vec![shared(unknown, group), hidden(unknown)]),
                page(1),
                member(group),
                one(shared(unknown, group)),
                one(hidden(unknown)),
                page(1),
            ],
            // A group is lost, and found again while that is told.
            1 => vec![
                one(shared(first, group)),
                one(shared(second, group)),
                page(100),
                member(group),
                page(1),
                one(Change::Unshare(second, Who::Group(group))),
                one(shared(third, group)),
                member(group),
                page(1),
            ],
            // Another group is lost while the loss of one is told.
            2 => vec![
                one(shared(first, group)),
                one(shared(second, group)),
                page(100),
                member(group),
                page(1),
                member(other),
                one(shared(unknown, other)),
                page(1),
            ],
            // What was taken is given again and taken again while that is told.
            _ => vec![
                Step::Change([first, second, third, last].map(|it| shared(it, group)).into()),
                page(100),
                one(shared(first, group)),
                one(hidden(second)),
                one(shared(third, group)),
                one(shared(last, group)),
                page(1),
                one(shared(second, group)),
                page(1),
                one(hidden(second)),
                page(1),
            ],
        }
    }

    fn step(&mut self) -> Step {
        let kind = self.random.weighted(&self.weights());
        match kind {
            Kind::Page => self.page(),
            Kind::Compact => Step::Compact(self.random.below(4)),
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
            Several, Page, Compact, Forget,
        ];
        let weights: [usize; 15] = match self.mix {
            Mix::Even => [14, 6, 7, 4, 4, 8, 1, 2, 1, 1, 4, 6, 50, 1, 1],
            Mix::Groups => [12, 6, 8, 1, 1, 22, 2, 0, 0, 0, 2, 5, 60, 0, 0],
            Mix::Wholes => [16, 5, 8, 2, 2, 4, 1, 9, 6, 1, 4, 4, 55, 1, 0],
            Mix::Revivals => [8, 22, 20, 0, 0, 10, 0, 2, 0, 0, 2, 3, 60, 0, 0],
            Mix::Chains => [20, 2, 3, 8, 8, 8, 1, 1, 0, 0, 2, 6, 45, 0, 0],
            Mix::Horizons => [16, 6, 12, 3, 3, 5, 0, 1, 0, 1, 3, 3, 60, 7, 1],
            Mix::Tokens => [14, 6, 8, 3, 3, 7, 1, 2, 1, 2, 5, 3, 60, 2, 1],
            Mix::Absences => [24, 6, 16, 6, 6, 5, 0, 1, 0, 0, 2, 10, 14, 0, 0],
            Mix::Scenes => [14, 6, 6, 2, 2, 10, 0, 1, 0, 0, 2, 3, 40, 0, 0],
            Mix::Runs => [14, 6, 6, 4, 4, 10, 0, 1, 0, 0, 2, 3, 40, 1, 0],
        };
        weights.into_iter().zip(kinds).collect()
    }

    fn page(&mut self) -> Step {
        // The stranger asks less often.
        let known = DEVICES.len() - usize::from(self.random.chance(70));
        let device = self.random.below(known);
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
            Kind::Gone if self.random.chance(60) => Change::DropBucket(self.random.below(BUCKETS)),
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

    // Not all who say who they are: groups of one bucket count in others, of other histories.
    fn member(&mut self) -> Who {
        match self.random.below(4) {
            0 => Who::Group(self.random.below(GROUPS)),
            _ => Who::Person(self.random.below(PERSONS)),
        }
    }
}
