//! Every setting is read by something: what an operator sets must have an effect.
//!
//! That each key of the configuration reaches the settings of a room is tested where the keys are;
//! here it is that the room reads them. By text: a field whose name is read anywhere counts.

/// The structures that hold what is configured.
const HOLDERS: &[(&str, &str)] = &[
    ("crates/nuage-model/src/limits.rs", "Limits"),
    ("crates/nuage-store/src/options.rs", "Options"),
    ("crates/nuage-engine/src/settings.rs", "Settings"),
    ("crates/nuage-engine/src/settings.rs", "History"),
    ("crates/nuage-engine/src/settings.rs", "Trim"),
    ("crates/nuage-engine/src/feed.rs", "FeedSettings"),
    ("crates/nuage-auth/src/settings.rs", "Settings"),
    ("crates/nuage-auth/src/settings.rs", "Throttling"),
    ("crates/nuage-kinto/src/settings.rs", "Settings"),
    ("crates/nuage-kinto/src/settings.rs", "Features"),
    ("crates/nuage-kinto/src/settings.rs", "EndOfService"),
];

/// A sentence for every field that nothing reads, given the paths and texts of all files.
pub(super) fn breaches(files: &[(String, String)]) -> Vec<String> {
    let mut breaches = Vec::new();
    for (holder, structure) in HOLDERS {
        let Some((_, text)) = files.iter().find(|(path, _)| path == holder) else {
            breaches.push(format!("{holder} is gone: where are the settings of {structure}?"));
            continue;
        };
        let fields = fields(text, structure);
        if fields.is_empty() {
            breaches.push(format!("{holder} has no settings of {structure} any more"));
        }
        let unread = fields.into_iter().filter(|field| {
            let mut rooms = files.iter().filter(|(path, _)| path != holder && is_room(path));
            !rooms.any(|(_, text)| reads(text, field))
        });
        breaches
            .extend(unread.map(|field| {
                format!("{holder}: nothing reads the setting {field} of {structure}")
            }));
    }
    breaches
}

/// Whether it is a source of a room: the program only fills settings in, and tests only try them.
fn is_room(path: &str) -> bool {
    let crates = path.strip_prefix("crates/").unwrap_or_default();
    let is_source = crates.ends_with(".rs") && crates.contains("/src/");
    let is_test = crates.ends_with("tests.rs") || crates.contains("/tests/");
    is_source && !is_test && !crates.starts_with("nuage/") && !crates.starts_with("nuage-testkit/")
}

/// The public fields of a structure.
fn fields<'a>(text: &'a str, structure: &str) -> Vec<&'a str> {
    let head = format!("pub struct {structure} {{");
    let Some((_, body)) = text.split_once(&head) else { return Vec::new() };
    let body = body.split("\n}").next().unwrap_or_default();
    let lines = body.lines().filter_map(|line| line.trim().strip_prefix("pub "));
    lines.filter_map(|line| Some(line.split_once(':')?.0)).collect()
}

fn reads(text: &str, field: &str) -> bool {
    text.match_indices(&format!(".{field}")).any(|(at, found)| {
        let rest = &text[at + found.len()..];
        !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '(')
    })
}
