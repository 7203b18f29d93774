"""What happened, when, by whom; and making it forgotten."""

from harness import KintoTestCase, basic_user, principal


class History(KintoTestCase):
    def test_every_change_is_told(self):
        self.client.create_record(id="one", data={"n": 1})
        self.client.update_record(id="one", data={"n": 2})
        self.client.patch_record(id="one", permissions={"read": ["account:ann"]})
        deleted = self.client.delete_record(id="one")

        entries = self.client.get_history()
        told = [(entry["resource_name"], entry["action"]) for entry in entries]
        self.assertEqual(told, [
            ("record", "delete"), ("record", "update"), ("record", "update"),
            ("record", "create"), ("collection", "create"), ("bucket", "create"),
        ])
        last = entries[0]
        self.assertEqual(last["target"]["data"], deleted)
        self.assertEqual(last["user_id"], principal(self.auth))
        self.assertEqual(last["record_id"], "one")
        self.assertEqual(last["collection_id"], "tasks")
        self.assertEqual(
            last["uri"], f"/buckets/{self.bucket}/collections/tasks/records/one"
        )
        self.assertRegex(last["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$")
        self.assertEqual(entries[1]["target"]["permissions"]["read"], ["account:ann"])
        self.assertEqual(entries[-1]["bucket_id"], self.bucket)

    def test_history_is_filtered(self):
        self.client.create_record(id="one", data={"n": 1})
        self.client.create_record(id="two", data={"n": 2})
        self.client.delete_record(id="two")
        only = self.client.get_history(resource_name="record", action="create", _sort="record_id")
        self.assertEqual([entry["record_id"] for entry in only], ["one", "two"])
        self.assertEqual(len(self.client.get_history(collection_id="tasks", action="create")), 3)
        self.assertEqual(
            len(self.client.get_history(uri=f"/buckets/{self.bucket}/collections/tasks")), 1
        )
        self.assert_refused(400, self.client.get_history, colour="red")

    def test_history_can_be_purged_in_part_and_whole(self):
        self.client.create_record(id="one", data={"n": 1})
        since = self.client.get_history(_limit=1)[0]["last_modified"]
        self.client.create_record(id="two", data={"n": 2})
        purged = self.client.purge_history(_before=str(since))
        self.assertEqual(len(purged), 2)
        self.assertEqual(
            [entry["record_id"] for entry in self.client.get_history()], ["two", "one"]
        )
        self.assertEqual(len(self.client.purge_history()), 2)
        self.assertEqual(self.client.get_history(), [])

    def test_readers_see_what_they_may_read(self):
        friend = basic_user()
        theirs = self.as_user(friend)
        self.client.create_record(id="secret", data={})
        self.client.create_record(
            id="shared", data={}, permissions={"read": [principal(friend)]}
        )
        self.assertEqual([e["record_id"] for e in theirs.get_history()], ["shared"])
        self.assert_refused(403, theirs.purge_history)

    def test_a_deleted_bucket_takes_its_history_along(self):
        self.client.delete_bucket()
        self.client.create_bucket()
        told = [(e["resource_name"], e["action"]) for e in self.client.get_history()]
        self.assertEqual(told, [("bucket", "create")])
