//! The one path by which reads, lists, counts and writes are judged.
//!
//! Opening a record or a list answers whether the caller may; what comes of it is a proof that
//! the verbs ask for. That something exists is told only to whoever may read it, or may read the
//! place where it would be. What decides gives the reason, so that whoever explains a decision
//! asks the very function that made it.

use std::collections::BTreeSet;
use std::sync::Arc;

use nuage_model::{
    Bodies, CollectionPath, GroupPath, Guard, Head, Kind, Page, Permissions, Principal, Query,
    Record, RecordPath, Scope, StoreError,
};

use crate::access::{Intent, ListIntent, Right, granted_verbs, inherited, own};
use crate::engine::{Parent, read_permissions};
use crate::groups::{groups_among, groups_on};
use crate::{Caller, EngineError, Session, Settings};

/// Proof that the caller may do what was intended with one record.
#[derive(Debug)]
pub struct Opened {
    pub(crate) path: RecordPath,
    pub(crate) record: Option<Arc<Record>>,
    pub(crate) permissions: Permissions,
    pub(crate) parents: Vec<(RecordPath, Arc<Parent>)>,
}

/// Proof that the caller may see or change some records of a list.
#[derive(Debug)]
pub struct OpenedList {
    pub(crate) collection: CollectionPath,
    pub(crate) scope: Scope,
    /// Whether the caller may read all of it. They may change less.
    pub(crate) is_read_whole: bool,
    /// Where it was a moment ago, as it is shown to the caller: known where they see part of it.
    pub(crate) shown: Option<Head>,
    pub(crate) parents: Vec<(RecordPath, Arc<Parent>)>,
}

impl Opened {
    /// Which record.
    pub fn path(&self) -> &RecordPath {
        &self.path
    }

    /// The record, if it is alive.
    pub fn live(&self) -> Option<&Record> {
        self.record.as_deref().filter(|record| record.is_live())
    }

    /// Its own permissions; none if it is not alive.
    pub fn permissions(&self) -> &Permissions {
        &self.permissions
    }
}

impl OpenedList {
    /// Whether the caller may read all of it: then its time is that of the collection.
    pub fn is_read_whole(&self) -> bool {
        self.is_read_whole
    }

    /// Which list.
    pub fn collection(&self) -> &CollectionPath {
        &self.collection
    }

    /// The record of the collection, of a list of records.
    pub fn owner(&self) -> Option<&Record> {
        self.parents.first().map(|(_, parent)| &parent.record)
    }
}

/// The records above a place, nearest first, with their permissions.
pub(crate) type Above = [(RecordPath, Arc<Parent>)];

/// What is above a place.
struct Chain {
    /// What there is of it, nearest first.
    above: Vec<(RecordPath, Arc<Parent>)>,
    /// The furthest that there is not.
    missing: Option<RecordPath>,
    /// Whether nothing of it was read now.
    is_remembered: bool,
}

/// Why somebody has a right: by what, and as whom.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Grant<'a> {
    /// By what.
    pub(crate) by: By<'a>,
    /// The principal of the caller that holds it.
    pub(crate) holder: &'a Principal,
}

/// What gives a right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By<'a> {
    /// A permission on the record itself, or on one above it.
    Permission {
        /// On which record.
        object: &'a RecordPath,
        /// Its name.
        name: &'static str,
    },
    /// The operator, on all objects of a kind.
    Operator {
        /// The kind, as settings spell it.
        kind: &'a str,
        /// What may be done with them.
        verb: &'a str,
    },
}

/// One record that is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged<'a> {
    /// Which.
    pub(crate) path: &'a RecordPath,
    /// Its own permissions; `None` if it is not alive.
    pub(crate) permissions: Option<&'a Permissions>,
}

impl Session {
    /// Judges what the caller intends with one record, and reads it.
    pub async fn open(&mut self, path: RecordPath, intent: Intent) -> Result<Opened, EngineError> {
        let chain = self.load_ancestors(&path.collection, Bodies::Small).await?;
        let opened = self.open_under(&chain, &path, intent).await;
        match self.load_ancestors_again(&chain, &path.collection, &opened).await? {
            Some(chain) => self.open_under(&chain, &path, intent).await,
            None => opened,
        }
    }

    // What is above a place once more, whole and as it is now, if the answer needs that. Nobody is
    // refused by what is only remembered: somebody may have been given a right in another process.
    async fn load_ancestors_again<T>(
        &mut self,
        chain: &Chain,
        collection: &CollectionPath,
        answer: &Result<T, EngineError>,
    ) -> Result<Option<Chain>, StoreError> {
        let again = match answer {
            Ok(_) => chain.above.iter().any(|(_, parent)| parent.record.lacks_body()),
            Err(EngineError::Forbidden) => chain.is_remembered && self.has_moved(chain).await?,
            Err(_) => false,
        };
        Ok(match again {
            true => Some(self.load_ancestors(collection, Bodies::All).await?),
            false => None,
        })
    }

    // Whether something above a place is not as it is remembered.
    async fn has_moved(&self, chain: &Chain) -> Result<bool, StoreError> {
        let remembered = chain.above.iter().filter(|(path, _)| !self.has_own(path));
        let seen = |(path, parent): &(RecordPath, Arc<Parent>)| {
            Guard::new(path.clone(), Some(&parent.record))
        };
        let seen: Vec<Guard> = remembered.map(seen).collect();
        self.engine.forget_changed(&seen).await
    }

    // A refusal asks the store as often, and for as little, whatever there is.
    async fn open_under(
        &mut self,
        chain: &Chain,
        path: &RecordPath,
        intent: Intent,
    ) -> Result<Opened, EngineError> {
        let kind = path.kind();
        let right = intent_right(intent);
        let groups = self.groups_above(kind, &chain.above);
        self.recall(&groups);
        self.tell_missing(chain, kind, right)?;
        if chain.missing.is_none()
            && let Some(presumed) = self.presume(path, intent)
        {
            self.recall(&on(presumed.as_deref())?);
            let above = chain.above.clone();
            if let Ok(opened) = self.judge(path.clone(), intent, above, presumed) {
                self.rely_on_presumed(path, opened.record.as_deref());
                return Ok(opened);
            }
        }
        // How long it takes tells how large a record is: only to those who may read it.
        let bodies = match self.reaches(kind, Right::Read, &chain.above) {
            true => Bodies::All,
            false => Bodies::Small,
        };
        let mut record = self.look(path, bodies).await?.map(Arc::new);
        loop {
            let on_itself = on(record.as_deref())?;
            self.recall(&on_itself);
            let judged = match chain.missing {
                Some(_) => Err(EngineError::Forbidden),
                None => self.judge(path.clone(), intent, chain.above.clone(), record.clone()),
            };
            let opened = match judged {
                // Nobody is refused by what is only remembered.
                Err(EngineError::Forbidden) => {
                    let mut places = group_places(self.engine.settings(), kind, &chain.above);
                    places.push(on_itself);
                    let too_many = self.find_out_by_place(&places).await?;
                    self.tell_missing(chain, kind, right)?;
                    if chain.missing.is_some() {
                        return Err(EngineError::Forbidden);
                    }
                    let judged = self.judge(path.clone(), intent, chain.above.clone(), record);
                    judged.map_err(|error| too_many.unwrap_or(error))?
                }
                judged => judged?,
            };
            match &opened.record {
                Some(small) if small.lacks_body() => {
                    record = self.look(path, Bodies::All).await?.map(Arc::new);
                }
                _ => return Ok(opened),
            }
        }
    }

    pub(crate) fn groups_above(&self, kind: Kind, above: &Above) -> BTreeSet<GroupPath> {
        groups_above(self.engine.settings(), kind, above)
    }

    /// Judges what the caller intends with this record.
    fn judge(
        &self,
        path: RecordPath,
        intent: Intent,
        above: Vec<(RecordPath, Arc<Parent>)>,
        record: Option<Arc<Record>>,
    ) -> Result<Opened, EngineError> {
        let live = record.as_deref().filter(|record| record.is_live());
        let permissions = live.map(read_permissions).transpose()?.unwrap_or_default();
        let right = match (intent, live.is_some()) {
            (Intent::Read, _) | (Intent::CreateOrRead, true) => Right::Read,
            (Intent::Write, _) | (Intent::Put, true) => Right::Write,
            (Intent::Delete, _) => Right::Delete,
            (Intent::Create, _) | (Intent::Put | Intent::CreateOrRead, false) => Right::Create,
        };
        let judged = Judged { path: &path, permissions: live.is_some().then_some(&permissions) };
        if judge(self.engine.settings(), &self.caller, judged, right, &above).is_none() {
            return Err(EngineError::Forbidden);
        }
        Ok(Opened { path, record, permissions, parents: above })
    }

    /// Opens one record without judging: for what a protocol does by itself (a bucket that exists
    /// for everybody) and for decisions of the operator.
    pub async fn open_unjudged(&mut self, path: RecordPath) -> Result<Opened, EngineError> {
        let chain = self.load_ancestors(&path.collection, Bodies::All).await?;
        if let Some(missing) = chain.missing {
            return Err(EngineError::UnknownParent(missing));
        }
        let record = self.look(&path, Bodies::All).await?.map(Arc::new);
        let live = record.as_deref().filter(|record| record.is_live());
        if live.is_some() {
            // Whoever asks because it was missing looks for what is below it next, and must not be
            // told again that it is: somebody else made it a moment ago.
            self.engine.forget_parent(&path);
        }
        let permissions = live.map(read_permissions).transpose()?.unwrap_or_default();
        Ok(Opened { path, record, permissions, parents: chain.above })
    }

    /// Judges what the caller intends with a list. Without the right to the whole of it, the
    /// caller is shown what is shared by permissions on the records themselves.
    pub async fn open_list(
        &mut self,
        collection: CollectionPath,
        intent: ListIntent,
    ) -> Result<OpenedList, EngineError> {
        let chain = self.load_ancestors(&collection, Bodies::Small).await?;
        let opened = self.open_list_under(&chain, &collection, intent).await;
        match self.load_ancestors_again(&chain, &collection, &opened).await? {
            Some(chain) => self.open_list_under(&chain, &collection, intent).await,
            None => opened,
        }
    }

    async fn open_list_under(
        &mut self,
        chain: &Chain,
        collection: &CollectionPath,
        intent: ListIntent,
    ) -> Result<OpenedList, EngineError> {
        let kind = collection.kind();
        let right = match intent {
            ListIntent::Read => Right::Read,
            ListIntent::Write => Right::Write,
            ListIntent::Create => Right::Create,
        };
        let above = &chain.above;
        let groups = self.groups_above(kind, above);
        self.recall(&groups);
        self.tell_missing(chain, kind, right)?;
        let opened = |scope| {
            let (collection, parents) = (collection.clone(), above.clone());
            OpenedList { collection, scope, is_read_whole: true, shown: None, parents }
        };
        if self.reaches(kind, right, above) {
            return Ok(opened(Scope::All));
        }
        let (principals, asked) = match intent {
            ListIntent::Create => {
                let places = group_places(self.engine.settings(), kind, above);
                if let Some(error) = self.find_out_by_place(&places).await?
                    && !self.reaches(kind, right, above)
                {
                    return Err(error);
                }
                (Vec::new(), true)
            }
            _ => match self.readers_of(collection, groups.clone()).await {
                Err(EngineError::TooManyInnerGroups(most)) => {
                    let places = group_places(self.engine.settings(), kind, above);
                    self.find_out_by_place(&places).await?;
                    match self.reaches(kind, right, above) {
                        true => (Vec::new(), true),
                        false => return Err(EngineError::TooManyInnerGroups(most)),
                    }
                }
                readers => readers?,
            },
        };
        self.tell_missing(chain, kind, right)?;
        if self.reaches(kind, right, above) {
            return Ok(opened(Scope::All));
        }
        if intent == ListIntent::Create {
            return Err(EngineError::Forbidden);
        }
        let scope = match intent {
            ListIntent::Write => Scope::Holders("write", principals),
            _ => Scope::Readers(principals),
        };
        let mut probe = Query::all(collection.clone(), 1);
        probe.scope = scope.clone();
        let Page { records: shared, head, .. } = self.page(&probe).await?;
        let is_shown = !shared.is_empty() || self.may_create_directly(kind, above);
        if chain.missing.is_some() || !is_shown {
            // What is remembered of a place must not show in how long a refusal takes.
            if !asked {
                self.find_out(BTreeSet::new()).await?;
            }
            return Err(EngineError::Forbidden);
        }
        let is_read_whole = self.reaches(kind, Right::Read, above);
        let shown = head.filter(|_| !is_read_whole);
        Ok(OpenedList { is_read_whole, shown, ..opened(scope) })
    }

    /// Whether the caller may read the whole of a collection as it was, by permissions on it or
    /// above, whether it exists or not. What the operator gives on all records is about those that
    /// there are, not about deleted ones.
    pub(crate) async fn may_read_past(
        &mut self,
        collection: &CollectionPath,
    ) -> Result<bool, EngineError> {
        let chain = self.load_ancestors(collection, Bodies::All).await?;
        let kind = collection.kind();
        let groups = self.groups_above(kind, &chain.above);
        self.recall(&groups);
        if inherits(&self.caller, kind, Right::Read, &chain.above).is_none() {
            self.find_out(groups).await?;
        }
        Ok(inherits(&self.caller, kind, Right::Read, &chain.above).is_some())
    }

    /// The groups in the permissions above a collection, and in those that the operator gives there.
    pub(crate) async fn groups_over(
        &mut self,
        collection: &CollectionPath,
    ) -> Result<BTreeSet<GroupPath>, StoreError> {
        let chain = self.load_ancestors(collection, Bodies::Small).await?;
        Ok(self.groups_above(collection.kind(), &chain.above))
    }

    /// Whether the caller has a right to one record, which was read without judging.
    pub(crate) async fn has_right(
        &mut self,
        path: &RecordPath,
        record: Option<&Record>,
        right: Right,
    ) -> Result<bool, EngineError> {
        let chain = self.load_ancestors(&path.collection, Bodies::All).await?;
        let permissions = record.map(read_permissions).transpose()?;
        let mut groups = self.groups_above(path.kind(), &chain.above);
        groups.extend(on(record)?);
        self.learn(groups).await?;
        let judged = Judged { path, permissions: permissions.as_ref() };
        Ok(judge(self.engine.settings(), &self.caller, judged, right, &chain.above).is_some())
    }

    /// Whether a bucket or a collection is there, without judging.
    pub async fn has_parent(&mut self, path: &RecordPath) -> Result<bool, StoreError> {
        Ok(self.parent(path).await?.is_some())
    }

    /// The answer that something above is missing, to those with a right that does not depend on it.
    fn tell_missing(&self, chain: &Chain, kind: Kind, right: Right) -> Result<(), EngineError> {
        let may_know = |right| self.reaches(kind, right, &chain.above);
        match &chain.missing {
            Some(missing) if may_know(right) || may_know(Right::Read) => {
                Err(EngineError::UnknownParent(missing.clone()))
            }
            _ => Ok(()),
        }
    }

    /// What is above the records of a collection, as this unit of work leaves it.
    async fn load_ancestors(
        &mut self,
        collection: &CollectionPath,
        bodies: Bodies,
    ) -> Result<Chain, StoreError> {
        let owner = |path: &RecordPath| path.collection.owner();
        let places: Vec<RecordPath> = std::iter::successors(collection.owner(), owner).collect();
        let asked: Vec<RecordPath> =
            places.iter().filter(|path| !self.has_own(path)).cloned().collect();
        let (found, is_remembered) = self.engine.parents(&asked, bodies).await?;
        let mut found = found.into_iter();
        let mut chain = Chain { above: Vec::new(), missing: None, is_remembered };
        for path in places {
            let parent = match self.own(&path) {
                Some(own) => Parent::of(own)?,
                None => found.next().flatten(),
            };
            match parent {
                Some(parent) => chain.above.push((path, parent)),
                None => chain.missing = Some(path),
            }
        }
        Ok(chain)
    }

    /// Whether a permission further up, or one given by the operator, grants the right.
    pub(crate) fn reaches(&self, kind: Kind, right: Right, above: &Above) -> bool {
        reaches(self.engine.settings(), &self.caller, kind, right, above).is_some()
    }

    /// Whether the operator gives the permission on all objects of a kind to the caller.
    pub async fn granted(&mut self, kind: &str, verb: &str) -> Result<bool, EngineError> {
        let engine = Arc::clone(&self.engine);
        let Some(holders) = engine.settings().grants.holders(kind, verb) else { return Ok(false) };
        if self.is_one_of(holders.iter()).await? {
            return Ok(true);
        }
        // Nobody is refused by what is only remembered.
        self.find_out(groups_among(holders).collect()).await?;
        self.is_one_of(holders.iter()).await
    }

    /// Whether the caller holds a permission of this name among some of one record: not where that
    /// cannot be found out, since more groups are inside those that hold it than may be looked at.
    pub async fn holds(
        &mut self,
        permissions: &Permissions,
        name: &str,
    ) -> Result<bool, EngineError> {
        match self.is_one_of(permissions.holders(name)).await {
            Err(EngineError::TooManyInnerGroups(_)) => Ok(false),
            found => found,
        }
    }

    /// Whether the caller may add to a list without any other right to it, and so may see that
    /// none of it is shared.
    fn may_create_directly(&self, kind: Kind, above: &Above) -> bool {
        may_create_directly(self.engine.settings(), &self.caller, kind, above).is_some()
    }
}

/// The groups that the operator names for a place, and those that each object above it does.
pub(crate) fn group_places(
    settings: &Settings,
    kind: Kind,
    above: &Above,
) -> Vec<BTreeSet<GroupPath>> {
    let given = settings.grants.iter().filter(|(name, _)| name.starts_with(kind.as_str()));
    let given = groups_among(given.flat_map(|(_, holders)| holders)).collect();
    let above = above.iter().map(|(_, parent)| {
        groups_among(parent.permissions.iter().flat_map(|(_, holders)| holders)).collect()
    });
    std::iter::once(given).chain(above).collect()
}

/// All of them.
pub(crate) fn groups_above(settings: &Settings, kind: Kind, above: &Above) -> BTreeSet<GroupPath> {
    group_places(settings, kind, above).into_iter().flatten().collect()
}

/// What gives the right to one record: its own permissions, those further up, or the operator.
pub(crate) fn judge<'a>(
    settings: &'a Settings,
    caller: &Caller,
    Judged { path, permissions }: Judged<'a>,
    right: Right,
    above: &'a Above,
) -> Option<Grant<'a>> {
    let kind = path.kind();
    let unknown = permissions.is_none() && matches!(right, Right::Write | Right::Delete);
    if unknown && kind != Kind::Bucket && kind != Kind::Account {
        // Whoever may read the place is told that there is nothing to change.
        return reaches(settings, caller, kind, Right::Read, above);
    }
    permissions
        .and_then(|permissions| held(caller, path, permissions, own(kind, right)))
        .or_else(|| reaches(settings, caller, kind, right, above))
}

/// What gives the right from further up: a permission there, or the operator.
pub(crate) fn reaches<'a>(
    settings: &'a Settings,
    caller: &Caller,
    kind: Kind,
    right: Right,
    above: &'a Above,
) -> Option<Grant<'a>> {
    inherits(caller, kind, right, above).or_else(|| {
        let verbs = granted_verbs(kind, right);
        verbs.iter().find_map(|verb| granted(settings, caller, kind.as_str(), verb))
    })
}

/// The permission further up that gives the right.
fn inherits<'a>(caller: &Caller, kind: Kind, right: Right, above: &'a Above) -> Option<Grant<'a>> {
    above.iter().find_map(|(path, parent)| {
        held(caller, path, &parent.permissions, inherited(kind, right, path.kind()))
    })
}

/// The first of these permissions on one record that the caller holds.
fn held<'a>(
    caller: &Caller,
    object: &'a RecordPath,
    permissions: &'a Permissions,
    names: &'static [&'static str],
) -> Option<Grant<'a>> {
    names.iter().find_map(|name| {
        let holder = permissions.holders(name).find(|holder| caller.is(holder.as_str()))?;
        Some(Grant { by: By::Permission { object, name }, holder })
    })
}

fn granted<'a>(
    settings: &'a Settings,
    caller: &Caller,
    kind: &'a str,
    verb: &'a str,
) -> Option<Grant<'a>> {
    let holders = settings.grants.holders(kind, verb)?;
    let holder = holders.iter().find(|holder| caller.is(holder.as_str()))?;
    Some(Grant { by: By::Operator { kind, verb }, holder })
}

/// What lets the caller add to a list without any other right to it, and so see that none of it is
/// shared. Accounts are added by strangers, who are told nothing of them.
pub(crate) fn may_create_directly<'a>(
    settings: &'a Settings,
    caller: &Caller,
    kind: Kind,
    above: &'a Above,
) -> Option<Grant<'a>> {
    let names: &[&str] = match kind {
        Kind::Record => &["record:create"],
        Kind::Collection => &["collection:create"],
        Kind::Group => &["group:create"],
        Kind::Account if caller.user().is_none() => return None,
        Kind::Bucket | Kind::Account | Kind::History => &[],
    };
    above
        .first()
        .and_then(|(path, parent)| held(caller, path, &parent.permissions, names))
        .or_else(|| granted(settings, caller, kind.as_str(), "create"))
}

fn on(record: Option<&Record>) -> Result<BTreeSet<GroupPath>, StoreError> {
    record.map_or_else(|| Ok(BTreeSet::new()), groups_on)
}

fn intent_right(intent: Intent) -> Right {
    match intent {
        Intent::Read => Right::Read,
        Intent::Write => Right::Write,
        Intent::Delete => Right::Delete,
        Intent::Put | Intent::Create | Intent::CreateOrRead => Right::Create,
    }
}
