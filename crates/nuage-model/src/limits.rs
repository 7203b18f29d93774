//! Every bound on what comes from outside, each with its reason. All can be set.

use crate::SORT_KEY_BYTES;

/// The bounds. Sizes are in bytes, times in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Size of a request body. A full batch of the largest records fits ([`Limits::conflicts`]):
    /// clients fill batches by number, and cannot know what a record may weigh.
    pub body_bytes: usize,
    /// Size of all request bodies that are here at a time. Without it, as many bodies as there may
    /// be connections could be held, each a little smaller than the largest.
    pub bodies_bytes: usize,
    /// Nesting of arrays and objects in JSON from outside. Deeper values cost stack in every
    /// reader, here and on the devices.
    pub json_depth: usize,
    /// Size of a request's line and headers. The conditions of a list may take half of it
    /// ([`Limits::query_bytes`]), the token of a page a third; a connection that sends more is
    /// not a browser.
    pub header_bytes: usize,
    /// Requests in one batch. Clients read it from the server's description and cut their work.
    pub batch_requests: usize,
    /// Size of one record: its text and that of its permissions. What is larger is a file.
    pub record_bytes: usize,
    /// Records in one page. More are answered by further pages.
    pub page_records: usize,
    /// Size of the records in one page, unless a single one is larger. It is held while it is
    /// read, made and sent.
    pub page_bytes: usize,
    /// Size of the answers in one batch. Changes are answered in full; lists get the rest, and
    /// shorter pages as it goes to its end.
    pub batch_answer_bytes: usize,
    /// Size of the large answers that are held at a time, until they are taken: a quarter of it
    /// for one person, or for one address where nobody is logged in.
    pub answers_bytes: usize,
    /// Length of an identifier. It is part of every index entry.
    pub id_bytes: usize,
    /// Principals under one permission, and told of one person by a protocol's root. Beyond that a group is the right tool: each new set of
    /// readers costs one index entry a principal.
    pub principals: usize,
    /// Members of one group. Each is an index entry that is rewritten with the group.
    pub members: usize,
    /// Groups that one group may have as members.
    pub groups_in_group: usize,
    /// Groups inside those that a place names, of which it is looked who is in them. Whoever may read
    /// something there only through such groups is put off beyond that.
    pub inner_groups: usize,
    /// Groups that the permissions of the records of one collection may name.
    pub names: usize,
    /// Entries in one page of a feed. A device applies a page at once.
    pub feed_page: usize,
    /// Time that a feed may be waited for in one request, and between two signs of life of a
    /// stream.
    pub feed_wait_ms: u64,
    /// Conditions in one list request. Each costs a comparison a record.
    pub filter_terms: usize,
    /// Values in one `in_` or `exclude_` condition. Clients send a page of identifiers, as far as
    /// they fit into the address.
    pub filter_values: usize,
    /// Keys of one order.
    pub sort_terms: usize,
    /// Operations in one JSON Patch. Each may copy the document.
    pub patch_operations: usize,
    /// Size of one JSON Schema. It is compiled when it is set.
    pub schema_bytes: usize,
    /// Size of one JSON Schema when compiled, as an upper estimate. Some 200 patterns, or a
    /// thousand subschemas with ten properties each.
    pub schema_compiled_bytes: usize,
    /// Size of all compiled JSON Schemas that are kept. Others are compiled again when needed.
    pub schemas_compiled_bytes: usize,
    /// Nesting of one JSON Schema.
    pub schema_depth: usize,
    /// Time of a processor that the validation of one record may take. A schema can be written to be slow.
    pub validation_ms: u64,
    /// Time that one request may take once its body is here.
    pub request_ms: u64,
    /// Connections at a time. Each costs a file descriptor and its buffers.
    pub connections: usize,
    /// Time to send the line and headers of a request, and to take bytes of an answer. Longer is
    /// no slow line any more, and holds a connection.
    pub header_ms: u64,
    /// Time that a connection may wait for another request. Proxies close theirs after 60 s: the
    /// one who sends requests should be the first to close, or a request falls in between.
    pub idle_ms: u64,
    /// Time to send the body of a request. A modem sends a batch of usual records in this time.
    pub body_ms: u64,
    /// Attempts to apply a change whose premises changed meanwhile.
    pub write_attempts: usize,
    /// Passwords that wait to be hashed or verified at a time. Each holds a connection; the last
    /// of so many would come to its turn in about the time that they may wait.
    pub queued_passwords: usize,
    /// Time that a password may wait to be hashed or verified. Longer than the longest time
    /// between two guesses, so that the right one is looked at, and shorter than a request.
    pub password_ms: u64,
    /// Writes that wait for the disk at a time. Beyond that clients are told to come back.
    pub queued_writes: usize,
    /// Pieces of work of more than some milliseconds that wait for their turn at a time. Each
    /// keeps what it works on.
    pub waiting_work: usize,
    /// The same, of one person, or of an address when nobody is known. A browser asks for half a
    /// dozen things at a time.
    pub waiting_work_own: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 26 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            json_depth: 64,
            header_bytes: 64 * 1024,
            batch_requests: 25,
            record_bytes: 1024 * 1024,
            page_records: 10_000,
            page_bytes: 4 * 1024 * 1024,
            batch_answer_bytes: 32 * 1024 * 1024,
            answers_bytes: 256 * 1024 * 1024,
            id_bytes: 512,
            principals: 1_000,
            members: 10_000,
            groups_in_group: 100,
            inner_groups: 20_000,
            names: 10_000,
            feed_page: 1_000,
            feed_wait_ms: 25_000,
            filter_terms: 64,
            filter_values: 1_000,
            sort_terms: 16,
            patch_operations: 1_000,
            schema_bytes: 256 * 1024,
            schema_compiled_bytes: 32 * 1024 * 1024,
            schemas_compiled_bytes: 128 * 1024 * 1024,
            schema_depth: 32,
            validation_ms: 500,
            request_ms: 30_000,
            connections: 4_096,
            header_ms: 20_000,
            idle_ms: 75_000,
            body_ms: 60_000,
            write_attempts: 64,
            queued_passwords: 1_024,
            password_ms: 10_000,
            queued_writes: 4_096,
            waiting_work: 1_024,
            waiting_work_own: 32,
        }
    }
}

/// What a request inside a batch takes beside its record: method, path and headers.
const REQUEST_BYTES: usize = 8 * 1024;
/// How many times longer a value may be in the token of a page: escaped as `\u0000`, in base64.
const TOKEN_FACTOR: usize = 8;
/// What the token of a page holds beside the values.
const TOKEN_BYTES: usize = 1024;

impl Limits {
    /// Size of the answer to one change, or of what it may send.
    pub fn change_bytes(&self) -> usize {
        self.record_bytes.saturating_add(REQUEST_BYTES)
    }

    /// Length of the conditions of a list, without its page, in the notation of an address.
    pub fn query_bytes(&self) -> usize {
        self.header_bytes / 2
    }

    /// Length of the token of a page.
    pub fn token_bytes(&self) -> usize {
        self.header_bytes / 3
    }

    /// Limits that do not go together, each pair in a sentence: what is accepted under one of them
    /// must not be refused under the other.
    pub fn conflicts(&self) -> Vec<String> {
        let batch = self.batch_requests.saturating_mul(self.change_bytes());
        let keys = self.sort_terms.saturating_mul(SORT_KEY_BYTES * TOKEN_FACTOR);
        let token = 3_usize.saturating_mul(keys.saturating_add(TOKEN_BYTES));
        let full = "batch_requests records of record_bytes";
        let pairs = [
            ("body_bytes", self.body_bytes, batch, full),
            // A body of somebody who is not known yet must fit into what one of them may hold:
            // half of the quarter that all of them may.
            (
                "an eighth of bodies_bytes",
                self.bodies_bytes / 8,
                self.body_bytes,
                "a body of body_bytes",
            ),
            ("batch_answer_bytes", self.batch_answer_bytes, batch, full),
            (
                "a quarter of answers_bytes",
                self.answers_bytes / 4,
                self.batch_answer_bytes,
                "an answer of batch_answer_bytes",
            ),
            (
                "a quarter of answers_bytes",
                self.answers_bytes / 4,
                self.page_bytes,
                "a page of page_bytes",
            ),
            ("record_bytes", self.record_bytes, self.schema_bytes, "a schema of schema_bytes"),
            ("header_bytes", self.header_bytes, token, "the token of a page in sort_terms orders"),
        ];
        let wrong = pairs.into_iter().filter(|(_, has, needs, _)| has < needs);
        wrong
            .map(|(name, has, needs, what)| {
                format!(
                    "limits: {name} is too small for {what}: {has} bytes, where {needs} are needed."
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn the_limits_know_each_other() {
        assert_eq!(Limits::default().conflicts(), [""; 0]);
        let defaults = Limits::default;
        for wrong in [
            Limits { body_bytes: 25 << 20, ..defaults() },
            Limits { bodies_bytes: 25 << 20, ..defaults() },
            Limits { batch_answer_bytes: 25 << 20, ..defaults() },
            Limits { answers_bytes: 127 << 20, ..defaults() },
            Limits { schema_bytes: 2 << 20, ..defaults() },
            Limits { header_bytes: 48 << 10, ..defaults() },
        ] {
            assert_eq!(wrong.conflicts().len(), 1, "{wrong:?}");
        }
    }

    // A record is one member or principal beside the other: names of 100 bytes must fit.
    #[test]
    fn the_largest_group_and_the_longest_permission_are_records() {
        let limits = Limits::default();
        assert!(limits.members * 100 <= limits.record_bytes);
        assert!(limits.principals * 100 * 4 <= limits.record_bytes);
    }
}
