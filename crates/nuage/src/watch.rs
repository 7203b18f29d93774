//! `nuage watch`: prints the feed of a collection of a running server, until interrupted.
//!
//! A client like any other: what it prints is what this person may see. When the connection is
//! lost it goes on after the last page, so that nothing is missed; what was printed of a page
//! that did not end is printed again.

mod line;
mod link;
mod target;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::cli::WatchArguments;
use crate::config::Settings;
use crate::failure::{Exit, Failure};
use crate::out::{complain, is_terminal};
use crate::watch::line::Line;
use crate::watch::link::{Link, Trouble};
use crate::watch::target::Target;

/// Pauses before a lost connection is tried again: the first, and the longest.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Follows a feed until interrupted.
pub(crate) async fn perform(
    arguments: &WatchArguments,
    settings: &Settings,
    json: bool,
) -> Result<()> {
    let target = target(arguments, settings)?;
    let pretty = is_terminal() && !json;
    tokio::select! {
        followed = follow(target, arguments.token.clone(), pretty) => followed,
        // Whoever presses Ctrl-C has seen enough.
        _ = tokio::signal::ctrl_c() => Ok(()),
    }
}

fn target(arguments: &WatchArguments, settings: &Settings) -> Result<Target> {
    let parsed = Target::parse(&arguments.place, &settings.listen);
    let mut target = parsed.map_err(|why| Failure::new(Exit::Usage, why))?;
    if let Some(user) = &arguments.user {
        match user.split_once(':') {
            Some((user, password)) => target.login = Some((user.into(), Some(password.into()))),
            None => target.login = Some((user.clone(), None)),
        }
    }
    if let Some((user, password @ None)) = &mut target.login {
        *password = Some(match &arguments.password_file {
            Some(file) => read_password(file)?,
            None => ask_password(user)?,
        });
    }
    Ok(target)
}

fn read_password(file: &Path) -> Result<String> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        let sentence = format!("The password file {} cannot be read: {error}.", file.display());
        Failure::new(Exit::Usage, sentence)
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn ask_password(user: &str) -> Result<String> {
    if !std::io::stdin().is_terminal() {
        let sentence = "A password is needed: give --password-file, or user:password.";
        return Err(Failure::new(Exit::Usage, sentence).into());
    }
    Ok(rpassword::prompt_password(format!("Password of {user}: "))?)
}

/// How a connection ended that could be made again.
struct Lost {
    why: String,
    /// When the server wants us back.
    pause: Option<Duration>,
}

async fn follow(target: Target, mut token: Option<String>, pretty: bool) -> Result<()> {
    let mut pause = PAUSE;
    // A server that was never there is not waited for.
    let mut was_there = false;
    loop {
        let before = token.clone();
        let lost = match Link::open(&target, token.as_deref()).await {
            Ok(link) => {
                was_there = true;
                match print(link, &mut token, pretty).await? {
                    Some(lost) => lost,
                    None => return Ok(()),
                }
            }
            Err(Trouble::Refused(sentence)) => {
                return Err(Failure::new(Exit::Failed, sentence).into());
            }
            Err(Trouble::Busy { why, pause }) => Lost { why, pause },
            Err(Trouble::Lost(why)) if was_there => Lost { why, pause: None },
            Err(Trouble::Lost(why)) => return Err(Failure::new(Exit::Failed, why).into()),
        };
        if token != before {
            pause = PAUSE;
        }
        let wait = lost.pause.unwrap_or(pause).min(PAUSE_MAX);
        complain(&format!("{} Trying again in {} s.", lost.why, wait.as_secs().max(1)));
        tokio::time::sleep(wait).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Prints what comes, and keeps the last token. Nobody reading any more is an end, not an error.
async fn print(mut link: Link, token: &mut Option<String>, pretty: bool) -> Result<Option<Lost>> {
    loop {
        let text = match link.line().await {
            Ok(Some(text)) => text,
            Ok(None) => {
                let why = "The server ended the stream.".to_owned();
                return Ok(Some(Lost { why, pause: None }));
            }
            Err(why) => return Ok(Some(Lost { why, pause: None })),
        };
        let line = Line::parse(&text);
        let shown = match &line {
            Line::Heartbeat => continue,
            Line::Close { retry_ms } => {
                let why = "The server closes the stream.".to_owned();
                return Ok(Some(Lost { why, pause: Some(Duration::from_millis(*retry_ms)) }));
            }
            line if pretty => line.pretty(),
            _ => text,
        };
        match writeln!(std::io::stdout().lock(), "{shown}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(None),
            written => written.context("the output cannot be written")?,
        }
        match line {
            Line::End { token: end, .. } => *token = Some(end),
            Line::Refusal { message } => {
                let sentence = format!("The server refuses to show more: {message}");
                return Err(Failure::new(Exit::Failed, sentence).into());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
