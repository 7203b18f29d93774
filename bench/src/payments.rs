//! Lists, polls and feed pages of people who may read part of a collection, beside those of whoever
//! may read all of it: one collection of receipts, each of which one person and the group of one
//! product may read, so that there are nearly as many sets of readers as receipts.

mod site;

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures_util::future::try_join_all;

use crate::feeds::micros;
use crate::load::Awake;
use crate::machine;
use crate::options::PaymentsOptions;
use crate::payments::site::{COLLECTION, Site, Viewer};
use crate::process::{cpu_time, pin_self};
use crate::report;
use crate::servers::Places;
use crate::servers::database::is_installed;
use crate::wire::{Connection, request};

/// The part of docs/performance.md that is written.
const SECTION: &str = "bench-payments";
/// People of each kind who ask, each on a connection of their own.
pub(crate) const ASKING: usize = 8;
/// Entries in a page.
const PAGE: usize = 100;
/// Measurements of each kind, taken in turns, and how long each is.
const ROUNDS: usize = 3;
const LONG: Duration = Duration::from_millis(700);
const WARM_UP: Duration = Duration::from_millis(200);
/// Receipts of other people that were written between two polls.
const OTHERS: u64 = 1_000;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ask {
    List,
    Poll,
    PollLater,
    FeedPage,
    FeedAtRest,
}

impl Ask {
    const ALL: [Self; 5] =
        [Self::List, Self::Poll, Self::FeedPage, Self::FeedAtRest, Self::PollLater];

    fn title(self) -> &'static str {
        match self {
            Self::List => "list of 100",
            Self::Poll => "poll, nothing new",
            Self::FeedPage => "feed, first page of 100",
            Self::FeedAtRest => "feed, nothing new",
            Self::PollLater => "poll of 100, 1,000 receipts later",
        }
    }
}

/// Measures, prints, and writes the table if asked to.
pub(crate) async fn run(options: &PaymentsOptions) -> Result<()> {
    let places = Places::find(!options.no_pin, None)?;
    if places.pin {
        pin_self()?;
    }
    let mut text = machine::describe(&places.data, places.pin)?;
    println!("{text}");
    let _ = writeln!(
        text,
        "\n\nCPU microseconds a request, server and database together, over HTTP, {ASKING} people \
         at a time; the median of {ROUNDS} rounds. {} receipts of {} people and {} products. In \
         brackets, how many receipts the answer holds.\n\n\
         | | request | sees all | sees half, by groups | sees {}, one person | half / all | \
         one person / all |\n|---|---|--:|--:|--:|--:|--:|",
        options.receipts,
        options.people,
        site::PRODUCTS,
        options.receipts / options.people,
    );
    let mut sites: Vec<(&str, Site)> = vec![("SQLite", Site::on_sqlite(&places).await?)];
    if is_installed() {
        sites.push(("PostgreSQL", Site::on_postgres(&places).await?));
    }
    for (name, site) in &sites {
        let begun = Instant::now();
        site.load(options).await?;
        println!("{name}: {} receipts loaded in {:.0?}", options.receipts, begun.elapsed());
    }
    for (name, site) in &sites {
        for row in measure(site, options).await? {
            println!("| {name} {row}");
            let _ = writeln!(text, "| {name} {row}");
        }
    }
    println!("\n{text}");
    if options.write {
        report::publish(SECTION, &text)?;
    }
    drop(sites);
    std::fs::remove_dir_all(&places.data)?;
    Ok(())
}

/// The rows of one server.
async fn measure(site: &Site, options: &PaymentsOptions) -> Result<Vec<String>> {
    let mut rows = Vec::new();
    for ask in Ask::ALL {
        let mut prepared = Vec::new();
        for viewer in Viewer::ALL {
            prepared.push(Askers::prepare(site, ask, viewer).await?);
        }
        if ask == Ask::PollLater {
            site.write_receipts(options, options.receipts..options.receipts + OTHERS).await?;
        }
        let mut figures = vec![Vec::new(); prepared.len()];
        let mut shown = Vec::new();
        for askers in &mut prepared {
            shown.push(askers.once().await?);
            askers.go_on(WARM_UP).await?;
        }
        for _ in 0..ROUNDS {
            for (askers, figures) in prepared.iter_mut().zip(&mut figures) {
                let before = cpu_time(&site.pids);
                let requests = askers.go_on(LONG).await?;
                let nanos = cpu_time(&site.pids).since(&before);
                figures.push(nanos as f64 / 1_000.0 / requests as f64);
            }
        }
        let us: Vec<f64> = figures.into_iter().map(median).collect();
        let mut row = format!("| {} |", ask.title());
        for (us, shown) in us.iter().zip(shown) {
            let _ = write!(row, " {} ({shown}) |", micros(*us));
        }
        let _ = write!(row, " {:.2} | {:.2} |", us[1] / us[0], us[2] / us[0]);
        rows.push(row);
    }
    Ok(rows)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// People of one kind with what each asks.
struct Askers(Vec<(Connection, Vec<u8>)>);

impl Askers {
    async fn prepare(site: &Site, ask: Ask, viewer: Viewer) -> Result<Self> {
        let mut askers = Vec::new();
        for number in 0..ASKING {
            let login = viewer.login(number);
            let mut connection = Connection::new(site.address);
            let list = format!("{COLLECTION}/records?_limit={PAGE}");
            let feed = format!("{COLLECTION}/feed?limit={PAGE}");
            let path = match ask {
                Ask::List => list,
                Ask::FeedPage => feed,
                Ask::Poll | Ask::PollLater => {
                    let answer = connection.exchange(&request("GET", &list, &login, "")).await?;
                    let etag = answer.etag.context("a list without an ETag")?;
                    format!("{list}&_since={}", etag.trim_matches('"'))
                }
                Ask::FeedAtRest => {
                    let token = at_rest(&mut connection, &login).await?;
                    format!("{feed}&token={token}")
                }
            };
            askers.push((connection, request("GET", &path, &login, "")));
        }
        Ok(Self(askers))
    }

    /// Asks once, and says how many receipts the first one is shown.
    async fn once(&mut self) -> Result<usize> {
        let mut shown = Vec::new();
        for (connection, request) in &mut self.0 {
            let answer = connection.exchange(request).await?;
            let body = String::from_utf8_lossy(answer.body);
            ensure!(answer.status == 200, "answered {}: {body}", answer.status);
            shown.push(body.matches("\"last_modified\":").count());
        }
        Ok(shown[0])
    }

    /// All of them ask for a while; how many requests were answered.
    async fn go_on(&mut self, time: Duration) -> Result<u64> {
        let awake = Awake::keep();
        let until = Instant::now() + time;
        let asking = self.0.iter_mut().map(|(connection, request)| async move {
            let mut requests = 0_u64;
            while requests == 0 || Instant::now() < until {
                let status = connection.exchange(request).await?.status;
                ensure!(status == 200, "answered {status}");
                requests += 1;
            }
            Ok(requests)
        });
        let requests = try_join_all(asking).await?;
        drop(awake);
        Ok(requests.into_iter().sum())
    }
}

/// Reads a feed to its end, and gives the token with which there is nothing new.
async fn at_rest(connection: &mut Connection, login: &str) -> Result<String> {
    let mut path = format!("{COLLECTION}/feed?limit=1000");
    loop {
        let answer = connection.exchange(&request("GET", &path, login, "")).await?;
        let page: serde_json::Value = serde_json::from_slice(answer.body)?;
        let token = page["token"].as_str().with_context(|| format!("no token: {page}"))?;
        if page["more"] == false {
            return Ok(token.to_owned());
        }
        path = format!("{COLLECTION}/feed?limit=1000&token={token}");
    }
}
