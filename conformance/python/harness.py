"""What every suite needs: where the server is, clients for it, names nobody else uses.

The server is started by `cargo xtask`; its address comes from NUAGE_TEST_URL (and that of a
server under strain, see strained.ini, from NUAGE_TEST_STRAINED_URL), both ending with /v1.
"""

import os
import unittest
import uuid

import requests
from kinto_http import Client, KintoException

URL = os.environ["NUAGE_TEST_URL"].rstrip("/")
STRAINED_URL = os.environ["NUAGE_TEST_STRAINED_URL"].rstrip("/")


def fresh(prefix):
    """A name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def basic_user():
    """Credentials of a user nobody has met before (any are good for basicauth)."""
    return (fresh("user"), "secret")


def principal(auth, url=URL):
    """The user id under which permissions name these credentials."""
    return requests.get(f"{url}/", auth=auth, timeout=10).json()["user"]["id"]


def account(password="correct horse"):
    """Signs up a new account and returns its credentials."""
    name = fresh("account")
    answer = requests.put(
        f"{URL}/accounts/{name}", json={"data": {"password": password}}, timeout=10
    )
    assert answer.status_code == 201, answer.text
    return (name, password)


class KintoTestCase(unittest.TestCase):
    """A user of its own, with one bucket and one collection, for each test."""

    def setUp(self):
        self.auth = basic_user()
        self.bucket = fresh("bucket")
        self.client = Client(
            server_url=URL, auth=self.auth, bucket=self.bucket, collection="tasks"
        )
        self.client.create_bucket()
        self.client.create_collection()

    def as_user(self, auth):
        """The same bucket and collection, seen by somebody else; None is nobody."""
        return Client(
            server_url=URL, auth=auth or (lambda request: request),
            bucket=self.bucket, collection="tasks",
        )

    def assert_refused(self, status, call, **arguments):
        """The call fails with this status; returns the body of the error."""
        with self.assertRaises(KintoException) as caught:
            call(**arguments)
        response = caught.exception.response
        self.assertEqual(response.status_code, status, response.text)
        body = response.json()
        self.assertEqual(body["code"], status)
        return body
