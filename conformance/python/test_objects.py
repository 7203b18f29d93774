"""Buckets, groups, collections and records through kinto-http: create, read, change, delete."""

from kinto_http import BucketNotFound, Client, CollectionNotFound
from kinto_http.replication import replicate

from harness import URL, KintoTestCase, basic_user, fresh, principal


class Buckets(KintoTestCase):
    def test_a_bucket_lives_from_creation_to_deletion(self):
        bucket = fresh("shelf")
        created = self.client.create_bucket(id=bucket, data={"colour": "red"})
        self.assertEqual(created["data"]["id"], bucket)
        self.assertEqual(created["data"]["colour"], "red")
        self.assertEqual(created["permissions"]["write"], [principal(self.auth)])

        updated = self.client.update_bucket(id=bucket, data={"size": 2})
        self.assertNotIn("colour", updated["data"])
        self.assertGreater(updated["data"]["last_modified"], created["data"]["last_modified"])

        patched = self.client.patch_bucket(id=bucket, data={"depth": 3})
        self.assertEqual((patched["data"]["size"], patched["data"]["depth"]), (2, 3))

        self.assertEqual(self.client.get_bucket(id=bucket)["data"], patched["data"])
        tombstone = self.client.delete_bucket(id=bucket)
        self.assertTrue(tombstone["deleted"])
        with self.assertRaises(BucketNotFound):
            self.client.get_bucket(id=bucket)

    def test_only_own_and_shared_buckets_are_listed(self):
        listed = [bucket["id"] for bucket in self.client.get_buckets()]
        self.assertEqual(listed, [self.bucket])

        friend = basic_user()
        self.assertEqual(self.as_user(friend).get_buckets(), [])
        self.client.patch_bucket(permissions={"read": [principal(friend)]})
        self.assertEqual([b["id"] for b in self.as_user(friend).get_buckets()], [self.bucket])

    def test_deleting_all_buckets_takes_everything_along(self):
        self.client.create_record(data={"title": "gone soon"})
        deleted = self.client.delete_buckets()
        self.assertEqual([bucket["id"] for bucket in deleted], [self.bucket])
        self.client.create_bucket()
        self.assertEqual(self.client.get_collections(), [])
        self.client.create_collection()
        self.assertEqual(self.client.get_records(), [])
        self.assertEqual(self.client.get_records(_since="0"), [])


class Collections(KintoTestCase):
    def test_a_collection_lives_from_creation_to_deletion(self):
        created = self.client.create_collection(id="notes", data={"cache_expires": 5})
        self.assertEqual(created["data"]["cache_expires"], 5)
        self.client.update_collection(id="notes", data={"sort": "title"})
        self.client.patch_collection(id="notes", data={"displayFields": ["title"]})
        stored = self.client.get_collection(id="notes")["data"]
        self.assertEqual((stored["sort"], stored["displayFields"]), ("title", ["title"]))
        self.assertEqual(
            sorted(c["id"] for c in self.client.get_collections()), ["notes", "tasks"]
        )
        self.client.delete_collection(id="notes")
        with self.assertRaises(CollectionNotFound):
            self.client.get_collection(id="notes")

    def test_deleting_is_forgiving_on_request(self):
        self.client.delete_collection(id="never", if_exists=True)
        self.client.delete_record(id="never", if_exists=True)
        self.client.delete_group(id="never", if_exists=True)
        self.client.delete_bucket(id=fresh("never"), if_exists=True)
        self.assert_refused(404, self.client.delete_collection, id="never")
        self.assert_refused(403, self.client.delete_bucket, id=fresh("never"))

    def test_deleting_all_collections(self):
        self.client.create_collection(id="notes")
        deleted = self.client.delete_collections()
        self.assertEqual(sorted(c["id"] for c in deleted), ["notes", "tasks"])
        self.assertEqual(self.client.get_collections(), [])


class Groups(KintoTestCase):
    def test_a_group_lives_from_creation_to_deletion(self):
        created = self.client.create_group(id="editors", data={"members": ["account:ann"]})
        self.assertEqual(created["data"]["members"], ["account:ann"])
        self.client.update_group(id="editors", data={"members": ["account:bob"]})
        self.client.patch_group(id="editors", data={"motto": "check twice"})
        stored = self.client.get_group(id="editors")["data"]
        self.assertEqual((stored["members"], stored["motto"]), (["account:bob"], "check twice"))
        self.assertEqual([group["id"] for group in self.client.get_groups()], ["editors"])
        self.assertTrue(self.client.delete_group(id="editors")["deleted"])
        self.assertEqual(self.client.get_groups(), [])

    def test_all_groups_can_go_at_once(self):
        for name in ("one", "two"):
            self.client.create_group(id=name, data={"members": []})
        self.assertEqual(len(self.client.delete_groups()), 2)
        self.assertEqual(self.client.get_groups(), [])

    def test_everyone_is_no_member(self):
        error = self.assert_refused(
            400, self.client.create_group, id=fresh("g"), data={"members": ["system.Everyone"]}
        )
        self.assertEqual(error["errno"], 107)


class Records(KintoTestCase):
    def test_a_record_lives_from_creation_to_deletion(self):
        created = self.client.create_record(data={"title": "Write", "done": False})["data"]
        self.assertRegex(created["id"], r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")

        replaced = self.client.update_record(data={**created, "done": True})["data"]
        self.assertTrue(replaced["done"])
        patched = self.client.patch_record(data={**replaced, "tag": "x"})["data"]
        self.assertEqual(patched["tag"], "x")
        self.assertEqual(self.client.get_record(id=created["id"])["data"], patched)

        tombstone = self.client.delete_record(id=created["id"])
        self.assertEqual(sorted(tombstone), ["deleted", "id", "last_modified"])
        self.assertGreater(tombstone["last_modified"], patched["last_modified"])
        self.assert_refused(404, self.client.get_record, id=created["id"])
        self.assertEqual(self.client.get_records(), [])
        self.assertEqual(self.client.get_records(_since="0"), [tombstone])

    def test_text_of_every_script_comes_back(self):
        data = {"title": "Ça va ? 你好 🎈", "a.b": {"c:d": [1.5, None, True, ""]}}
        created = self.client.create_record(data=data)["data"]
        stored = self.client.get_record(id=created["id"])["data"]
        self.assertEqual({key: stored[key] for key in data}, data)

    def test_filters_and_sorting(self):
        for n, title in enumerate(["pear", "apple", "fig"]):
            self.client.create_record(
                data={"title": title, "n": n, "tags": ["fruit"], "at": {"x": n}}
            )

        def titles(**query):
            return [record["title"] for record in self.client.get_records(**query)]

        self.assertEqual(titles(), ["fig", "apple", "pear"])
        self.assertEqual(titles(_sort="title"), ["apple", "fig", "pear"])
        self.assertEqual(titles(_sort="-n"), ["fig", "apple", "pear"])
        self.assertEqual(titles(title="apple"), ["apple"])
        self.assertEqual(titles(n=1), ["apple"])
        self.assertEqual(titles(min_n=1, _sort="n"), ["apple", "fig"])
        self.assertEqual(titles(lt_n=1), ["pear"])
        self.assertEqual(titles(in_title="fig"), ["fig"])
        self.assertEqual(titles(in_title=["fig", "pear"], _sort="title"), ["fig", "pear"])
        self.assertEqual(titles(exclude_title="fig", _sort="title"), ["apple", "pear"])
        self.assertEqual(titles(like_title="P*"), ["pear"])
        self.assertEqual(titles(has_n=False), [])
        self.assertEqual(len(titles(contains_tags='"fruit"')), 3)
        self.assertEqual(titles(**{"at.x": 2}), ["fig"])
        self.assertEqual(titles(not_title="fig", _sort="n"), ["pear", "apple"])

    def test_fields_are_selected(self):
        created = self.client.create_record(data={"a": 1, "b": {"c": 2, "d": 3}})["data"]
        listed = self.client.get_records(_fields="b.c")
        expected = {
            "id": created["id"], "last_modified": created["last_modified"], "b": {"c": 2}
        }
        self.assertEqual(listed, [expected])
        one = self.client.get_record(id=created["id"], _fields="a")
        self.assertEqual(one["data"]["a"], 1)
        self.assertNotIn("b", one["data"])
        self.assertNotIn("permissions", one)

    def test_all_records_can_go_at_once(self):
        for n in range(5):
            self.client.create_record(data={"n": n})
        self.assertEqual(len(self.client.delete_records()), 5)
        self.assertEqual(self.client.get_records(), [])

    def test_a_schema_guards_the_collection(self):
        schema = {
            "type": "object",
            "required": ["title"],
            "properties": {"title": {"type": "string"}},
            "additionalProperties": False,
        }
        collection = self.client.create_collection(id="checked", data={"schema": schema})["data"]
        record = self.client.create_record(collection="checked", data={"title": "good"})["data"]
        self.assertEqual(record["schema"], collection["last_modified"])
        error = self.assert_refused(
            400, self.client.create_record, collection="checked", data={"title": 3}
        )
        self.assertEqual(error["details"][0]["name"], "title")
        self.assert_refused(400, self.client.create_record, collection="checked", data={})
        self.assert_refused(
            400, self.client.create_collection, id="bad", data={"schema": {"type": "nonsense"}}
        )


class Server(KintoTestCase):
    def test_the_server_introduces_itself(self):
        info = self.client.server_info()
        self.assertEqual(info["settings"]["batch_max_requests"], 25)
        self.assertEqual(info["user"]["id"], principal(self.auth))
        for capability in ("accounts", "basicauth", "default_bucket", "history",
                           "flush_endpoint", "permissions_endpoint", "schema"):
            self.assertIn(capability, info["capabilities"])

    def test_a_collection_is_replicated_with_its_timestamps(self):
        for n in range(30):
            self.client.create_record(data={"n": n})
        copy = Client(
            server_url=URL, auth=self.auth, bucket=fresh("copy"), collection="tasks"
        )
        replicate(self.client, copy)
        self.assertEqual(copy.get_records(_sort="n"), self.client.get_records(_sort="n"))
