//! Pages of devices at rest where nothing moved, as most polls are: known from the header of one
//! moment, without a snapshot.
//!
//! Whatever is not certain is left to `page`: nothing is told here, and nobody is refused.

use std::sync::Arc;

use nuage_model::SnapshotRequest;

use crate::feed::page::{Told, keep_once};
use crate::feed::present::above;
use crate::feed::token::{Owner, Token};
use crate::{Engine, EngineError, FeedPage, FeedQuery, Interest};

/// Buckets of which one moment says so soon where their groups stand that it needs no turn.
const BUCKETS_MAX: usize = 16;

impl Engine {
    /// The page that follows this token, if it is known at once to tell nothing.
    pub(super) async fn page_at_rest(
        self: &Arc<Self>,
        query: &FeedQuery,
        token: &Token,
        owner: &Owner<'_>,
    ) -> Result<Option<FeedPage>, EngineError> {
        if token.place.run.is_some() || query.sum {
            return Ok(None);
        }
        let remembered = self.named().remembered(&query.collection);
        let buckets = remembered.buckets();
        if buckets.len() > BUCKETS_MAX {
            return Ok(None);
        }
        let of = SnapshotRequest::of(query.collection.clone());
        let ask = SnapshotRequest { paths: above(query), buckets, ..of };
        let header = self.store().standing(&ask).await?;
        let present = self.present_as_remembered(query, (&remembered, &header))?;
        let Some(present) = present.filter(|present| !present.is_missing) else { return Ok(None) };
        let is_there = token.base == present.base && token.place.at == present.head();
        if !is_there || !present.can_go_on(token) {
            return Ok(None);
        }
        let view = present.view(query);
        let (name, groups) = view.name(&present.named);
        let holds = present.is_whole || token.holds;
        if token.place.views().any(|view| *view != name) || (present.is_refusable && !holds) {
            return Ok(None);
        }
        let mut keep = Vec::new();
        keep_once(&mut keep, &name, groups);
        let page = FeedPage {
            reset: false,
            entries: Vec::new(),
            more: false,
            continues: false,
            token: String::new(),
            head: present.head(),
            sum: None,
            interest: Interest {
                whole: present.is_whole,
                principals: present.counts_as,
                buckets: present.buckets,
                named: present.standing.named,
            },
        };
        let told = Told { page, token: Token { holds, ..token.clone() }, keep };
        self.finish(query, told, owner).await.map(Some)
    }
}
