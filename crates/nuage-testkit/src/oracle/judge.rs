//! Whether a page may be as it is, in this moment, for this device.

use std::collections::BTreeSet;

use nuage_model::{RecordId, Timestamp, digest};

use crate::oracle::device::{Device, Mirror, Origin};
use crate::oracle::subject::{Ask, Entry, Page};
use crate::oracle::world::World;

/// What was brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Brought {
    /// What was given to this person.
    Own,
    /// Something that is good for nothing.
    Nothing,
}

/// Judges what a device is told, and lets it take the page.
pub(crate) fn page(
    world: &World,
    device: &mut Device,
    brought: Brought,
    ask: Ask<'_>,
    page: &Page,
) -> Result<(), String> {
    begins_rightly(world, device, brought, page)?;
    if page.entries.len() > ask.limit {
        return Err(format!("{} entries where {} were asked for", page.entries.len(), ask.limit));
    }
    let mirror = mirror_of(world, device.person);
    // A run goes to a moment that may be past: what came later is told by the next one.
    let is_behind = device.state.origin.run.is_some_and(|commits| commits < world.commits);
    let mut told = BTreeSet::new();
    for entry in &page.entries {
        let (Entry::Change(id, ..) | Entry::Removal(id)) = entry;
        if !told.insert(id) {
            return Err(format!("{id} is told twice in one page"));
        }
        match entry {
            Entry::Change(id, content, time) => match mirror.get(id) {
                None => return Err(format!("LEAK: {id} is shown to whom may not see it")),
                Some(now) if *now != (*content, *time) => {
                    let shown = (content, time);
                    return Err(format!("{id} is shown as {shown:?}, and is {now:?}"));
                }
                Some(_) => {}
            },
            Entry::Removal(id) if mirror.contains_key(id) && !is_behind => {
                return Err(format!("MISSING: {id} is taken from whom may see it"));
            }
            Entry::Removal(id) => {
                let record = id.strip_prefix('r').and_then(|number| number.parse().ok());
                if record.is_none_or(|record| !world.could_see(device.person, record)) {
                    return Err(format!("ID LEAK: {id} is taken from whom never could see it"));
                }
            }
        }
    }
    device.take(page);
    note_origin(world, device, page);
    if page.more {
        return match page.sum {
            Some(_) => Err("a sum is told though more follows".to_owned()),
            None => Ok(()),
        };
    }
    rests(&device.state.mirror, &mirror)?;
    match (ask.sum, page.sum) {
        (true, None) => Err("no sum is told at rest".to_owned()),
        (_, Some(sum)) if sum != sum_of(&mirror) => {
            Err(format!("the sum is told as {sum:?}, and is {:?}", sum_of(&mirror)))
        }
        _ => Ok(()),
    }
}

/// Judges that a device is told that there is nothing to see, and lets it forget everything.
pub(crate) fn refusal(world: &World, device: &mut Device) -> Result<(), String> {
    if world.sees_whole(device.person) || !mirror_of(world, device.person).is_empty() {
        return Err("refused, though there is something to see".to_owned());
    }
    device.forget();
    Ok(())
}

fn begins_rightly(
    world: &World,
    device: &Device,
    brought: Brought,
    page: &Page,
) -> Result<(), String> {
    let origin = &device.state.origin;
    let (other, unknown) = (origin.incarnation != world.incarnation, brought == Brought::Nothing);
    // Collections that nothing was written to may all be one: there was nothing to have of them.
    if unknown || (other && origin.written) {
        let why = if unknown { "with no good token" } else { "with a token of what is gone" };
        return if page.reset { Ok(()) } else { Err(format!("goes on {why}")) };
    }
    let reason = origin.floor.is_some_and(|floor| floor < world.horizon)
        || other
        || origin.written != world.written
        || origin.forgotten != world.forgotten;
    if page.reset && !reason {
        let (horizon, head) = (world.horizon, page.head);
        let floor = origin.floor;
        return Err(format!(
            "begins anew without a reason: from {floor:?}, horizon {horizon}, head {head:?}"
        ));
    }
    Ok(())
}

fn note_origin(world: &World, device: &mut Device, page: &Page) {
    let origin = &mut device.state.origin;
    if page.reset {
        *origin = Origin {
            incarnation: world.incarnation,
            written: world.written,
            floor: page.head,
            run: None,
            forgotten: world.forgotten,
        };
    }
    if page.more {
        origin.run.get_or_insert(world.commits);
    } else {
        *origin = Origin {
            incarnation: world.incarnation,
            written: world.written,
            floor: page.head,
            run: None,
            forgotten: world.forgotten,
        };
    }
}

fn mirror_of(world: &World, person: usize) -> Mirror {
    let visible = world.visible(person);
    visible.map(|(record, live)| (format!("r{record}"), (live.content, live.time))).collect()
}

fn rests(has: &Mirror, should: &Mirror) -> Result<(), String> {
    for (id, shown) in has {
        match should.get(id) {
            None => return Err(format!("STALE: {id} is still on a device at rest")),
            Some(now) if now != shown => {
                return Err(format!("OLD: {id} is {shown:?} on a device at rest, not {now:?}"));
            }
            Some(_) => {}
        }
    }
    match should.keys().find(|id| !has.contains_key(*id)) {
        Some(id) => Err(format!("MISSING: {id} is not on a device at rest")),
        None => Ok(()),
    }
}

fn sum_of(mirror: &Mirror) -> (u64, u64) {
    let digests =
        mirror.iter().map(|(id, (_, time))| digest(&RecordId::from(id.as_str()), Timestamp(*time)));
    let sum = digests.fold(0, |sum: u64, one| (sum + one) % nuage_model::DIGEST_MODULUS);
    (mirror.len() as u64, sum)
}
