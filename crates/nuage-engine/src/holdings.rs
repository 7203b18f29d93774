//! On what somebody holds permissions, a piece at a time.
//!
//! The pieces follow the order of the collections, and in each the newest records come first: an
//! order in which one can go on without looking at what came before. What is below a record is not
//! told for a permission on that record.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use foldhash::HashSet;
use nuage_model::{
    CollectionPath, GroupPath, Kind, Permissions, Principal, Query, ReaderFilter, RecordPath,
    Scope, Timestamp, View,
};

use crate::access::{implied, permission_names};
use crate::groups::CHAIN_MAX;
use crate::{EngineError, Session};

/// Collections asked for at a time.
const COLLECTIONS: usize = 100;
/// Groups that are looked at that have somebody as a member, or such a group.
const GROUPS_AROUND: usize = 10_000;
/// Records looked at in one turn.
const ROWS: usize = 500;

/// A record on which somebody holds permissions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Which.
    pub path: RecordPath,
    /// Its time.
    pub time: Timestamp,
    /// Their names, with those that they give on the record itself.
    pub names: BTreeSet<&'static str>,
}

impl Holding {
    /// The place after it.
    pub fn end(&self) -> HoldingsPlace {
        HoldingsPlace { collection: self.path.collection.clone(), after: Some(self.time) }
    }
}

/// A place between two holdings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HoldingsPlace {
    /// In this collection,
    pub collection: CollectionPath,
    /// after the record of that time; at its end if there is none.
    pub after: Option<Timestamp>,
}

impl Session {
    /// Tells what the caller holds permissions on, after a place, until it is told to stop or has
    /// looked at so many records and collections. Gives the place where it stopped; `None` at the
    /// end.
    pub async fn holdings(
        &mut self,
        after: Option<HoldingsPlace>,
        looks: usize,
        mut tell: impl FnMut(Holding) -> ControlFlow<()> + Send,
    ) -> Result<Option<HoldingsPlace>, EngineError> {
        let mut walk = Walk { looks, tell: &mut tell };
        let mut last = None;
        if let Some(place) = after {
            if place.after.is_some()
                && let Some(stopped) = self.walk(place.clone(), &mut walk).await?
            {
                return Ok(Some(stopped));
            }
            last = Some(place.collection);
        }
        loop {
            let collections = self.places_to_look(last.as_ref()).await?;
            if collections.is_empty() {
                return Ok(None);
            }
            for collection in collections {
                if walk.looks == 0 {
                    return Ok(last.map(|collection| HoldingsPlace { collection, after: None }));
                }
                walk.looks -= 1;
                let place = HoldingsPlace { collection: collection.clone(), after: None };
                if let Some(stopped) = self.walk(place, &mut walk).await? {
                    return Ok(Some(stopped));
                }
                last = Some(collection);
            }
        }
    }

    /// What the caller may do where no record is.
    pub async fn holdings_of_root(&mut self) -> Result<Vec<&'static str>, EngineError> {
        let mut held = Vec::new();
        for (kind, name) in [("bucket", "bucket:create"), ("account", "account:create")] {
            if self.granted(kind, "create").await? {
                held.push(name);
            }
        }
        Ok(held)
    }

    /// The next collections that may hold something for the caller: all, where the operator opens a
    /// kind to them.
    async fn places_to_look(
        &mut self,
        after: Option<&CollectionPath>,
    ) -> Result<Vec<CollectionPath>, EngineError> {
        for kind in [Kind::Bucket, Kind::Collection, Kind::Group] {
            if !self.opened_by_operator(kind).await?.is_empty() {
                let _turn = self.turn().await?;
                let store = self.engine.store();
                return Ok(store.collections(ReaderFilter::All, after, COLLECTIONS).await?);
            }
        }
        let _turn = self.turn().await?;
        let whose = self.around().await?;
        let store = self.engine.store();
        Ok(store.collections(ReaderFilter::Of(&whose), after, COLLECTIONS).await?)
    }

    /// Groups around the caller, at most so many: those that they are a member of, then those of
    /// everybody, then those that contain them. Here alone it is looked upwards, where it decides nothing
    /// but where to look.
    async fn around(&self) -> Result<Vec<Principal>, EngineError> {
        let mut all = self.caller.base();
        let mut level = self.own_groups(GROUPS_AROUND).await?;
        for _ in 1..CHAIN_MAX {
            let known: HashSet<&Principal> = all.iter().collect();
            level.retain(|group| !known.contains(group));
            all.extend(level.iter().cloned());
            let left = GROUPS_AROUND.saturating_sub(all.len());
            if left == 0 || level.is_empty() {
                break;
            }
            let around = self.engine.store().groups_of(&level, left).await?;
            level = around.iter().map(GroupPath::principal).collect();
        }
        Ok(all)
    }

    /// What the operator gives to the caller on all records of a kind.
    async fn opened_by_operator(&mut self, kind: Kind) -> Result<Vec<&'static str>, EngineError> {
        let mut verbs = Vec::new();
        if matches!(kind, Kind::Bucket | Kind::Collection | Kind::Group) {
            for verb in ["read", "write"] {
                if self.granted(kind.as_str(), verb).await? {
                    verbs.push(verb);
                }
            }
        }
        Ok(verbs)
    }

    /// Goes through one collection, from a place in it or from its beginning.
    async fn walk(
        &mut self,
        place: HoldingsPlace,
        walk: &mut Walk<'_>,
    ) -> Result<Option<HoldingsPlace>, EngineError> {
        let HoldingsPlace { collection, after } = place;
        let kind = collection.kind();
        if kind == Kind::History {
            return Ok(None);
        }
        let given = self.opened_by_operator(kind).await?;
        let mut query = Query::all(collection.clone(), ROWS);
        query.bodies = false;
        query.after = after.map(|after| vec![Some(after.0.into())]);
        let above = self.groups_over(&collection).await?;
        let readers = match self.readers_of(&collection, above).await {
            Ok((readers, _)) => readers,
            // Nothing else is hidden for what this place names.
            Err(EngineError::TooManyInnerGroups(_)) => self.caller.base(),
            Err(error) => return Err(error),
        };
        let whom: HashSet<&str> = readers.iter().map(Principal::as_str).collect();
        if given.is_empty() {
            query.scope = Scope::Readers(readers.clone());
        }
        let mut last = after;
        loop {
            if walk.looks == 0 {
                // Without a record looked at, the collection itself was not yet.
                let after = last.or(Some(Timestamp(i64::MAX)));
                return Ok(Some(HoldingsPlace { collection, after }));
            }
            query.limit = ROWS.min(walk.looks);
            let turn = self.turn().await?;
            let page = self.engine.store().list(&query).await?;
            for record in &page.records {
                walk.looks -= 1;
                let own = Permissions::from_text(&record.permissions()).unwrap_or_default();
                let is_me = |principal: &str| whom.contains(principal);
                let held = permission_names(kind).iter().copied();
                let held = held.filter(|name| own.grants(name, &is_me));
                let names = held.chain(given.iter().copied()).flat_map(|name| implied(kind, name));
                let names: BTreeSet<_> = names.copied().collect();
                let path = collection.record(record.id.clone());
                let time = record.timestamp();
                if !names.is_empty() && (walk.tell)(Holding { path, time, names }).is_break() {
                    let after = Some(time);
                    return Ok(Some(HoldingsPlace { collection, after }));
                }
            }
            drop(turn);
            let Some(end) = page.records.last().filter(|_| page.more) else { return Ok(None) };
            last = Some(end.timestamp());
            query.after = Some(query.position(&View::new(end)));
        }
    }
}

struct Walk<'a> {
    /// How many records and collections may still be looked at.
    looks: usize,
    tell: &'a mut (dyn FnMut(Holding) -> ControlFlow<()> + Send),
}
