//! Who is in which signature. They are named by their content, so what is remembered stays true.

use std::sync::{Arc, Mutex, PoisonError};

use foldhash::HashMap;
use nuage_model::{Principal, Readers, Signature, Snapshot, StoreError};

/// Principals of all signatures together beyond which all are forgotten: a few megabytes.
const PRINCIPALS_MAX: usize = 100_000;

/// What is remembered of signatures.
#[derive(Default)]
pub(super) struct Signatures(Mutex<Known>);

#[derive(Default)]
struct Known {
    principals: HashMap<Signature, Arc<[Principal]>>,
    count: usize,
}

impl Signatures {
    /// Who is in each of these; `None` if one of them is not known.
    pub(super) async fn principals(
        &self,
        snapshot: &mut dyn Snapshot,
        signatures: &[Signature],
    ) -> Result<Option<Vec<Arc<[Principal]>>>, StoreError> {
        let mut found = Vec::with_capacity(signatures.len());
        let mut unknown = Vec::new();
        {
            let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            for signature in signatures {
                match known.principals.get(signature) {
                    Some(principals) => found.push(Arc::clone(principals)),
                    None => unknown.push(*signature),
                }
            }
        }
        if unknown.is_empty() {
            return Ok(Some(found));
        }
        let nobody = Readers::new(Default::default()).signature();
        let told = snapshot.principals_of(&unknown).await?;
        for (signature, principals) in unknown.into_iter().zip(told) {
            // It may have been forgotten with the last that had it.
            if principals.is_empty() && signature != nobody {
                return Ok(None);
            }
            let principals: Arc<[Principal]> = principals.into();
            self.remember(signature, &principals);
            found.push(principals);
        }
        Ok(Some(found))
    }

    fn remember(&self, signature: Signature, principals: &Arc<[Principal]>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.count += 1 + principals.len();
        if known.count > PRINCIPALS_MAX {
            known.principals.clear();
            known.count = 1 + principals.len();
        }
        known.principals.insert(signature, Arc::clone(principals));
    }
}
