//! Plays a history on a subject, and has each answer judged.

use std::fmt;

use crate::oracle::device::Device;
use crate::oracle::judge::{self, Brought};
use crate::oracle::step::{Change, DEVICES, Step, Token};
use crate::oracle::subject::{Ask, Reply, Subject};
use crate::oracle::world::World;

/// Within so many pages a device must come to rest when nothing changes any more: each record and
/// each departure may take one page of its own, and a run may begin anew once.
const DRAIN_PAGES: usize = 300;

/// What was tried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Tally {
    /// Histories that were played to their end.
    pub histories: u64,
    /// Changes that were made.
    pub changes: u64,
    /// Pages that were judged.
    pub pages: u64,
    /// Pages with which a device began anew.
    pub resets: u64,
    /// Removals that were told.
    pub removals: u64,
    /// Answers that there is nothing to see.
    pub refusals: u64,
}

/// What must be tried at least: that nothing was found says little if hardly anything was.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Minimum {
    /// Histories that are played to their end.
    pub histories: u64,
    /// Pages with which a device begins anew.
    pub resets: u64,
    /// Removals that are told.
    pub removals: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} histories, {} changes, {} pages, {} resets, {} removals, {} refusals",
            self.histories, self.changes, self.pages, self.resets, self.removals, self.refusals
        )
    }
}

impl Tally {
    /// Whether so much was tried.
    ///
    /// # Errors
    ///
    /// What was tried, and what had to be.
    pub fn reaches(&self, least: Minimum) -> Result<(), String> {
        let Minimum { histories, resets, removals } = least;
        if self.histories >= histories && self.resets >= resets && self.removals >= removals {
            return Ok(());
        }
        Err(format!(
            "too little was tried: {self}; at least {histories} histories, {resets} resets and \
             {removals} removals are demanded"
        ))
    }

    /// Adds what another one tried.
    pub fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.changes += other.changes;
        self.pages += other.pages;
        self.resets += other.resets;
        self.removals += other.removals;
        self.refusals += other.refusals;
    }
}

/// Plays it to its end, and lets all devices come to rest. What is said goes to `transcript`; the
/// error says what was wrong.
pub async fn play<S: Subject>(
    subject: &mut S,
    steps: &[Step],
    transcript: &mut Vec<String>,
) -> Result<Tally, String> {
    let devices = DEVICES.iter().map(|person| Device::of(*person)).collect();
    let world = World::default();
    let mut play = Play { subject, world, devices, tally: Tally::default(), transcript };
    let outcome = play.all(steps).await;
    if let Err(why) = &outcome {
        play.transcript.push(format!("   {why}"));
    }
    outcome.map(|()| Tally { histories: 1, ..play.tally })
}

struct Play<'a, S> {
    subject: &'a mut S,
    world: World,
    devices: Vec<Device>,
    tally: Tally,
    transcript: &'a mut Vec<String>,
}

impl<S: Subject> Play<'_, S> {
    async fn all(&mut self, steps: &[Step]) -> Result<(), String> {
        self.change(&[Change::Create]).await?;
        for step in steps {
            self.transcript.push(step.to_string());
            match step {
                Step::Change(changes) => self.change(changes).await?,
                Step::Page { device, limit, token, sum } => {
                    self.page(*device, *limit, *token, *sum).await?;
                }
                Step::Compact(pages) => self.compact(*pages).await?,
                Step::ForgetViews => {
                    if self.subject.forget_views().await? {
                        self.world.forgotten += 1;
                    }
                }
            }
        }
        for device in 0..DEVICES.len() {
            self.drain(device).await?;
        }
        Ok(())
    }

    async fn change(&mut self, changes: &[Change]) -> Result<(), String> {
        let mut deeds = Vec::new();
        for change in changes {
            for deed in self.world.resolve(change) {
                self.world.apply(&deed);
                deeds.push(deed);
            }
        }
        if deeds.is_empty() {
            return Ok(());
        }
        self.world.commit();
        let times = self.subject.change(&deeds).await?;
        for (deed, time) in deeds.iter().zip(times) {
            self.world.stamp(deed, time);
        }
        self.tally.changes += deeds.len() as u64;
        Ok(())
    }

    async fn compact(&mut self, pages: usize) -> Result<(), String> {
        let heads = &self.world.heads;
        let up_to = match pages {
            0 => None,
            // Where no page was read yet, nothing can be forgotten before one.
            pages => match heads.len().checked_sub(pages) {
                Some(at) => Some(heads[at]),
                None => return Ok(()),
            },
        };
        if let Some(horizon) = self.subject.compact(up_to).await? {
            self.world.horizon = self.world.horizon.max(horizon);
        }
        Ok(())
    }

    /// Whether the device is at rest after the page.
    async fn page(
        &mut self,
        number: usize,
        limit: usize,
        token: Token,
        sum: bool,
    ) -> Result<bool, String> {
        let person = self.devices[number].person;
        let mut foreign = None;
        match token {
            Token::Own => {}
            Token::Back(pages) => self.devices[number].put_back(pages),
            Token::Of(other) if self.devices[other].person == person => {
                self.devices[number].state = self.devices[other].state.clone();
            }
            Token::Of(other) => foreign = Some(self.devices[other].state.token.clone()),
            Token::Forged => {
                foreign = Some(Some(forged(self.devices[number].state.token.as_deref())));
            }
            Token::None => foreign = Some(None),
        }
        let own = self.devices[number].state.token.clone();
        let brought = match (&foreign, &own) {
            (None, Some(_)) => Brought::Own,
            _ => Brought::Nothing,
        };
        let token = foreign.unwrap_or(own);
        let ask = Ask { person, token: token.as_deref(), limit, sum };
        let reply = self.subject.page(ask).await?;
        self.transcript.push(format!("   {reply}"));
        self.tally.pages += 1;
        let device = &mut self.devices[number];
        let rest = match &reply {
            Reply::Page(page) => {
                judge::page(&self.world, device, brought, ask, page)?;
                self.world.heads.extend(page.head);
                self.tally.resets += u64::from(page.reset);
                let removals = page.entries.iter();
                let removals = removals
                    .filter(|entry| matches!(entry, crate::oracle::Entry::Removal(_)))
                    .count();
                self.tally.removals += removals as u64;
                !page.more
            }
            Reply::Refused => {
                judge::refusal(&self.world, device)?;
                self.tally.refusals += 1;
                true
            }
        };
        device.remember();
        Ok(rest)
    }

    async fn drain(&mut self, device: usize) -> Result<(), String> {
        self.transcript.push(format!("d{device} drains"));
        let limits = [1, 3, 2, 100];
        for page in 0..DRAIN_PAGES {
            if self.page(device, limits[(device + page / 4) % 4], Token::Own, true).await? {
                return Ok(());
            }
        }
        Err(format!("ENDLESS: d{device} is not at rest after {DRAIN_PAGES} pages"))
    }
}

/// Something like this token, or like any.
fn forged(token: Option<&str>) -> String {
    let Some(token) = token else { return "bm90IGEgdG9rZW4gYXQgYWxs".to_owned() };
    let mut letters: Vec<char> = token.chars().collect();
    let middle = letters.len() / 2;
    if let Some(letter) = letters.get_mut(middle) {
        *letter = if *letter == 'A' { 'B' } else { 'A' };
    }
    letters.into_iter().collect()
}
