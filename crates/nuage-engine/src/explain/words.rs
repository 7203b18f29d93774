//! An explanation in sentences and as JSON.

use std::fmt::Write;

use nuage_model::{AUTHENTICATED, EVERYONE, Principal, RecordPath};
use serde_json::{Map, Value, json};

use crate::CHAIN_MAX;

use super::{Answer, Explanation, Level, Source, Verdict};

/// Holders named in a sentence; the JSON has all of them.
const NAMED_MAX: usize = 5;

impl Explanation {
    /// One sentence for each answer.
    pub fn sentences(&self) -> impl Iterator<Item = String> {
        self.answers.iter().map(|answer| self.sentence(answer))
    }

    /// The explanation as data, sentences included.
    pub fn to_json(&self) -> Value {
        let answers: Vec<Value> = self.answers.iter().map(|answer| self.answer(answer)).collect();
        let mut told = json!({
            "object": self.object.to_string(),
            "principal": self.principal.as_str(),
            "rights": answers,
        });
        if !self.too_far.is_empty() {
            told["too_far"] = self.too_far.iter().map(Principal::as_str).collect();
        }
        told
    }

    fn answer(&self, answer: &Answer) -> Value {
        let allowed = match &answer.verdict {
            Verdict::Allowed { .. } => Value::Bool(true),
            Verdict::Refused(_) => Value::Bool(false),
            Verdict::Undecided(_) => Value::Null,
        };
        let mut told = json!({
            "right": answer.right,
            "allowed": allowed,
            "sentence": self.sentence(answer),
        });
        match &answer.verdict {
            Verdict::Allowed { source, chain } => {
                told["grant"] = grant(source, chain.last());
                told["chain"] = chain.iter().map(Principal::as_str).collect();
            }
            Verdict::Refused(levels) | Verdict::Undecided(levels) => {
                told["looked_at"] = levels.iter().map(looked_at).collect();
            }
        }
        told
    }

    fn sentence(&self, answer: &Answer) -> String {
        let who = name_of(&self.principal);
        let deed = deed(answer.right, &self.object);
        match &answer.verdict {
            Verdict::Allowed { source, chain } => {
                let mut text = format!("{who} may {deed}: ");
                push_chain(&mut text, source, chain);
                text
            }
            Verdict::Refused(levels) => {
                let mut text = format!("{who} may not {deed}: {}.", places(levels));
                let holders = levels.iter().filter_map(|level| level.holders.as_ref());
                let mut holders = holders.flatten().flatten();
                if let Some(far) = holders.find(|holder| self.too_far.contains(holder)) {
                    let _ = write!(
                        text,
                        " It is in {far} through a chain of more than {CHAIN_MAX} groups, which does \
                         not count."
                    );
                }
                text
            }
            Verdict::Undecided(levels) => format!(
                "{who} may not {deed}, unless through a group that you may not look into: {}.",
                places(levels)
            ),
        }
    }
}

fn deed(right: &str, object: &RecordPath) -> String {
    match right {
        "write" => format!("change {object}"),
        "collection:create" => format!("create collections in {object}"),
        "group:create" => format!("create groups in {object}"),
        "record:create" => format!("create records in {object}"),
        right => format!("{right} {object}"),
    }
}

fn name_of(principal: &Principal) -> &str {
    match principal.as_str() {
        EVERYONE => "Everybody",
        AUTHENTICATED => "Everybody who is logged in",
        other => other,
    }
}

/// `it is a member of A, which is a member of B, which holds read on /buckets/b.`
fn push_chain(text: &mut String, source: &Source, chain: &[Principal]) {
    let mut subject = "it";
    for principal in chain.iter().skip(1) {
        let verb = match principal.as_str() {
            EVERYONE | AUTHENTICATED => "counts as",
            _ => "is a member of",
        };
        let _ = write!(text, "{subject} {verb} {principal}, ");
        subject = "which";
    }
    let _ = match source {
        Source::Permission { object, name } => {
            write!(text, "{subject} holds `{name}` on {object}.")
        }
        Source::Operator(name) => write!(text, "{subject} is in the setting `{name}`."),
    };
}

/// Where the right could have come from, and who has it from there.
fn places(levels: &[Level]) -> String {
    let mut parts = Vec::new();
    for level in levels {
        let place = match &level.object {
            Some(object) => format!("on {object}"),
            None => "in the settings".to_owned(),
        };
        match &level.holders {
            Some(holders) => {
                for (name, holders) in level.names.iter().zip(holders) {
                    parts.push(format!("`{name}` {place} is held by {}", listed(holders)));
                }
            }
            None => {
                let names: Vec<String> =
                    level.names.iter().map(|name| format!("`{name}`")).collect();
                let names = names.join(" or ");
                parts.push(format!("who holds {names} {place} is not for you to know"));
            }
        }
    }
    parts.join(", ")
}

fn listed(holders: &[Principal]) -> String {
    if holders.is_empty() {
        return "nobody".to_owned();
    }
    let named: Vec<&str> = holders.iter().take(NAMED_MAX).map(Principal::as_str).collect();
    let named = named.join(" and ");
    match holders.len().saturating_sub(NAMED_MAX) {
        0 => named,
        others => format!("{named} and {others} more"),
    }
}

fn grant(source: &Source, holder: Option<&Principal>) -> Value {
    let holder = holder.map(Principal::as_str);
    match source {
        Source::Permission { object, name } => json!({
            "object": object.to_string(),
            "permission": name,
            "principal": holder,
        }),
        Source::Operator(name) => json!({ "setting": name, "principal": holder }),
    }
}

fn looked_at(level: &Level) -> Value {
    let holders = match &level.holders {
        None => Value::Null,
        Some(holders) => {
            let held = level.names.iter().zip(holders).map(|(name, holders)| {
                (name.clone(), holders.iter().map(Principal::as_str).collect::<Value>())
            });
            Value::Object(held.collect::<Map<_, _>>())
        }
    };
    match &level.object {
        Some(object) => json!({ "object": object.to_string(), "permissions": holders }),
        None => json!({ "settings": holders }),
    }
}
