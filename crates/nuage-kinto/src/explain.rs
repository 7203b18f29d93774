//! Why somebody may or may not do something with an object, for those who may change it.
//!
//! Not of Kinto's protocol. The verdict is the engine's; here it is only asked for and shown.

use http::header::CACHE_CONTROL;
use http::{HeaderValue, StatusCode};
use nuage_engine::Session;
use nuage_model::{Principal, RecordPath};
use serde_json::json;

use crate::Kinto;
use crate::call::Call;
use crate::error::Error;
use crate::querystring::parse_explain;
use crate::reply::Reply;

impl Kinto {
    pub(crate) async fn explain(
        &self,
        session: &mut Session,
        call: &Call,
        path: &RecordPath,
    ) -> Result<Reply, Error> {
        self.check_place(&path.collection)?;
        let limits = &self.engine.settings().limits;
        let principal = Principal::from(parse_explain(call.query.as_deref(), limits)?);
        let explained = session.explain(path.clone(), &principal).await;
        let explanation = explained.map_err(|error| self.refusal(session, error))?;
        let body = json!({ "data": explanation.to_json() }).to_string();
        let never_kept = (CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Ok(Reply::Text { status: StatusCode::OK, body: body.into(), headers: vec![never_kept] })
    }
}
