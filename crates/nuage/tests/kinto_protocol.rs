//! A client of Kinto meets an answer that it does not expect.
//!
//! Transcripts, by section of the protocol: a request on one line, under it what its answer must
//! have. See `transcript` for the notation.

mod access;
mod batches;
mod conditions;
mod fronts;
mod lists;
mod parts;
mod plugins;
mod texts;
mod transcript;
mod writes;

use nuage_testkit::backend::Backend;
use nuage_testkit::server::Server;

use crate::kinto_protocol::transcript::play;
use crate::programs::{program, write_settings};

/// Everything that the protocol has, for everybody.
const SETTINGS: &str = "\
kinto.userid_hmac_secret =
kinto.default_bucket_hmac_secret =
kinto.includes = kinto.plugins.default_bucket kinto.plugins.accounts kinto.plugins.history
  kinto.plugins.flush kinto.plugins.counters
multiauth.policies = account basicauth
multiauth.policy.account.use = kinto.plugins.accounts.AccountsPolicy
kinto.account_create_principals = system.Everyone
kinto.account_write_principals = account:admin
kinto.user-data_delete_principals = account:admin
kinto.experimental_permissions_endpoint = true
kinto.experimental_collection_schema_validation = true
";

/// A server with all of that, and some settings more.
fn kinto(backend: Backend, more: &str) -> Server {
    start(backend, &format!("{SETTINGS}{more}"))
}

fn start(backend: Backend, settings: &str) -> Server {
    let folder = tempfile::tempdir().unwrap();
    let settings = write_settings(folder.path(), settings);
    let data = folder.path().join("data");
    program().on(backend).argument("--kinto-ini").argument(settings).start_on(data, folder)
}

/// Plays transcripts one after the other, each on an empty server.
fn play_all(server: &Server, transcripts: &[&str]) {
    for text in transcripts {
        play(server, "POST /__flush__\n=> 202 | {}");
        play(server, text);
    }
}
