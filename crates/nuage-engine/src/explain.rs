//! Why somebody may or may not read, change or delete something: told to those who may change it.
//!
//! The verdict is that of the function that judges requests. What is told beside it is what the
//! asker may know: permissions further up are shown to those who may change what they are on, and
//! nobody learns through an explanation who is in a group that they may not read. The operator,
//! who holds the data, is told everything.
//!
//! - `people`: as whom somebody counts, and through which groups;
//! - `words`: sentences and JSON.

mod people;
mod words;

use std::sync::Arc;

use nuage_model::{Kind, Permissions, Principal, RecordPath};

use crate::access::{Right, granted_verbs, inherited, own};
use crate::authorize::{Above, By, Grant, Judged, judge, reaches};
use crate::engine::Parent;
use crate::explain::people::People;
use crate::{EngineError, Intent, Opened, Session};

/// What somebody may do with one object, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explanation {
    /// With which object.
    pub object: RecordPath,
    /// Who.
    pub principal: Principal,
    /// One answer for each thing that may be done with it.
    pub answers: Vec<Answer>,
    /// Groups named for it that they are in only through more groups than count; not told to those who
    /// may not know all.
    pub too_far: Vec<Principal>,
}

/// Whether and why somebody may do one thing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// `read`, `write`, `delete`, or the name of a permission to create what is inside.
    pub right: &'static str,
    /// Whether, and why.
    pub verdict: Verdict,
}

/// Whether, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// They may.
    Allowed {
        /// What gives the right.
        source: Source,
        /// From the principal that was asked about to the one that holds the right: each is a
        /// member of the next, or counts as it.
        chain: Vec<Principal>,
    },
    /// They may not: nobody they count as holds any of this.
    Refused(Vec<Level>),
    /// They may not, unless they are in a group that the asker may not look into.
    Undecided(Vec<Level>),
}

/// What gives a right.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// A permission.
    Permission {
        /// On the object itself or on one above it.
        object: RecordPath,
        /// Its name.
        name: &'static str,
    },
    /// A setting of the operator, on all objects of a kind: `record_read`.
    Operator(String),
}

/// A place where the right could have come from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Level {
    /// The object; `None` for the settings of the operator.
    pub object: Option<RecordPath>,
    /// The permissions that would give the right.
    pub names: Vec<String>,
    /// Who holds each of them; `None` where the asker may not know.
    pub holders: Option<Vec<Vec<Principal>>>,
}

/// What an asker is told of groups and permissions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Sight {
    /// Everything.
    Whole,
    /// What the caller of the unit of work may see.
    OfCaller,
}

/// One thing that may be done, as the table of permissions knows it.
#[derive(Clone, Copy)]
struct Asked {
    name: &'static str,
    /// Of what kind the object is that it is done with.
    kind: Kind,
    right: Right,
}

/// The object, those above it, and itself as what is above the things inside it.
struct Scene<'a> {
    path: &'a RecordPath,
    permissions: &'a Permissions,
    parents: &'a Above,
    inside: Vec<(RecordPath, Arc<Parent>)>,
}

impl Session {
    /// Why somebody may or may not do something with an object, for callers who may change it.
    ///
    /// # Errors
    ///
    /// As for any change of the object; [`EngineError::TooManyInnerGroups`].
    pub async fn explain(
        &mut self,
        path: RecordPath,
        principal: &Principal,
    ) -> Result<Explanation, EngineError> {
        let opened = self.open(path, Intent::Write).await?;
        let is_self = self.caller.user() == Some(principal);
        let sight = if is_self { Sight::Whole } else { Sight::OfCaller };
        self.explain_opened(&opened, principal, sight).await
    }

    /// The same for the operator, who is told everything.
    ///
    /// # Errors
    ///
    /// [`EngineError::Unknown`] and [`EngineError::UnknownParent`] for what is not there.
    pub async fn explain_unjudged(
        &mut self,
        path: RecordPath,
        principal: &Principal,
    ) -> Result<Explanation, EngineError> {
        let opened = self.open_unjudged(path).await?;
        self.explain_opened(&opened, principal, Sight::Whole).await
    }

    async fn explain_opened(
        &mut self,
        opened: &Opened,
        principal: &Principal,
        sight: Sight,
    ) -> Result<Explanation, EngineError> {
        let path = opened.path();
        let Some(record) = opened.live() else {
            return Err(EngineError::Unknown(path.clone()));
        };
        let itself = Arc::new(Parent::new(record.clone())?);
        let mut inside = vec![(path.clone(), itself)];
        inside.extend(opened.parents.iter().cloned());
        let kinds = asked_of(path.kind()).into_iter().map(|asked| asked.kind);
        let named = kinds.flat_map(|kind| self.groups_above(kind, &inside)).collect();
        let people = self.people(principal, named, sight).await?;
        let permissions = opened.permissions();
        let scene = Scene { path, permissions, parents: &opened.parents, inside };
        let mut answers = Vec::new();
        for asked in asked_of(path.kind()) {
            let verdict = self.verdict(&scene, asked, &people, sight).await?;
            answers.push(Answer { right: asked.name, verdict });
        }
        Ok(Explanation {
            object: path.clone(),
            principal: principal.clone(),
            answers,
            too_far: people.too_far,
        })
    }

    async fn verdict(
        &mut self,
        scene: &Scene<'_>,
        asked: Asked,
        people: &People,
        sight: Sight,
    ) -> Result<Verdict, EngineError> {
        let settings = self.engine.settings();
        let caller = &people.caller;
        let grant = match asked.right {
            // What is created is not there yet: all rights to it come from above.
            Right::Create => reaches(settings, caller, asked.kind, asked.right, &scene.inside),
            right => {
                let judged = Judged { path: scene.path, permissions: Some(scene.permissions) };
                judge(settings, caller, judged, right, scene.parents)
            }
        };
        if let Some(grant) = grant {
            return Ok(Verdict::Allowed {
                source: Source::of(&grant),
                chain: people.chain(grant.holder),
            });
        }
        let mut levels = self.levels(scene, asked);
        if sight == Sight::Whole {
            return Ok(Verdict::Refused(levels));
        }
        let hidden = caller.user().is_some() && self.hides(&levels).await?;
        self.withhold(scene.path, &mut levels).await?;
        Ok(if hidden { Verdict::Undecided(levels) } else { Verdict::Refused(levels) })
    }

    /// Where the right could have come from, and who has it from there.
    fn levels(&self, scene: &Scene<'_>, asked: Asked) -> Vec<Level> {
        let Asked { kind, right, .. } = asked;
        let level = |path: &RecordPath, permissions: &Permissions, names: &[&str]| {
            let held = names.iter().map(|name| permissions.holders(name).cloned().collect());
            Level {
                object: Some(path.clone()),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                holders: Some(held.collect()),
            }
        };
        let (mut levels, above) = match right {
            Right::Create => (Vec::new(), scene.inside.as_slice()),
            _ => (vec![level(scene.path, scene.permissions, own(kind, right))], scene.parents),
        };
        levels.extend(above.iter().map(|(path, parent)| {
            level(path, &parent.permissions, inherited(kind, right, path.kind()))
        }));
        let grants = &self.engine.settings().grants;
        let given = granted_verbs(kind, right).iter().filter_map(|verb| {
            let holders = grants.holders(kind.as_str(), verb)?;
            Some((operator_name(kind.as_str(), verb), holders.iter().cloned().collect()))
        });
        let (names, holders): (Vec<_>, Vec<_>) = given.unzip();
        if !names.is_empty() {
            levels.push(Level { object: None, names, holders: Some(holders) });
        }
        levels
    }

    /// Takes out what the caller may not know: the settings, and permissions on what the caller
    /// may not change.
    async fn withhold(
        &mut self,
        known: &RecordPath,
        levels: &mut Vec<Level>,
    ) -> Result<(), EngineError> {
        levels.retain(|level| level.object.is_some());
        for level in levels {
            if let Some(path) = level.object.as_ref().filter(|path| *path != known) {
                let record = self.parent(path).await?.map(|parent| parent.record.clone());
                if !self.has_right(path, record.as_ref(), Right::Write).await? {
                    level.holders = None;
                }
            }
        }
        Ok(())
    }
}

impl Source {
    fn of(grant: &Grant<'_>) -> Self {
        match grant.by {
            By::Permission { object, name } => Self::Permission { object: object.clone(), name },
            By::Operator { kind, verb } => Self::Operator(operator_name(kind, verb)),
        }
    }
}

/// As settings spell it.
fn operator_name(kind: &str, verb: &str) -> String {
    format!("{kind}_{verb}")
}

fn asked_of(kind: Kind) -> Vec<Asked> {
    let on_itself = |name, right| Asked { name, kind, right };
    let inside = |name, kind| Asked { name, kind, right: Right::Create };
    let mut asked = vec![
        on_itself("read", Right::Read),
        on_itself("write", Right::Write),
        on_itself("delete", Right::Delete),
    ];
    match kind {
        Kind::Bucket => {
            asked.push(inside("collection:create", Kind::Collection));
            asked.push(inside("group:create", Kind::Group));
        }
        Kind::Collection => asked.push(inside("record:create", Kind::Record)),
        Kind::Group | Kind::Record | Kind::Account | Kind::History => {}
    }
    asked
}
