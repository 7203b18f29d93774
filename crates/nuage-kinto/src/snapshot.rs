//! The records of a collection as they were at a time, page by page.
//!
//! Source: Kinto's history plugin. Pages are ours: the original gives all at once. What is told,
//! and in which order the pages come, are rules of the engine.

use http::{HeaderName, StatusCode};
use nuage_engine::{Past, Session};
use nuage_model::{CollectionPath, Timestamp};

use crate::Kinto;
use crate::call::Call;
use crate::error::{Error, Invalid, Location};
use crate::object::{Ending, splice};
use crate::querystring::Listing;
use crate::reply::Reply;
use crate::token;

impl Kinto {
    pub(crate) async fn snapshot(
        &self,
        session: &mut Session,
        call: &Call,
        collection: &CollectionPath,
        at: &str,
    ) -> Result<Reply, Error> {
        self.check_place(collection)?;
        let opened = session.open_past(collection).await;
        let opened = self.store(opened, session)?;
        let at_time = at.parse::<i64>().ok().filter(|at| *at >= 0).map(Timestamp);
        let at = at_time.ok_or_else(|| {
            let what = format!("Invalid timestamp '{at}'");
            Error::invalid_one(Invalid::named(Location::Path, "timestamp", what))
        })?;
        let params = self.parse_list(call, Listing::Objects)?;
        let order = format!("snapshot {collection}@{}", at.0);
        let after = match &params.token {
            None => None,
            Some(text) => {
                let position = self.tokens.decode(text, &order)?.position;
                let time = position.first().and_then(|value| value.as_ref()?.as_i64());
                Some(Timestamp(time.ok_or_else(token::invalid)?))
            }
        };
        let page = session.past(&opened, at, after, params.page_records).await;
        let mut page = self.store(page, session)?;
        page.records.sort_by_key(|past| std::cmp::Reverse(past.timestamp()));
        let mut body = String::from("{\"data\":[");
        for (n, past) in page.records.into_iter().enumerate() {
            if n > 0 {
                body.push(',');
            }
            match past {
                Past::Other { text, .. } => body.push_str(&text),
                Past::Same(record) => {
                    let (id, time) = (record.id.as_str(), record.timestamp());
                    splice(&mut body, record.body(), id, time, Ending::Live);
                }
            }
        }
        body.push_str("]}");
        let mut headers = Vec::new();
        if let Some(Timestamp(next)) = page.next {
            let url = self.next_at(call, &params, vec![Some(next.into())], &order);
            headers.push((HeaderName::from_static("next-page"), url));
        }
        Ok(Reply::Text { status: StatusCode::OK, body: body.into(), headers })
    }
}
