"""The bucket that everybody has."""

import requests
from kinto_http import Client

from harness import URL, KintoTestCase, basic_user


class DefaultBucket(KintoTestCase):
    def test_it_is_there_without_being_made(self):
        auth = basic_user()
        client = Client(server_url=URL, auth=auth, collection="notes")
        self.assertEqual(client.get_records(), [])
        created = client.create_record(data={"title": "mine"})["data"]
        self.assertEqual(client.get_records(), [created])

        real = client.server_info()["user"]["bucket"]
        self.assertRegex(real, r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")
        self.assertEqual(client.get_bucket()["data"]["id"], real)
        named = Client(server_url=URL, auth=auth, bucket=real, collection="notes")
        self.assertEqual(named.get_records(), [created])

    def test_it_is_personal(self):
        mine = Client(server_url=URL, auth=basic_user(), collection="notes")
        theirs = Client(server_url=URL, auth=basic_user(), collection="notes")
        mine.create_record(data={"title": "mine"})
        self.assertEqual(theirs.get_records(), [])
        real = mine.server_info()["user"]["bucket"]
        self.assert_refused(403, theirs.get_records, bucket=real)
        answer = requests.get(f"{URL}/buckets/default", timeout=10)
        self.assertEqual(answer.status_code, 401)

    def test_it_works_in_batches_and_pages(self):
        client = Client(server_url=URL, auth=basic_user(), collection="notes")
        with client.batch() as batch:
            for n in range(30):
                batch.create_record(data={"n": n})
        records = client.get_records(_limit=8, pages=10, _sort="n")
        self.assertEqual([record["n"] for record in records], list(range(30)))
        real = client.server_info()["user"]["bucket"]
        history = client.get_history(resource_name="record")
        self.assertTrue(history[0]["uri"].startswith(f"/buckets/{real}/"))
        self.assertEqual(len(client.get_history(resource_name="bucket")), 1)
        self.assertEqual(len(client.get_history(resource_name="collection")), 1)
