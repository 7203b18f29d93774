"""Who may do what: inheritance, groups, sharing single records, the permissions endpoint."""

from harness import KintoTestCase, basic_user, principal


class Permissions(KintoTestCase):
    def setUp(self):
        super().setUp()
        self.friend = basic_user()
        self.friend_id = principal(self.friend)
        self.theirs = self.as_user(self.friend)
        self.client.create_record(id="one", data={"n": 1})
        self.client.create_record(id="two", data={"n": 2})

    def test_strangers_see_nothing(self):
        for call in (self.theirs.get_records, self.theirs.get_collections):
            self.assertEqual(self.assert_refused(403, call)["errno"], 121)
        self.assert_refused(403, self.theirs.get_record, id="one")
        self.assert_refused(403, self.theirs.get_record, id="missing")
        self.assert_refused(403, self.theirs.delete_record, id="one")
        nobody = self.as_user(None)
        self.assertEqual(self.assert_refused(401, nobody.get_records)["errno"], 104)

    def test_reading_a_bucket_reads_what_is_in_it(self):
        self.client.patch_bucket(permissions={"read": [self.friend_id]})
        self.assertEqual(len(self.theirs.get_records()), 2)
        self.assertEqual(self.theirs.get_record(id="one")["data"]["n"], 1)
        self.assertEqual(self.theirs.get_record(id="one")["permissions"], {})
        self.assert_refused(403, self.theirs.update_record, id="one", data={"n": 3})
        self.assert_refused(403, self.theirs.create_record, data={"n": 3})
        self.assert_refused(404, self.theirs.get_record, id="missing")

    def test_a_shared_record_is_listed_alone(self):
        self.client.patch_record(id="two", permissions={"read": [self.friend_id]})
        self.assertEqual([record["id"] for record in self.theirs.get_records()], ["two"])
        self.assert_refused(403, self.theirs.get_record, id="one")
        self.client.patch_record(id="two", permissions={"read": []})
        self.assert_refused(403, self.theirs.get_records)

    def test_who_may_create_sees_their_own_only(self):
        self.client.patch_collection(permissions={"record:create": ["system.Authenticated"]})
        self.assertEqual(self.theirs.get_records(), [])
        mine = self.theirs.create_record(data={"n": 3})
        self.assertEqual(mine["permissions"]["write"], [self.friend_id])
        self.assertEqual(self.theirs.get_records(), [mine["data"]])
        self.assertEqual(len(self.client.get_records()), 3)
        self.assertEqual(self.theirs.delete_records()[0]["id"], mine["data"]["id"])
        self.assertEqual(len(self.client.get_records()), 2)

    def test_groups_give_and_take_rights_at_once(self):
        group = f"/buckets/{self.bucket}/groups/readers"
        self.client.create_group(id="readers", data={"members": [self.friend_id]})
        self.client.patch_collection(permissions={"read": [group]})
        self.assertEqual(len(self.theirs.get_records()), 2)
        self.client.update_group(id="readers", data={"members": []})
        self.assert_refused(403, self.theirs.get_records)
        self.client.update_group(id="readers", data={"members": ["system.Authenticated"]})
        self.assertEqual(len(self.theirs.get_records()), 2)
        self.client.delete_group(id="readers")
        self.assert_refused(403, self.theirs.get_records)

    def test_permissions_are_replaced_kept_or_refused(self):
        self.client.update_record(id="one", data={"n": 1}, permissions={"read": ["account:a"]})
        kept = self.client.update_record(id="one", data={"n": 4})
        self.assertEqual(kept["permissions"]["read"], ["account:a"])
        replaced = self.client.update_record(
            id="one", data={"n": 4}, permissions={"write": ["account:b"]}
        )
        self.assertNotIn("read", replaced["permissions"])
        self.assertEqual(
            sorted(replaced["permissions"]["write"]),
            sorted(["account:b", principal(self.auth)]),
        )
        self.assert_refused(
            400, self.client.update_record, id="one", data={}, permissions={"fly": ["account:b"]}
        )

    def test_the_permissions_endpoint_lists_what_one_may_do(self):
        self.client.patch_record(id="two", permissions={"read": [self.friend_id]})
        mine = {entry["uri"]: entry for entry in self.client.get_permissions()}
        bucket = f"/buckets/{self.bucket}"
        self.assertEqual(
            sorted(uri for uri in mine if uri.startswith(bucket)),
            [bucket, f"{bucket}/collections/tasks",
             f"{bucket}/collections/tasks/records/one",
             f"{bucket}/collections/tasks/records/two"],
        )
        self.assertIn("write", mine[bucket]["permissions"])
        self.assertEqual(mine[f"{bucket}/collections/tasks"]["collection_id"], "tasks")

        theirs = [e for e in self.theirs.get_permissions() if e["uri"].startswith(bucket)]
        self.assertEqual(len(theirs), 1)
        self.assertEqual(theirs[0]["permissions"], ["read"])
        self.assertEqual(theirs[0]["resource_name"], "record")
        self.assertEqual(theirs[0]["record_id"], "two")
        self.assertEqual(theirs[0]["bucket_id"], self.bucket)
