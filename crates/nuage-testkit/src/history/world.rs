//! What the server is believed to hold, and who may do what with it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::history::ask::Shown;
use crate::history::step::List;

/// Everybody, logged in or not.
pub(super) const EVERYONE: &str = "system.Everyone";
/// Everybody who is logged in.
pub(super) const AUTHENTICATED: &str = "system.Authenticated";

/// Names of permissions to principals.
pub(super) type Permissions = BTreeMap<String, BTreeSet<String>>;

/// Someone who logs in.
#[derive(Clone, Debug)]
pub(super) struct User {
    pub(super) credentials: String,
    pub(super) id: String,
    pub(super) bucket: String,
}

/// A live object.
#[derive(Clone, Debug, Default)]
pub(super) struct Object {
    pub(super) data: Map<String, Value>,
    pub(super) time: i64,
    pub(super) permissions: Permissions,
}

/// A list with what it remembers.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    /// The list's timestamp; `None` until an answer shows it.
    pub(super) clock: Option<i64>,
    /// Its first timestamp, which it shows whoever sees nothing in it; `None` until it does.
    pub(super) first: Option<i64>,
    /// Where an earlier list of this name ended.
    pub(super) ended: i64,
    /// The list's timestamp is not before this.
    pub(super) floor: i64,
    pub(super) live: BTreeMap<String, Object>,
    pub(super) dead: BTreeMap<String, Tombstone>,
}

/// What a deleted object leaves.
#[derive(Clone, Debug)]
pub(super) struct Tombstone {
    pub(super) time: i64,
    /// Those of the object when it was deleted.
    pub(super) permissions: Permissions,
}

/// Whose rights count: oneself and the groups one is in.
#[derive(Clone, Debug)]
pub(super) struct Who {
    pub(super) anonymous: bool,
    /// What is written into permissions for him.
    pub(super) id: String,
    principals: BTreeSet<String>,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) users: Vec<User>,
    pub(super) listings: BTreeMap<List, Listing>,
}

impl World {
    pub(super) fn listing(&mut self, list: &List) -> &mut Listing {
        self.listings.entry(list.clone()).or_default()
    }

    pub(super) fn object(&self, list: &List, id: &str) -> Option<&Object> {
        self.listings.get(list)?.live.get(id)
    }

    /// Whether the object that the list is part of is there.
    pub(super) fn has_parent(&self, list: &List) -> bool {
        list.parent().is_none_or(|(list, id)| self.object(&list, id).is_some())
    }

    pub(super) fn who(&self, user: Option<usize>) -> Who {
        let Some(user) = user else {
            let principals = BTreeSet::from([EVERYONE.to_owned()]);
            return Who { anonymous: true, id: EVERYONE.to_owned(), principals };
        };
        let id = self.users[user].id.clone();
        let own = [EVERYONE, AUTHENTICATED, &id];
        let mut principals: BTreeSet<_> = own.into_iter().map(str::to_owned).collect();
        for (list, listing) in &self.listings {
            let List::Groups(_) = list else { continue };
            for (group, object) in &listing.live {
                let members = object.data.get("members").and_then(Value::as_array);
                let members = members.into_iter().flatten().filter_map(Value::as_str);
                if members.into_iter().any(|member| member == id || member == AUTHENTICATED) {
                    principals.insert(format!("{}/{group}", list.path()));
                }
            }
        }
        Who { anonymous: false, id, principals }
    }

    /// Whether the object itself names him.
    pub(super) fn holds(&self, who: &Who, list: &List, id: &str, permissions: &[&str]) -> bool {
        self.object(list, id).is_some_and(|object| who.holds(object, permissions))
    }

    pub(super) fn may_write(&self, who: &Who, list: &List, id: &str) -> bool {
        self.holds(who, list, id, &["write"]) || self.may_write_all(who, list)
    }

    pub(super) fn may_write_all(&self, who: &Who, list: &List) -> bool {
        list.parent().is_some_and(|(list, id)| self.may_write(who, &list, id))
    }

    pub(super) fn may_read(&self, who: &Who, list: &List, id: &str) -> bool {
        self.holds(who, list, id, &["read", "write"]) || self.may_read_all(who, list)
    }

    pub(super) fn may_read_all(&self, who: &Who, list: &List) -> bool {
        list.parent().is_some_and(|(list, id)| self.may_read(who, &list, id))
    }

    /// Whether he may look at the object itself, which needs less than looking at what is in it.
    pub(super) fn may_see(&self, who: &Who, list: &List, id: &str) -> bool {
        self.holds(who, list, id, seeing(list)) || self.may_read(who, list, id)
    }

    pub(super) fn may_create(&self, who: &Who, list: &List) -> bool {
        let permission = match list {
            List::Buckets => return !who.anonymous,
            List::Collections(_) => "collection:create",
            List::Groups(_) => "group:create",
            List::Records(..) => "record:create",
        };
        let parent = list.parent();
        self.may_write_all(who, list)
            || parent.is_some_and(|(list, id)| self.holds(who, &list, id, &[permission]))
    }

    /// Takes an object away with everything in it.
    pub(super) fn remove(&mut self, list: &List, id: &str, time: i64) {
        let listing = self.listing(list);
        if let Some(Object { permissions, .. }) = listing.live.remove(id) {
            listing.dead.insert(id.to_owned(), Tombstone { time, permissions });
        }
        for (below, listing) in &mut self.listings {
            let gone = match (list, below) {
                (List::Buckets, below) => below.bucket() == Some(id),
                (List::Collections(b), List::Records(bucket, collection)) => {
                    bucket == b && collection == id
                }
                _ => false,
            };
            if gone {
                let floor = listing.clock.unwrap_or(listing.floor);
                *listing = Listing { floor, ended: floor, ..Listing::default() };
            }
        }
    }

    /// An object as shown.
    pub(super) fn show(&self, list: &List, id: &str) -> Option<Shown> {
        self.object(list, id).map(|object| object.show(id))
    }
}

/// What makes the holder see an object of the list.
pub(super) fn seeing(list: &List) -> &'static [&'static str] {
    match list {
        List::Buckets => &["read", "write", "collection:create", "group:create"],
        List::Collections(_) => &["read", "write", "record:create"],
        List::Groups(_) | List::Records(..) => &["read", "write"],
    }
}

impl Who {
    pub(super) fn holds(&self, object: &Object, permissions: &[&str]) -> bool {
        self.is_in(&object.permissions, permissions)
    }

    pub(super) fn is_in(&self, all: &Permissions, permissions: &[&str]) -> bool {
        let holders = permissions.iter().filter_map(|name| all.get(*name));
        holders.flatten().any(|holder| self.principals.contains(holder))
    }
}

impl Object {
    pub(super) fn show(&self, id: &str) -> Shown {
        let mut shown = self.data.clone();
        shown.insert("id".to_owned(), Value::from(id));
        shown.insert("last_modified".to_owned(), Value::from(self.time));
        shown
    }
}

impl Listing {
    pub(super) fn tombstone(id: &str, time: i64) -> Shown {
        match json!({"id": id, "last_modified": time, "deleted": true}) {
            Value::Object(shown) => shown,
            _ => unreachable!("it was written as an object"),
        }
    }
}
