"""What a client is told by a server in trouble: Backoff, Retry-After, Alert, short pages; and
answers lost on the way."""

import http.server
import threading
import time
import unittest
import warnings

import requests
from kinto_http import Client
from kinto_http.exceptions import BackoffException, KintoException

from harness import STRAINED_URL, URL, KintoTestCase, basic_user, fresh


class Strain(unittest.TestCase):
    def setUp(self):
        self.auth = basic_user()
        self.bucket = fresh("bucket")

    def strained(self):
        return Client(
            server_url=STRAINED_URL, auth=self.auth, bucket=self.bucket, collection="tasks"
        )

    def test_the_client_stays_away_while_asked_to(self):
        client = self.strained()
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            client.create_bucket()
            with self.assertRaises(BackoffException) as caught:
                client.update_bucket(data={"n": 1})
            self.assertLessEqual(caught.exception.backoff, 2)
            time.sleep(2.1)
            client.get_bucket()

    def test_errors_carry_the_wish_too(self):
        answer = requests.get(f"{STRAINED_URL}/buckets/{self.bucket}", timeout=10)
        self.assertEqual(answer.status_code, 401)
        self.assertEqual(answer.headers["Backoff"], "2")
        self.assertIn("soft-eol", answer.headers["Alert"])

    def test_the_end_of_the_service_is_announced(self):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self.strained().create_bucket()
        alerts = [w for w in caught if issubclass(w.category, DeprecationWarning)]
        self.assertIn("soft-eol", str(alerts[0].message))
        self.assertIn("retires at the end of 2999", str(alerts[0].message))

    def test_pages_are_no_longer_than_the_server_wants(self):
        # Plain requests: the client would wait two seconds before each page.
        path = f"{STRAINED_URL}/buckets/{self.bucket}"
        requests.put(path, auth=self.auth, timeout=10)
        requests.put(f"{path}/collections/tasks", auth=self.auth, timeout=10)
        for n in range(17):
            requests.post(
                f"{path}/collections/tasks/records", json={"data": {"n": n}},
                auth=self.auth, timeout=10,
            )
        url, pages = f"{path}/collections/tasks/records?_sort=n&_limit=100", []
        while url:
            answer = requests.get(url, auth=self.auth, timeout=10)
            pages.append([record["n"] for record in answer.json()["data"]])
            url = answer.headers.get("Next-Page")
        self.assertEqual([len(page) for page in pages], [7, 7, 3])
        self.assertEqual(sum(pages, []), list(range(17)))


class Lossy(http.server.BaseHTTPRequestHandler):
    """Passes requests on; of each write, the first answer is lost and a 503 sent instead."""

    protocol_version = "HTTP/1.1"
    lost = set()

    def forward(self):
        length = int(self.headers.get("Content-Length", 0))
        headers = {
            name: value for name, value in self.headers.items()
            if name.lower() not in ("host", "content-length", "connection")
        }
        answer = requests.request(
            self.command, URL.removesuffix("/v1") + self.path,
            data=self.rfile.read(length), headers=headers, allow_redirects=False, timeout=10,
        )
        status, body = answer.status_code, answer.content
        lose = self.command != "GET" and (self.command, self.path) not in self.lost
        if lose:
            self.lost.add((self.command, self.path))
            status, body = 503, b'{"code": 503, "errno": 201}'
        self.send_response(status)
        for name in ("ETag", "Content-Type"):
            if name in answer.headers:
                self.send_header(name, answer.headers[name])
        if lose:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = forward

    def log_message(self, *_):
        pass


class LostAnswers(KintoTestCase):
    def setUp(self):
        super().setUp()
        self.proxy = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Lossy)
        threading.Thread(target=self.proxy.serve_forever, daemon=True).start()
        self.addCleanup(self.proxy.server_close)
        self.addCleanup(self.proxy.shutdown)
        self.lossy = Client(
            server_url=f"http://127.0.0.1:{self.proxy.server_port}/v1", auth=self.auth,
            bucket=self.bucket, collection="tasks", retry=2,
        )

    def test_a_retried_creation_finds_what_was_created(self):
        started = time.monotonic()
        found = self.lossy.create_record(
            id="one", data={"n": 1}, bucket=self.bucket, collection="tasks", if_not_exists=True
        )
        self.assertGreaterEqual(time.monotonic() - started, 1)
        self.assertEqual(found["data"]["n"], 1)
        self.assertEqual(self.client.get_records(), [found["data"]])

    def test_a_retried_update_is_a_conflict_that_shows_its_own_work(self):
        created = self.client.create_record(id="one", data={"n": 1})["data"]
        with self.assertRaises(KintoException) as caught:
            self.lossy.update_record(data={**created, "n": 2})
        self.assertEqual(caught.exception.response.status_code, 412)
        existing = caught.exception.response.json()["details"]["existing"]
        self.assertEqual(existing["n"], 2)
