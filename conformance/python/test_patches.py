"""The three kinds of PATCH."""

from kinto_http.patch_type import BasicPatch, JSONPatch, MergePatch

from harness import KintoTestCase


class Patches(KintoTestCase):
    def setUp(self):
        super().setUp()
        self.data = {"keep": 1, "gone": 2, "deep": {"a": 1, "b": 2}, "list": [1, 2]}
        self.client.create_record(id="one", data=self.data)

    def patch(self, changes, **arguments):
        answer = self.client.patch_record(id="one", changes=changes, **arguments)
        data = {
            key: value for key, value in answer["data"].items()
            if key not in ("id", "last_modified")
        }
        self.assertEqual(self.client.get_record(id="one")["data"], answer["data"])
        return data, answer["permissions"]

    def test_plain_json_replaces_whole_attributes(self):
        data, _ = self.patch(BasicPatch(data={"gone": None, "deep": {"c": 3}}))
        self.assertEqual(data, {**self.data, "gone": None, "deep": {"c": 3}})

    def test_merge_patch_goes_deep_and_null_removes(self):
        data, _ = self.patch(MergePatch(data={"gone": None, "deep": {"a": None, "c": 3}}))
        self.assertEqual(data, {"keep": 1, "deep": {"b": 2, "c": 3}, "list": [1, 2]})

    def test_json_patch_applies_operations_in_order(self):
        data, _ = self.patch(JSONPatch([
            {"op": "test", "path": "/data/keep", "value": 1},
            {"op": "add", "path": "/data/list/1", "value": 9},
            {"op": "move", "from": "/data/gone", "path": "/data/moved"},
            {"op": "replace", "path": "/data/deep/a", "value": "x"},
            {"op": "copy", "from": "/data/deep", "path": "/data/twin"},
            {"op": "remove", "path": "/data/deep/b"},
        ]))
        self.assertEqual(data, {
            "keep": 1, "list": [1, 9, 2], "moved": 2,
            "deep": {"a": "x"}, "twin": {"a": "x", "b": 2},
        })

    def test_json_patch_is_all_or_nothing(self):
        before = self.client.get_record(id="one")
        error = self.assert_refused(400, self.client.patch_record, id="one", changes=JSONPatch([
            {"op": "remove", "path": "/data/gone"},
            {"op": "test", "path": "/data/keep", "value": 2},
        ]))
        self.assertIn("JSON Patch operation failed", error["details"][0]["description"])
        self.assertEqual(self.client.get_record(id="one"), before)

    def test_permissions_are_patched_in_all_three_ways(self):
        _, permissions = self.patch(BasicPatch(permissions={"read": ["account:ann"]}))
        self.assertEqual(permissions["read"], ["account:ann"])
        _, permissions = self.patch(JSONPatch([
            {"op": "add", "path": "/permissions/read/account:bob"},
            {"op": "remove", "path": "/permissions/read/account:ann"},
            {"op": "add", "path": "/permissions/write/~1buckets~1b~1groups~1g"},
        ]))
        self.assertEqual(permissions["read"], ["account:bob"])
        self.assertIn("/buckets/b/groups/g", permissions["write"])
        _, permissions = self.patch(MergePatch(permissions={"read": None}))
        self.assertNotIn("read", permissions)

    def test_a_patch_of_nothing_is_refused(self):
        self.assert_refused(400, self.client.patch_record, id="one", changes=BasicPatch())
        self.assert_refused(
            404, self.client.patch_record, id="two", changes=BasicPatch(data={"a": 1})
        )

    def test_groups_collections_and_buckets_are_patched_alike(self):
        self.client.create_group(id="g", data={"members": ["account:ann"]})
        self.client.patch_group(
            id="g",
            changes=JSONPatch([{"op": "add", "path": "/data/members/0", "value": "account:bob"}]),
        )
        members = self.client.get_group(id="g")["data"]["members"]
        self.assertEqual(members, ["account:bob", "account:ann"])
        self.client.patch_collection(id="tasks", changes=MergePatch(data={"a": {"b": 1}}))
        self.client.patch_collection(id="tasks", changes=MergePatch(data={"a": {"c": 2}}))
        self.assertEqual(self.client.get_collection()["data"]["a"], {"b": 1, "c": 2})
        self.client.patch_bucket(id=self.bucket, changes=BasicPatch(data={"x": 1}))
        self.assertEqual(self.client.get_bucket()["data"]["x"], 1)
