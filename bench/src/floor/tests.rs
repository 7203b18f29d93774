#![allow(clippy::unwrap_used)]

use http::{HeaderMap, Method};

use crate::floor::{classify, parse_answer};
use crate::workload::{Requests, Workload};

#[test]
fn every_request_is_answered_as_what_it_is() {
    let mut requests = Requests::new("localhost", "Basic none");
    let check = |workload: Workload, request: &[u8]| {
        let text = String::from_utf8(request.to_vec()).unwrap();
        let (method, rest) = text.split_once(' ').unwrap();
        let (uri, rest) = rest.split_once(' ').unwrap();
        let mut headers = HeaderMap::new();
        for (name, value) in rest.lines().filter_map(|line| line.split_once(": ")) {
            if name.starts_with("If-") {
                let name: http::HeaderName = name.parse().unwrap();
                headers.insert(name, value.parse().unwrap());
            }
        }
        let method: Method = method.parse().unwrap();
        let query = uri.split_once('?').map(|(_, query)| query);
        assert_eq!(classify(&method, query, &headers), workload, "{text}");
    };
    check(Workload::Get, requests.get(7, None));
    check(Workload::NotModified, requests.get(7, Some("\"1\"")));
    check(Workload::List, requests.list());
    check(Workload::Poll, requests.poll("\"1\""));
    check(Workload::Put, requests.put(7, None));
    check(Workload::Update, requests.put(7, Some("\"1\"")));
    check(Workload::Batch, requests.batch(7));
}

#[test]
fn an_answer_is_repeated_with_its_headers() {
    let head = "HTTP/1.1 201 Created\r\nETag: \"5\"\r\nContent-Length: 2\r\nDate: now\r\n\r\n";
    let response = parse_answer(head, "{}").unwrap();
    assert_eq!(response.status(), 201);
    assert_eq!(response.headers().len(), 1);
    assert_eq!(response.headers()["etag"], "\"5\"");
    assert_eq!(response.body(), "{}");
}
