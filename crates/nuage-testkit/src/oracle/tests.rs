use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use nuage_model::{DIGEST_MODULUS, RecordId, Timestamp, digest};

use super::*;
use crate::backend::block_on;
use crate::oracle::world::World;

/// What is wrong with a feed that keeps what each client has, and is right otherwise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Wrong {
    Nothing,
    ShowsAll,
    NeverRemoves,
    NamesTheInvisible,
    SkipsNewReaders,
    BeginsAnewAtTimes,
    TakesAnyToken,
    NeverRests,
    MiscountsTheSum,
    RefusesAtTimes,
}

const ALL: [Wrong; 9] = [
    Wrong::ShowsAll,
    Wrong::NeverRemoves,
    Wrong::NamesTheInvisible,
    Wrong::SkipsNewReaders,
    Wrong::BeginsAnewAtTimes,
    Wrong::TakesAnyToken,
    Wrong::NeverRests,
    Wrong::MiscountsTheSum,
    Wrong::RefusesAtTimes,
];

struct Memory {
    wrong: Wrong,
    world: World,
    clock: i64,
    /// What was given under each token, to whom, in which incarnation.
    given: BTreeMap<String, (usize, u64, BTreeMap<usize, u64>)>,
}

impl Subject for Memory {
    async fn change(&mut self, deeds: &[Deed]) -> Result<Vec<i64>, String> {
        let mut times = Vec::new();
        for deed in deeds {
            self.clock += 1;
            self.world.apply(deed);
            self.world.stamp(deed, self.clock);
            times.push(self.clock);
        }
        self.world.commit();
        Ok(times)
    }

    async fn page(&mut self, ask: Ask<'_>) -> Result<Reply, String> {
        let any = self.wrong == Wrong::TakesAnyToken;
        let good = |(person, incarnation, _): &&(usize, u64, BTreeMap<usize, u64>)| {
            (any || *person == ask.person) && *incarnation == self.world.incarnation
        };
        let known = ask.token.and_then(|token| self.given.get(token)).filter(good);
        let known = known.map(|(_, _, has)| has.clone());
        let number = self.given.len();
        let known = known.filter(|_| self.wrong != Wrong::BeginsAnewAtTimes || number % 17 != 16);
        let reset = known.is_none();
        let mut has = known.unwrap_or_default();
        let visible: BTreeMap<usize, (u64, i64)> = match self.wrong {
            Wrong::ShowsAll => self.all(),
            _ => self.visible(ask.person),
        };
        if self.wrong == Wrong::RefusesAtTimes && number % 29 == 28 {
            self.given.insert(format!("t{number}"), Default::default());
            return Ok(Reply::Refused);
        }
        let mut entries = Vec::new();
        let gone: BTreeSet<usize> = match self.wrong {
            Wrong::NeverRemoves => BTreeSet::new(),
            Wrong::NamesTheInvisible => self.all().into_keys().chain(has.keys().copied()).collect(),
            _ => has.keys().copied().collect(),
        };
        for record in gone.into_iter().filter(|record| !visible.contains_key(record)) {
            entries.push((record, Entry::Removal(format!("r{record}"))));
        }
        for (record, (content, time)) in &visible {
            let skipped =
                self.wrong == Wrong::SkipsNewReaders && !reset && !has.contains_key(record);
            if has.get(record) != Some(content) && !skipped {
                entries.push((*record, Entry::Change(format!("r{record}"), *content, *time)));
            }
        }
        let more = entries.len() > ask.limit || self.wrong == Wrong::NeverRests;
        entries.truncate(ask.limit);
        for (record, entry) in &entries {
            match entry {
                Entry::Change(_, content, _) => has.insert(*record, *content),
                Entry::Removal(_) => has.remove(record),
            };
        }
        let token = format!("t{number}");
        self.given.insert(token.clone(), (ask.person, self.world.incarnation, has));
        let entries = entries.into_iter().map(|(_, entry)| entry).collect();
        let sum = (ask.sum && !more).then(|| self.sum(&visible));
        Ok(Reply::Page(Page { reset, entries, token, more, head: None, sum }))
    }

    async fn compact(&mut self, _: Option<i64>) -> Result<Option<i64>, String> {
        Ok(None)
    }

    async fn forget_views(&mut self) -> Result<bool, String> {
        Ok(false)
    }
}

impl Memory {
    fn visible(&self, person: usize) -> BTreeMap<usize, (u64, i64)> {
        let visible = self.world.visible(person);
        visible.map(|(record, live)| (record, (live.content, live.time))).collect()
    }

    fn all(&self) -> BTreeMap<usize, (u64, i64)> {
        (0..=PERSONS).flat_map(|person| self.visible(person)).collect()
    }

    fn sum(&self, visible: &BTreeMap<usize, (u64, i64)>) -> (u64, u64) {
        let digests = visible.iter().map(|(record, (_, time))| {
            digest(&RecordId::from(format!("r{record}")), Timestamp(*time))
        });
        let sum = digests.fold(0, |sum: u64, one| (sum + one) % DIGEST_MODULUS);
        (visible.len() as u64 + u64::from(self.wrong == Wrong::MiscountsTheSum), sum)
    }
}

struct Memories(Wrong);

impl Stage for Memories {
    type Subject = Memory;

    async fn subject(&self, _: u64) -> Memory {
        Memory { wrong: self.0, world: World::default(), clock: 0, given: BTreeMap::new() }
    }
}

fn all(histories: u64) -> Campaign {
    Campaign {
        seed: 1,
        histories: Some(histories),
        time: Duration::MAX,
        least: Minimum::default(),
        steps: 70,
        workers: 2,
        mix: None,
        shrink: true,
        every: Duration::from_secs(3_600),
    }
}

async fn tried(wrong: Wrong, histories: u64) -> Result<Tally, String> {
    campaign(Arc::new(Memories(wrong)), all(histories), |_| ()).await
}

#[test]
fn a_feed_that_remembers_what_everybody_has_is_right() {
    block_on(async {
        let tally = tried(Wrong::Nothing, 200).await.unwrap_or_else(|why| panic!("{why}"));
        assert_eq!(tally.histories, 200);
        assert!(tally.removals > 200 && tally.resets > 500, "{tally:?}");
    });
}

#[test]
fn what_is_wrong_with_a_feed_is_found_and_told_in_a_few_steps() {
    block_on(async {
        for wrong in ALL {
            let why = tried(wrong, 200).await.expect_err(&format!("{wrong:?} is not noticed"));
            let steps = why.lines().find_map(|line| line.strip_prefix("in ")).unwrap_or("");
            let steps = steps.split(' ').next().and_then(|number| number.parse::<usize>().ok());
            assert!(steps.is_some_and(|steps| steps <= 40), "{wrong:?} takes many: {why}");
        }
    });
}

#[test]
fn what_must_be_tried_is_tried_when_the_time_is_over() {
    block_on(async {
        let least = Minimum { histories: 20, ..Minimum::default() };
        let hurried = Campaign { time: Duration::ZERO, least, ..all(200) };
        let stage = Arc::new(Memories(Wrong::Nothing));
        let tally = campaign(stage, hurried, |_| ()).await.unwrap_or_else(|why| panic!("{why}"));
        assert!((20..200).contains(&tally.histories), "{tally}");
    });
}

#[test]
fn a_campaign_that_tries_too_little_fails() {
    block_on(async {
        let no_more = Minimum::default();
        for least in [
            Minimum { histories: 21, ..no_more },
            Minimum { resets: 1_000_000, ..no_more },
            Minimum { removals: 1_000_000, ..no_more },
        ] {
            let tried =
                campaign(Arc::new(Memories(Wrong::Nothing)), Campaign { least, ..all(20) }, |_| ());
            let why = tried.await.expect_err("that is too little");
            assert!(why.starts_with("too little was tried: 20 histories, "), "{why}");
        }
    });
}

#[test]
fn a_seed_gives_the_same_history_each_time() {
    for mix in MIXES {
        assert_eq!(history(7, mix, 50), history(7, mix, 50));
        assert_ne!(history(7, mix, 50), history(8, mix, 50));
    }
}
