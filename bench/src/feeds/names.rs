//! What groups cost: somebody who may read single records of a collection that names few groups or
//! many, with groups inside them, and with strangers who put people into groups of their own. With all
//! that is remembered, after a change of members, and with nothing remembered.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use nuage_engine::{Attempts, Engine, FeedQuery, Intent, ListIntent};
use nuage_model::{
    Body, CollectionPath, GroupPath, Placement, Put, Query, Readers, RecordPath, Write,
};

use crate::feeds::micros;
use crate::feeds::shapes::{Home, person, plain};

/// Groups of strangers, and how many of them contain a group that is named.
const STRANGERS: u64 = 32_000;
const AROUND: u64 = 1_000;
/// Writes of one batch.
const BATCH: usize = 1_000;
/// How often each is measured.
const TIMES: usize = 25;

/// A collection and its groups.
struct Case {
    name: &'static str,
    bucket: &'static str,
    names: u64,
    /// Groups inside one that is named, one in the other.
    inside: u64,
    strangers: bool,
}

const CASES: [Case; 5] = [
    Case { name: "5 names", bucket: "n5", names: 5, inside: 0, strangers: false },
    Case { name: "100 names", bucket: "n100", names: 100, inside: 0, strangers: false },
    Case { name: "10,000 names", bucket: "n10000", names: 10_000, inside: 0, strangers: false },
    Case {
        name: "350 names with 1,050 groups inside, three deep",
        bucket: "deep",
        names: 350,
        inside: 3,
        strangers: false,
    },
    // The last one, for the strangers' groups concern the same person in all.
    Case {
        name: "100 names, and 32,000 groups of strangers",
        bucket: "flooded",
        names: 100,
        inside: 0,
        strangers: true,
    },
];

const REQUESTS: [&str; 5] = [
    "poll, all remembered",
    "poll, members changed",
    "poll, nothing remembered",
    "list of 10, all remembered",
    "get, members changed",
];

impl Case {
    fn collection(&self) -> CollectionPath {
        CollectionPath::new(self.bucket, "c")
    }

    // Number `depth` inside the group of this number; 0 is the one that is named.
    fn group(&self, n: u64, depth: u64) -> GroupPath {
        let name = format!("g{n}-{depth}");
        GroupPath { bucket: self.bucket.into(), group: name.as_str().into() }
    }

    async fn load(&self, home: &Home) -> Result<()> {
        let mut writes = vec![
            plain(&RecordPath::bucket(self.bucket.into())),
            plain(&CollectionPath::collections(self.bucket.into()).record("c")),
        ];
        for n in 0..self.names {
            for depth in 0..=self.inside {
                let member = match depth < self.inside {
                    true => self.group(n, depth + 1).principal(),
                    false => person(n % 100),
                };
                let group = self.group(n, depth);
                writes.push(Write::SetMembers { group, members: vec![member] });
            }
            let reader = self.group(n, 0).principal();
            writes.push(Write::Put(Put {
                path: self.collection().record(format!("r{n}").as_str()),
                body: Body::from("{}".to_owned()),
                permissions: format!("{{\"read\":[\"{reader}\"]}}"),
                readers: Readers::new(BTreeSet::from([reader])),
                placement: Placement::Next,
            }));
        }
        writes.extend(self.change(0));
        for n in 0..if self.strangers { STRANGERS } else { 0 } {
            let group =
                GroupPath { bucket: "strangers".into(), group: format!("s{n}").as_str().into() };
            let mut members = vec![person(0)];
            if n < AROUND {
                members.push(self.group(0, 0).principal());
            }
            writes.push(Write::SetMembers { group, members });
        }
        for writes in writes.chunks(BATCH) {
            home.apply(writes.to_vec()).await?;
        }
        Ok(())
    }

    // Somebody comes into a group of the bucket that is not named.
    fn change(&self, n: usize) -> [Write; 2] {
        let path = CollectionPath::groups(self.bucket.into()).record("other");
        let group = GroupPath { bucket: self.bucket.into(), group: "other".into() };
        [plain(&path), Write::SetMembers { group, members: vec![person(n as u64 + 1_000)] }]
    }
}

/// The table, for each of these databases.
pub(crate) async fn measure(homes: &[Home]) -> Result<String> {
    let mut text = format!(
        "### Groups\n\nSomebody who may read one record in a hundred, through groups: microseconds until the answer, the \
         middle of {TIMES}.\n"
    );
    for home in homes {
        let _ = write!(text, "\n| {} | {} |\n|---|", home.name, REQUESTS.join(" | "));
        let _ = writeln!(text, "{}", "--:|".repeat(REQUESTS.len()));
        for case in &CASES {
            println!("{}, {}", home.name, case.name);
            case.load(home).await?;
            let cells = measure_case(home, case).await?.map(micros);
            let _ = writeln!(text, "| {} | {} |", case.name, cells.join(" | "));
        }
    }
    Ok(text)
}

async fn measure_case(home: &Home, case: &Case) -> Result<[f64; 5]> {
    let ask = FeedQuery {
        user: Some(person(0)),
        collection: case.collection(),
        limit: 1_000,
        sum: false,
    };
    let mut token = home.engine.feed(&ask, None).await?.token;
    loop {
        let page = home.engine.feed(&ask, Some(&token)).await?;
        token = page.token;
        if !page.more {
            break;
        }
    }
    let poll = async |engine: &Arc<Engine>| engine.feed(&ask, Some(&token)).await.map(drop);
    let record = case.collection().record("r0");
    let mut times: [Vec<Duration>; 5] = Default::default();
    for n in 0..TIMES {
        times[0].push(timed(poll(&home.engine)).await?);
        times[3].push(timed(list(home, case)).await?);
        home.apply(case.change(n).to_vec()).await?;
        times[1].push(timed(poll(&home.engine)).await?);
        let stranger = home.another_engine();
        times[2].push(timed(poll(&stranger)).await?);
        let get = async {
            let mut session = stranger.session(Some(person(0)), &Attempts::default()).await;
            session.open(record.clone(), Intent::Read).await.map(drop)
        };
        times[4].push(timed(get).await?);
    }
    Ok(times.map(|mut times| {
        times.sort();
        times[times.len() / 2].as_secs_f64() * 1e6
    }))
}

async fn list(home: &Home, case: &Case) -> Result<(), nuage_engine::EngineError> {
    let mut session = home.engine.session(Some(person(0)), &Attempts::default()).await;
    let list = session.open_list(case.collection(), ListIntent::Read).await?;
    session.list(&list, Query::all(case.collection(), 10)).await.map(drop)
}

async fn timed<E: std::fmt::Display>(
    work: impl Future<Output = Result<(), E>>,
) -> Result<Duration> {
    let begun = Instant::now();
    work.await.map_err(|error| anyhow!("{error}"))?;
    Ok(begun.elapsed())
}
