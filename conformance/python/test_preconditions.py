"""Safe writes: nobody overwrites what they have not seen."""

import requests

from harness import URL, KintoTestCase


class Preconditions(KintoTestCase):
    def setUp(self):
        super().setUp()
        self.record = self.client.create_record(id="one", data={"n": 1})["data"]
        self.stale = self.record["last_modified"] - 1

    def assert_conflict(self, call, **arguments):
        error = self.assert_refused(412, call, **arguments)
        self.assertEqual(error["errno"], 114)
        self.assertEqual(error["details"]["existing"], self.record)

    def test_creating_does_not_overwrite(self):
        self.assert_conflict(self.client.create_record, id="one", data={"n": 2})
        unsafe = self.client.create_record(id="one", data={"n": 2}, safe=False)["data"]
        self.assertEqual(unsafe["n"], 2)

    def test_creating_what_exists_returns_it_on_request(self):
        found = self.client.create_record(
            id="one", data={"n": 2}, bucket=self.bucket, collection="tasks", if_not_exists=True
        )
        self.assertEqual(found["data"], self.record)
        self.assertIn("write", found["permissions"])
        bucket = self.client.create_bucket(id=self.bucket, if_not_exists=True)
        self.assertEqual(bucket["data"]["id"], self.bucket)
        collection = self.client.create_collection(
            id="tasks", bucket=self.bucket, if_not_exists=True
        )
        self.assertEqual(collection["data"]["id"], "tasks")

    def test_creating_over_a_tombstone_is_creating(self):
        self.client.delete_record(id="one")
        created = self.client.create_record(id="one", data={"n": 3})["data"]
        self.assertEqual(created["n"], 3)
        self.assertEqual(self.client.get_records(_since="0"), [created])

    def test_stale_update_patch_and_deletion_are_conflicts(self):
        self.assert_conflict(
            self.client.update_record, data={**self.record, "last_modified": self.stale}
        )
        self.assert_conflict(
            self.client.patch_record, id="one", data={"n": 9}, if_match=self.stale
        )
        self.assert_conflict(self.client.delete_record, id="one", if_match=self.stale)
        self.assertEqual(self.client.get_record(id="one")["data"], self.record)

    def test_fresh_update_patch_and_deletion_pass(self):
        updated = self.client.update_record(data={**self.record, "n": 2})["data"]
        patched = self.client.patch_record(
            id="one", data={"n": 3}, if_match=updated["last_modified"]
        )["data"]
        self.client.delete_record(id="one", if_match=patched["last_modified"])

    def test_updating_what_is_gone_is_a_conflict_without_remote_version(self):
        self.client.delete_record(id="one")
        error = self.assert_refused(412, self.client.update_record, data=self.record)
        self.assertNotIn("existing", error.get("details", {}))

    def test_a_list_is_deleted_only_as_it_was_seen(self):
        seen = self.client.get_records_timestamp()
        self.client.create_record(data={"n": 2})
        self.assert_refused(412, self.client.delete_records, if_match=seen)
        self.assertEqual(len(self.client.get_records()), 2)
        fresh = self.client.get_records_timestamp()
        self.assertEqual(len(self.client.delete_records(if_match=fresh)), 2)

    def test_what_has_not_changed_is_not_sent_again(self):
        seen = self.client.get_records_timestamp()
        self.assertEqual(self.client.get_records(if_none_match=seen), [])
        path = f"{URL}/buckets/{self.bucket}/collections/tasks/records"
        answer = requests.get(
            path, auth=self.auth, headers={"If-None-Match": f'"{seen}"'}, timeout=10
        )
        self.assertEqual((answer.status_code, answer.content), (304, b""))
        self.assertEqual(answer.headers["ETag"], f'"{seen}"')
        self.client.create_record(data={"n": 2})
        self.assertEqual(len(self.client.get_records(if_none_match=seen)), 2)

    def test_malformed_preconditions_are_refused(self):
        path = f"{URL}/buckets/{self.bucket}/collections/tasks/records/one"
        for value in ("123", "W/123", '"123'):
            answer = requests.get(
                path, auth=self.auth, headers={"If-Match": value}, timeout=10
            )
            self.assertEqual((value, answer.status_code), (value, 400))
            self.assertEqual(answer.json()["details"][0]["location"], "header")
