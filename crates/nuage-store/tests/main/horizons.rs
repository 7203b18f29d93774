//! A horizon that another process moves, and what this one still takes for known.

use std::collections::BTreeSet;

use nuage_model::{Body, CollectionPath, Placement, Principal, Put, Readers, Seq, Write};
use nuage_store::{Options, Synchronous};
use nuage_testkit::backend::Backend;
use nuage_testkit::both_databases;

use crate::place::Place;

both_databases!(async a_signature_that_another_process_forgot_is_known_again);

const NAMED: &str = "
    SELECT principal FROM named_signature_principals
    WHERE bucket = $bucket AND collection = $collection";

async fn a_signature_that_another_process_forgot_is_known_again(backend: Backend) {
    let place = Place::new(backend);
    // Nothing shall be forgotten only because time passes.
    let (trust_ms, synchronous) = (3_600_000, Synchronous::Normal);
    let options = Options { trust_ms, synchronous, ..Options::default() };
    let (one, other) = (place.open_with(options.clone()).await, place.open_with(options).await);
    let x = CollectionPath::new("b", "x");
    crate::found(&one, "b", &["x"]).await;
    let put = |id: &str| {
        Write::Put(Put {
            path: x.record(id),
            body: Body::from("{}".to_owned()),
            permissions: "{}".to_owned(),
            readers: Readers::new(BTreeSet::from([Principal::from("alice")])),
            placement: Placement::Next,
        })
    };
    let compact = Write::Compact { collection: x.clone(), up_to: Seq(i64::MAX) };
    let tables = place.tables().await;
    for round in 0..3 {
        for id in ["r", "s", "r"] {
            crate::apply(&one, vec![put(id)]).await;
        }
        let named = tables.read(NAMED, &x).await;
        assert_eq!(named, [[Some("alice".to_owned())]], "round {round}");
        assert_eq!(other.admin().check().await.unwrap(), [], "round {round}");
        for id in ["r", "s"] {
            let delete = Write::Delete { path: x.record(id), placement: Placement::Next };
            crate::apply(&one, vec![delete]).await;
        }
        crate::apply(&other, vec![compact.clone()]).await;
        assert_eq!(tables.read(NAMED, &x).await, Vec::<Vec<_>>::new(), "round {round}");
        assert_eq!(one.admin().check().await.unwrap(), [], "round {round}");
    }
    one.close().await;
    other.close().await;
}
