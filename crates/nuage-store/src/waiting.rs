//! What waits for a writer. It goes round by person, so that many batches of one do not hold up the
//! single one of another, and groups are bounded by what their batches weigh.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use foldhash::HashMap;
use foldhash::fast::FixedState;
use nuage_model::{Batch, BucketId, Put, Write};

use crate::schema::may_be_group;

/// Weight beyond which a batch is applied by itself: nobody else shares its fate, and few wait for
/// as long as it takes.
const HEAVY: usize = 1_024;
/// Weight of a group beyond which no further batch joins it.
const GROUP_MAX: usize = 4_096;
/// Bytes that weigh as much as a row.
const ROW_BYTES: usize = 4_096;

/// About how many rows a batch writes, large bodies counted as several.
pub(crate) fn weight(batch: &Batch) -> usize {
    let writes = batch.writes.iter().map(|write| match write {
        Write::Put(Put { body, permissions, readers, .. }) => {
            // Groups are counted besides.
            let groups = readers.principals().iter().filter(|one| may_be_group(one.as_str()));
            1 + readers.principals().len()
                + groups.count()
                + (body.text().len() + permissions.len()) / ROW_BYTES
        }
        Write::SetMembers { members, .. } => 1 + members.len(),
        Write::KeepView { groups, .. } => 1 + groups.len() / 64,
        _ => 1,
    });
    writes.sum()
}

/// Whether a batch of this weight is applied by itself.
pub(crate) fn is_heavy(weight: usize) -> bool {
    weight > HEAVY
}

/// Who waits for a batch: its author, or else whoever uses its bucket.
pub(crate) fn person(batch: &Batch) -> u64 {
    let hash = |text: &str| FixedState::default().hash_one(text);
    let bucket = || batch.writes.iter().find_map(bucket_of).map_or("", BucketId::as_str);
    hash(batch.author.as_ref().map_or_else(bucket, |author| author.as_str()))
}

/// The bucket of a write, unless it is the root's.
pub(crate) fn bucket_of(write: &Write) -> Option<&BucketId> {
    let bucket = match write {
        Write::Put(Put { path, .. }) | Write::Delete { path, .. } | Write::Erase { path } => {
            &path.collection.bucket
        }
        Write::Touch { collection }
        | Write::DropCollection { collection }
        | Write::Compact { collection, .. }
        | Write::Mark { collection, .. } => &collection.bucket,
        Write::DropBucket { bucket }
        | Write::KeepView { bucket, .. }
        | Write::ForgetViews { bucket, .. } => bucket,
        Write::SetMembers { group, .. } => &group.bucket,
        Write::Note { .. } | Write::Renew { .. } | Write::Flush { .. } => return None,
    };
    Some(bucket).filter(|bucket| !bucket.as_str().is_empty())
}

/// Tasks in line, a line for each person.
pub(crate) struct Waiting<T> {
    lines: HashMap<u64, VecDeque<(usize, T)>>,
    /// Everybody who has a line, whose turn it is first.
    turns: VecDeque<u64>,
    /// Who had something heavy done and waits for more: after those who came meanwhile.
    served: Option<u64>,
    count: usize,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { lines: HashMap::default(), turns: VecDeque::new(), served: None, count: 0 }
    }
}

impl<T> Waiting<T> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a task to the line of a person.
    pub(crate) fn push(&mut self, person: u64, weight: usize, task: T) {
        self.count += 1;
        let line = self.lines.entry(person).or_default();
        if line.is_empty() {
            self.turns.push_back(person);
        }
        line.push_back((weight, task));
    }

    /// Takes what is applied together next: a heavy task alone, or one light task after the other,
    /// going round by person, as long as `may_join` lets them join those before.
    pub(crate) fn group(
        &mut self,
        tasks_max: usize,
        mut may_join: impl FnMut(&[T], &T) -> bool,
    ) -> Vec<T> {
        let (mut group, mut total) = (Vec::new(), 0);
        self.turns.extend(self.served.take());
        // Whose turn is not used up.
        let mut passed = Vec::new();
        while group.len() < tasks_max && total < GROUP_MAX {
            let Some(person) = self.turns.pop_front() else { break };
            let Some(line) = self.lines.get_mut(&person) else { continue };
            let fits = line.front().is_some_and(|(weight, task)| {
                let is_light = !is_heavy(*weight) && total + weight <= GROUP_MAX;
                (group.is_empty() || is_light) && may_join(&group, task)
            });
            if !fits {
                passed.push(person);
                continue;
            }
            let Some((weight, task)) = line.pop_front() else { continue };
            match line.is_empty() {
                true => drop(self.lines.remove(&person)),
                false if is_heavy(weight) => self.served = Some(person),
                false => self.turns.push_back(person),
            }
            self.count -= 1;
            total += weight;
            group.push(task);
            if is_heavy(weight) {
                break;
            }
        }
        passed.into_iter().rev().for_each(|person| self.turns.push_front(person));
        group
    }
}

#[cfg(test)]
mod tests;
