//! What is measured: seven kinds of request, and the records that they are about. The same bytes
//! go to every server; the same rows go to the engine underneath.

use std::fmt::Write;

/// Requests in a batch: the limit of Kinto.
pub(crate) const BATCH_PUTS: u64 = 25;
/// Records in a page.
pub(crate) const LIST_RECORDS: u64 = 100;
/// Records that each connection asks for and changes with conditions.
pub(crate) const KNOWN_RECORDS: u64 = 16;
/// The bucket and the collection that everything goes to.
pub(crate) const COLLECTION: &str = "/buckets/bench/collections/items";
/// The account that makes every request.
pub(crate) const USER: &str = "bench";
/// Its password.
pub(crate) const PASSWORD: &str = "a password of ordinary length";

/// One kind of request.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, clap::ValueEnum)]
pub(crate) enum Workload {
    /// A record, by its id.
    Get,
    /// The same with `If-None-Match`, unchanged: 304.
    #[value(name = "304")]
    NotModified,
    /// The 100 latest records.
    List,
    /// What changed since the present: nothing.
    Poll,
    /// A new record.
    Put,
    /// Replaces a record with `If-Match`.
    Update,
    /// 25 new records in one request.
    Batch,
}

impl Workload {
    /// Reads first: what writes leave behind must not change what reads cost.
    pub(crate) const ALL: [Self; 7] = [
        Self::Get,
        Self::NotModified,
        Self::List,
        Self::Poll,
        Self::Put,
        Self::Update,
        Self::Batch,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::NotModified => "304",
            Self::List => "list",
            Self::Poll => "poll",
            Self::Put => "put",
            Self::Update => "update",
            Self::Batch => "batch",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::NotModified => "get, 304",
            Self::List => "list of 100",
            Self::Poll => "poll, nothing new",
            Self::Put => "put, new record",
            Self::Update => "update, If-Match",
            Self::Batch => "batch of 25 puts",
        }
    }

    /// CPU per request aimed at, and what is acceptable first, as multiples of the floor.
    pub(crate) fn targets(self) -> (f64, f64) {
        match self {
            Self::Get => (2.5, 3.0),
            Self::NotModified | Self::Poll => (1.8, 2.2),
            Self::List => (1.3, 1.7),
            Self::Put | Self::Update => (1.5, 2.0),
            Self::Batch => (1.4, 1.7),
        }
    }

    /// Whether the row work is part of the floor, beside what hyper takes.
    pub(crate) fn has_row_work(self) -> bool {
        matches!(self, Self::List | Self::Put | Self::Update | Self::Batch)
    }

    /// The status of an answer that did the work.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::NotModified => 304,
            Self::Put => 201,
            _ => 200,
        }
    }

    /// Whether the answer's body shows that the work was done, beyond the status.
    pub(crate) fn is_done(self, body: &[u8]) -> bool {
        match self {
            Self::Get | Self::Put | Self::Update => body.len() > RECORD_BYTES_MIN,
            Self::NotModified => body.is_empty(),
            Self::List => body.len() > RECORD_BYTES_MIN * LIST_RECORDS as usize,
            Self::Poll => body.len() < RECORD_BYTES_MIN,
            Self::Batch => occurrences(body, b"\"status\":201") == BATCH_PUTS as usize,
        }
    }

    /// Requests in one measurement at most: bounds how far writes grow the data.
    pub(crate) fn requests_max(self) -> u64 {
        match self {
            Self::Put | Self::Update => 10_000,
            Self::Batch => 800,
            _ => u64::MAX,
        }
    }
}

const RECORD_BYTES_MIN: usize = 250;

fn occurrences(body: &[u8], wanted: &[u8]) -> usize {
    body.windows(wanted.len()).filter(|window| *window == wanted).count()
}

/// The id of record number `index`: shaped like the UUIDs that clients make, in no order.
pub(crate) fn write_id(out: &mut String, index: u64) {
    let high = scramble(index);
    let low = scramble(high);
    let _ = write!(
        out,
        "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        low >> 52,
        low & 0xffff_ffff_ffff
    );
}

/// What record number `index` holds, about 300 bytes.
pub(crate) fn write_record(out: &mut String, index: u64) {
    let _ = write!(
        out,
        concat!(
            r#"{{"title":"Entry number {0} of the reading list","url":"https://www.example.org/"#,
            r#"articles/2026/11/{1:016x}","unread":{2},"favorite":false,"position":{0},"#,
            r#""tags":["offline","first","sync"],"excerpt":"Data stays on the device and meets "#,
            r#"the others when there is a network.","added_by":"laptop"}}"#
        ),
        index,
        scramble(index ^ 0xabcd),
        index.is_multiple_of(2)
    );
}

/// Number of the record that connection `number` of `connections` uses in its turn: no two use
/// the same, and they lie far apart.
pub(crate) fn known_record(number: u64, connections: u64, turn: u64, loaded: u64) -> u64 {
    let stride = (loaded / (KNOWN_RECORDS * connections)).max(1);
    (number + turn * connections) * stride % loaded
}

/// A step of splitmix64: spreads numbers evenly, the same in every run.
pub(crate) fn scramble(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Writes requests for one server.
pub(crate) struct Requests {
    /// `Host` and `Authorization` and what any client sends, each line ended.
    headers: String,
    text: String,
    body: String,
}

impl Requests {
    pub(crate) fn new(host: &str, authorization: &str) -> Self {
        let headers = format!(
            "Host: {host}\r\nUser-Agent: nuage-bench\r\nAccept: application/json\r\n\
             Authorization: {authorization}\r\n"
        );
        Self { headers, text: String::with_capacity(16 * 1024), body: String::new() }
    }

    pub(crate) fn get(&mut self, index: u64, unless: Option<&str>) -> &[u8] {
        self.start("GET", Some(index), "");
        if let Some(etag) = unless {
            let _ = write!(self.text, "If-None-Match: {etag}\r\n");
        }
        self.end()
    }

    pub(crate) fn list(&mut self) -> &[u8] {
        self.start("GET", None, "?_limit=100");
        self.end()
    }

    /// Changes after the state that this ETag of the list names.
    pub(crate) fn poll(&mut self, etag: &str) -> &[u8] {
        let since = format!("?_since=%22{}%22", etag.trim_matches('"'));
        self.start("GET", None, &since);
        self.end()
    }

    pub(crate) fn put(&mut self, index: u64, only_if: Option<&str>) -> &[u8] {
        self.start("PUT", Some(index), "");
        if let Some(etag) = only_if {
            let _ = write!(self.text, "If-Match: {etag}\r\n");
        }
        self.body.clear();
        self.body.push_str("{\"data\":");
        write_record(&mut self.body, index);
        self.body.push('}');
        self.end_with_body()
    }

    /// Puts of consecutive records, beginning with `first`.
    pub(crate) fn batch(&mut self, first: u64) -> &[u8] {
        self.text.clear();
        let _ = write!(self.text, "POST /v1/batch HTTP/1.1\r\n{}", self.headers);
        self.body.clear();
        self.body.push_str("{\"requests\":[");
        for index in first..first + BATCH_PUTS {
            if index > first {
                self.body.push(',');
            }
            let _ = write!(self.body, r#"{{"method":"PUT","path":"{COLLECTION}/records/"#);
            write_id(&mut self.body, index);
            self.body.push_str(r#"","body":{"data":"#);
            write_record(&mut self.body, index);
            self.body.push_str("}}");
        }
        self.body.push_str("]}");
        self.end_with_body()
    }

    /// Any other request of the preparation.
    pub(crate) fn plain(&mut self, method: &str, path: &str, body: &str) -> &[u8] {
        self.text.clear();
        let _ = write!(self.text, "{method} /v1{path} HTTP/1.1\r\n{}", self.headers);
        if body.is_empty() && method == "GET" {
            return self.end();
        }
        self.body.clear();
        self.body.push_str(body);
        self.end_with_body()
    }

    fn start(&mut self, method: &str, index: Option<u64>, query: &str) {
        self.text.clear();
        let _ = write!(self.text, "{method} /v1{COLLECTION}/records");
        if let Some(index) = index {
            self.text.push('/');
            write_id(&mut self.text, index);
        }
        let _ = write!(self.text, "{query} HTTP/1.1\r\n{}", self.headers);
    }

    fn end(&mut self) -> &[u8] {
        self.text.push_str("\r\n");
        self.text.as_bytes()
    }

    fn end_with_body(&mut self) -> &[u8] {
        let _ = write!(
            self.text,
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
            self.body.len(),
            self.body
        );
        self.text.as_bytes()
    }
}
