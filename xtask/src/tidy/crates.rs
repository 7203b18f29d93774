//! Which crate may use which.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::run::{cargo, output};

/// What each crate of the product may be built on. Tools stand beside the house.
const DIRECTION: &[(&str, &[&str])] = &[
    ("nuage-model", &[]),
    ("nuage-store", &["nuage-model"]),
    ("nuage-engine", &["nuage-model"]),
    ("nuage-auth", &["nuage-model", "nuage-engine"]),
    ("nuage-http", &["nuage-model"]),
    ("nuage-kinto", &["nuage-model", "nuage-engine", "nuage-auth", "nuage-http"]),
    (
        "nuage",
        &["nuage-model", "nuage-store", "nuage-engine", "nuage-auth", "nuage-http", "nuage-kinto"],
    ),
    ("nuage-testkit", &["nuage-model"]),
    ("xtask", &["nuage-testkit"]),
    ("nuage-bench", &["nuage-model", "nuage-store", "nuage-engine"]),
];
/// Only for tests.
const TESTKIT: &str = "nuage-testkit";

/// A crate of the workspace and the other ones it names.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) name: String,
    /// What it is built on.
    pub(super) uses: Vec<String>,
    /// What only its tests are built on.
    pub(super) tests_use: Vec<String>,
}

/// The crates, in the order of the manifest.
pub(super) fn metadata() -> Result<Vec<Member>> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let text = output(&mut command).context("cargo metadata failed")?;
    let metadata: Value = serde_json::from_str(&text)?;
    let manifest = std::fs::read_to_string(crate::workspace::root().join("Cargo.toml"))?;
    let order = listed(&manifest);
    let mut members = BTreeMap::new();
    for package in list(&metadata["packages"]) {
        let mut member =
            Member { name: text_of(&package["name"]), uses: Vec::new(), tests_use: Vec::new() };
        for dependency in list(&package["dependencies"]) {
            if dependency["path"].is_string() {
                let name = text_of(&dependency["name"]);
                match dependency["kind"].as_str() {
                    Some("dev") => member.tests_use.push(name),
                    _ => member.uses.push(name),
                }
            }
        }
        let manifest = text_of(&package["manifest_path"]);
        let folder = Path::new(&manifest).parent().unwrap_or(Path::new("")).to_owned();
        let place = order.iter().position(|listed| folder.ends_with(listed));
        members.insert((place.unwrap_or(usize::MAX), folder), member);
    }
    Ok(members.into_values().collect())
}

/// The members that the manifest lists, in its order.
fn listed(manifest: &str) -> Vec<String> {
    let members = manifest.split_once("members = [").map_or("", |(_, rest)| rest);
    let members = members.split_once(']').map_or("", |(members, _)| members);
    members.split('"').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Breaches of direction and order.
pub(super) fn breaches(members: &[Member]) -> Vec<String> {
    let mut breaches = Vec::new();
    let place = |name: &str| members.iter().position(|member| member.name == name);
    for (at, member) in members.iter().enumerate() {
        let name = &member.name;
        let Some((_, allowed)) = DIRECTION.iter().find(|(known, _)| known == name) else {
            breaches.push(format!("{name} has no place among the crates: give it one in tidy"));
            continue;
        };
        for used in &member.uses {
            if !allowed.contains(&used.as_str()) {
                breaches.push(format!("{name} may not use {used}"));
            }
            if place(used).is_none_or(|used_at| used_at >= at) {
                breaches.push(format!("the manifest must list {used} above {name}, which uses it"));
            }
        }
        for used in &member.tests_use {
            let above = place(used).is_some_and(|used_at| used_at < at);
            if !above && used != TESTKIT && used != name {
                breaches.push(format!("the tests of {name} may not use {used}, a layer above it"));
            }
        }
    }
    breaches
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
