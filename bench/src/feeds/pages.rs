//! CPU time of pages: idle, a thousand changes behind, the first page, everything.

use std::fmt::Write as _;

use anyhow::Result;

use crate::feeds::shapes::{Home, Shape, ask, put, scatter};
use crate::feeds::walk::Walk;
use crate::feeds::{Clock, FeedOptions, micros};

/// Entries in a page, and in a page of everything.
const PAGE: usize = 100;
const LARGE_PAGE: usize = 1_000;
/// Writes that a device missed.
const BEHIND: u64 = 1_000;
/// People who ask.
const ASKING: u64 = 8;

/// What is asked.
const REQUESTS: [&str; 4] =
    ["nothing new", "1,000 writes behind", "first page of 100", "everything visible"];

/// One shape: for each request, the feed's microseconds and those of the walk by hand.
pub(crate) struct Row {
    shape: Shape,
    visible: usize,
    feed_us: [f64; 4],
    walk_us: [f64; 4],
}

pub(crate) async fn measure(home: &Home, options: &FeedOptions) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for shape in Shape::ALL {
        let row = measure_shape(home, shape, options).await?;
        println!("{}, {}: {:?} / {:?}", home.name, shape.name(), row.feed_us, row.walk_us);
        rows.push(row);
    }
    Ok(rows)
}

async fn measure_shape(home: &Home, shape: Shape, options: &FeedOptions) -> Result<Row> {
    let people = (0..ASKING).map(|n| scatter(n) % options.people);
    let mut tokens = Vec::new();
    for person in people.clone() {
        tokens.push(to_the_end(home, shape, person, None).await?);
    }
    let old_head = home.store.head(&shape.collection()).await?.map_or(0, |head| head.seq.0);
    let visible = tokens[0].1;
    let mut feed_us = [0.0; 4];
    let mut clock = Clock::start(&home.pids);
    loop {
        let n = clock.count % ASKING;
        let (token, _) = &tokens[n as usize];
        let person = people.clone().nth(n as usize).unwrap_or_default();
        home.engine.feed(&ask(shape, person, PAGE), Some(token)).await?;
        if !clock.again() {
            break;
        }
    }
    feed_us[0] = clock.each_us();
    let walk = Walk::new(home, shape, people.clone()).await?;
    let mut walk_us = [0.0; 4];
    walk_us[0] = walk.run(&home.pids, old_head, usize::MAX).await?;
    for n in 0..BEHIND {
        let n = scatter(n) % options.records;
        home.apply(vec![put(shape, n, shape.readers(n, options.people))]).await?;
    }
    let mut clock = Clock::start(&home.pids);
    loop {
        let n = clock.count % ASKING;
        let person = people.clone().nth(n as usize).unwrap_or_default();
        to_the_end(home, shape, person, Some(tokens[n as usize].0.clone())).await?;
        if !clock.again() {
            break;
        }
    }
    feed_us[1] = clock.each_us();
    walk_us[1] = walk.run(&home.pids, old_head, usize::MAX).await?;
    let mut clock = Clock::start(&home.pids);
    loop {
        let person = people.clone().nth((clock.count % ASKING) as usize).unwrap_or_default();
        home.engine.feed(&ask(shape, person, PAGE), None).await?;
        if !clock.again() {
            break;
        }
    }
    feed_us[2] = clock.each_us();
    walk_us[2] = walk.run(&home.pids, 0, PAGE).await?;
    let mut clock = Clock::start(&home.pids);
    loop {
        let person = people.clone().nth((clock.count % ASKING) as usize).unwrap_or_default();
        to_the_end(home, shape, person, None).await?;
        if !clock.again() {
            break;
        }
    }
    feed_us[3] = clock.each_us();
    walk_us[3] = walk.run(&home.pids, 0, usize::MAX).await?;
    Ok(Row { shape, visible, feed_us, walk_us })
}

// Reads pages until at rest; gives the token and how many records were told.
async fn to_the_end(
    home: &Home,
    shape: Shape,
    person: u64,
    token: Option<String>,
) -> Result<(String, usize)> {
    let limit = if token.is_some() { PAGE } else { LARGE_PAGE };
    let query = ask(shape, person, limit);
    let (mut token, mut told) = (token, 0);
    loop {
        let page = home.engine.feed(&query, token.as_deref()).await?;
        told += page.entries.len();
        if !page.more {
            return Ok((page.token, told));
        }
        token = Some(page.token);
    }
}

pub(crate) fn to_markdown(tables: &[(&str, Vec<Row>)], options: &FeedOptions) -> String {
    let mut out = format!(
        "### Pages\n\nCPU microseconds a request, server and database together, {} records, {} \
         people; in brackets a walk along the positions that filters by hand.\n\n| | shape | \
         visible |",
        options.records, options.people
    );
    REQUESTS.iter().for_each(|request| {
        let _ = write!(out, " {request} |");
    });
    let _ = writeln!(out, "\n|---|---|--:|--:|--:|--:|--:|");
    for (name, rows) in tables {
        for row in rows {
            let _ = write!(out, "| {name} | {} | {} |", row.shape.name(), row.visible);
            for (feed, walk) in row.feed_us.iter().zip(row.walk_us) {
                let _ = write!(out, " {} ({}) |", micros(*feed), micros(walk));
            }
            out.push('\n');
        }
    }
    out
}
