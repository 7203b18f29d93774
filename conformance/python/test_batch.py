"""Many requests in one."""

from kinto_http import Client, KintoException
from kinto_http.exceptions import KintoBatchException

from harness import URL, KintoTestCase, principal


class Batch(KintoTestCase):
    def test_more_requests_than_fit_in_one_batch(self):
        with self.client.batch() as batch:
            for n in range(70):
                batch.create_record(data={"n": n})
        self.assertEqual(len(batch.results()), 70)
        self.assertTrue(all("permissions" in result for result in batch.results()))
        stored = self.client.get_records(_sort="last_modified")
        self.assertEqual([record["n"] for record in stored], list(range(70)))
        self.assertEqual(len({record["last_modified"] for record in stored}), 70)

    def test_later_requests_see_earlier_ones(self):
        with self.client.batch() as batch:
            batch.create_collection(id="new")
            batch.create_record(collection="new", id="one", data={"n": 1})
            batch.patch_record(collection="new", id="one", data={"m": 2})
            batch.delete_record(collection="new", id="one")
        self.assertEqual(batch.results()[2]["data"]["n"], 1)
        self.assertEqual(batch.results()[2]["data"]["m"], 2)
        self.assertTrue(batch.results()[3]["data"]["deleted"])

    def test_one_refusal_does_not_undo_the_others(self):
        self.client.create_record(id="taken", data={})
        with self.assertRaises(KintoBatchException) as caught:
            with self.client.batch() as batch:
                batch.create_record(id="first", data={})
                batch.create_record(id="taken", data={})
                batch.create_record(id="last", data={})
        self.assertEqual(len(caught.exception.exceptions), 1)
        self.assertEqual(caught.exception.exceptions[0].response.status_code, 412)
        self.assertEqual(
            sorted(record["id"] for record in self.client.get_records()),
            ["first", "last", "taken"],
        )

    def test_refusals_can_be_ignored(self):
        client = Client(
            server_url=URL, auth=self.auth, bucket=self.bucket, collection="tasks",
            ignore_batch_4xx=True,
        )
        with client.batch() as batch:
            batch.patch_record(id="missing", data={"n": 1})
            batch.create_record(id="one", data={})
        self.assertEqual(batch.results()[0]["code"], 404)
        self.assertEqual(batch.results()[1]["data"]["id"], "one")

    def test_a_batch_is_no_way_around_permissions(self):
        nobody = self.as_user(("somebody", "else"))
        with self.assertRaises(KintoException):
            with nobody.batch() as batch:
                batch.delete_records()
        self.assertNotEqual(principal(("somebody", "else")), principal(self.auth))

    def test_batches_too_long_or_nested_are_refused(self):
        one = {"path": "/", "method": "GET"}
        for requests in ([one] * 26, [{"path": "/batch", "method": "POST"}]):
            self.assert_refused(
                400, self.client.session.request, method="POST", endpoint="/batch",
                payload={"requests": requests},
            )
