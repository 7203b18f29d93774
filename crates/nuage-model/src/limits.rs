//! Every bound on what comes from outside, each with its reason. All can be set.

/// The bounds. Sizes are in bytes, times in milliseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Size of a request body. A full batch of 25 records of 100 KiB fits; what is larger is a
    /// file, not a record.
    pub body_bytes: usize,
    /// Size of all request bodies that are here at a time. Without it, as many bodies as there may
    /// be connections could be held, each a little smaller than the largest.
    pub bodies_bytes: usize,
    /// Nesting of arrays and objects in JSON from outside. Deeper values cost stack in every
    /// reader, here and on the devices.
    pub json_depth: usize,
    /// Size of a request's line and headers. Tokens and filters fit; a connection that sends
    /// more is not a browser.
    pub header_bytes: usize,
    /// Requests in one batch. Clients read it from the server's description and cut their work.
    pub batch_requests: usize,
    /// Records in one page. More are answered by further pages.
    pub page_records: usize,
    /// Length of an identifier. It is part of every index entry.
    pub id_bytes: usize,
    /// Principals under one permission, and told of one person by a protocol's root. Beyond that a group is the right tool: each new set of
    /// readers costs one index entry a principal.
    pub principals: usize,
    /// Members of one group. Each is an index entry that is rewritten with the group.
    pub members: usize,
    /// Groups that one person may be in, directly or through other groups. Each is looked up with
    /// each page of a feed.
    pub groups_of_person: usize,
    /// Entries in one page of a feed. A device applies a page at once.
    pub feed_page: usize,
    /// Time that a feed may be waited for in one request, and between two signs of life of a
    /// stream.
    pub feed_wait_ms: u64,
    /// Conditions in one list request. Each costs a comparison a record.
    pub filter_terms: usize,
    /// Values in one `in_` or `exclude_` condition. Clients send a page of identifiers.
    pub filter_values: usize,
    /// Keys of one order.
    pub sort_terms: usize,
    /// Operations in one JSON Patch. Each may copy the document.
    pub patch_operations: usize,
    /// Size of one JSON Schema. It is compiled at each change.
    pub schema_bytes: usize,
    /// Nesting of one JSON Schema.
    pub schema_depth: usize,
    /// Time that the validation of one record may take. A schema can be written to be slow.
    pub validation_ms: u64,
    /// Time that one request may take once its body is here.
    pub request_ms: u64,
    /// Connections at a time. Each costs a file descriptor and its buffers.
    pub connections: usize,
    /// Time to send the line and headers of a request, and to keep an idle connection.
    pub header_ms: u64,
    /// Time to send the body of a request. A modem sends 4 MiB in this time.
    pub body_ms: u64,
    /// Attempts to apply a change whose premises changed meanwhile.
    pub write_attempts: usize,
    /// Writes that wait for the disk at a time. Beyond that clients are told to come back.
    pub queued_writes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 4 * 1024 * 1024,
            bodies_bytes: 256 * 1024 * 1024,
            json_depth: 64,
            header_bytes: 32 * 1024,
            batch_requests: 25,
            page_records: 10_000,
            id_bytes: 512,
            principals: 1_000,
            members: 10_000,
            groups_of_person: 10_000,
            feed_page: 1_000,
            feed_wait_ms: 25_000,
            filter_terms: 64,
            filter_values: 1_000,
            sort_terms: 16,
            patch_operations: 1_000,
            schema_bytes: 256 * 1024,
            schema_depth: 32,
            validation_ms: 500,
            request_ms: 30_000,
            connections: 4_096,
            header_ms: 20_000,
            body_ms: 60_000,
            write_attempts: 64,
            queued_writes: 4_096,
        }
    }
}
