//! Short texts that all processes on a store share: secrets, and who does a chore.

use nuage_model::copy::KEPT;
use nuage_model::{ApplyError, Batch, Store, StoreError, Timestamp, Write};

/// How often it is tried to note something while others note it too.
const ATTEMPTS_MAX: usize = 100;
/// A lease that ends so much later than anybody may ask for was taken by a clock that was wrong, in
/// milliseconds.
const MARGIN_MS: i64 = 3_600_000;

/// Keeps a text under a name unless one is kept there already, and gives what is kept: for secrets
/// that all processes must share. It goes along with copies of the store.
///
/// # Errors
///
/// What the store could not read or write.
pub async fn keep(store: &dyn Store, name: &str, text: &str) -> Result<String, StoreError> {
    let name = format!("{KEPT}{name}");
    for _ in 0..ATTEMPTS_MAX {
        if let Some(kept) = store.note(&name).await? {
            return Ok(kept);
        }
        if note(store, &name, None, text).await? {
            return Ok(text.to_owned());
        }
    }
    Err(changing(&name))
}

/// Takes or prolongs the right to do a chore until then, of whichever process asks first; false
/// while another one holds it.
///
/// # Errors
///
/// What the store could not read or write.
pub async fn lease(
    store: &dyn Store,
    chore: &str,
    holder: &str,
    now: Timestamp,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let name = format!("lease.{chore}");
    for _ in 0..ATTEMPTS_MAX {
        let noted = store.note(&name).await?;
        if noted.as_deref().is_some_and(|noted| !is_free(noted, holder, now, until)) {
            return Ok(false);
        }
        if note(store, &name, noted, &format!("{until} {holder}")).await? {
            return Ok(true);
        }
    }
    Err(changing(&name))
}

// What is noted of a lease is its end, a space, and who has it. What cannot be read is nobody's.
fn is_free(noted: &str, holder: &str, now: Timestamp, until: Timestamp) -> bool {
    let Some((end, by)) = noted.split_once(' ') else { return true };
    let Ok(end) = end.parse::<i64>() else { return true };
    let beyond = i128::from(end) - i128::from(MARGIN_MS) - i128::from(until.0);
    let asked = i128::from(until.0) - i128::from(now.0);
    by == holder || end <= now.0 || (asked > 0 && beyond > asked)
}

// Whether nobody else noted something there meanwhile.
async fn note(
    store: &dyn Store,
    name: &str,
    was: Option<String>,
    text: &str,
) -> Result<bool, StoreError> {
    let write = Write::Note { name: name.to_owned(), was, text: text.to_owned() };
    // It gets no position, and so needs no time.
    let batch = Batch::new(Timestamp(0), vec![write]);
    match store.apply(batch).await {
        Ok(_) => Ok(true),
        Err(ApplyError::Conflict) => Ok(false),
        Err(ApplyError::Store(error)) => Err(error),
    }
}

fn changing(name: &str) -> StoreError {
    StoreError::Unavailable(format!("what is noted under {name} kept changing"))
}
