"""The asynchronous client, with many requests at the same time."""

import asyncio
import unittest

from kinto_http import AsyncClient
from kinto_http.exceptions import KintoException
from kinto_http.patch_type import JSONPatch, MergePatch

from harness import URL, basic_user, fresh


class Async(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.client = AsyncClient(
            server_url=URL, auth=basic_user(), bucket=fresh("bucket"), collection="tasks"
        )
        await self.client.create_bucket()
        await self.client.create_collection()

    async def test_records_live_from_creation_to_deletion(self):
        created = (await self.client.create_record(data={"title": "a"}))["data"]
        updated = (await self.client.update_record(data={**created, "done": True}))["data"]
        await self.client.patch_record(
            id=created["id"], changes=MergePatch(data={"done": None, "deep": {"x": 1}})
        )
        await self.client.patch_record(
            id=created["id"],
            changes=JSONPatch([{"op": "add", "path": "/data/deep/y", "value": 2}]),
        )
        stored = (await self.client.get_record(id=created["id"]))["data"]
        self.assertEqual(stored["deep"], {"x": 1, "y": 2})
        self.assertNotIn("done", stored)
        with self.assertRaises(KintoException) as caught:
            await self.client.update_record(data=updated)
        self.assertEqual(caught.exception.response.status_code, 412)
        await self.client.delete_record(id=created["id"], if_match=stored["last_modified"])
        self.assertEqual(await self.client.get_records(), [])

    async def test_groups_history_and_permissions(self):
        await self.client.create_group(id="g", data={"members": ["account:ann"]})
        self.assertEqual(len(await self.client.get_groups()), 1)
        self.assertEqual(len(await self.client.get_history()), 3)
        mine = [
            entry for entry in await self.client.get_permissions()
            if entry.get("bucket_id") == self.client.bucket_name
        ]
        self.assertEqual(len(mine), 3)
        self.assertEqual(len(await self.client.purge_history()), 3)
        await self.client.delete_bucket()

    async def test_many_writers_at_once_get_distinct_increasing_timestamps(self):
        answers = await asyncio.gather(
            *(self.client.create_record(data={"n": n}) for n in range(64))
        )
        stamps = [answer["data"]["last_modified"] for answer in answers]
        self.assertEqual(len(set(stamps)), 64)
        self.assertEqual(int(await self.client.get_records_timestamp()), max(stamps))

    async def test_no_update_is_lost(self):
        await self.client.create_record(id="counter", data={"n": 0})

        async def increment():
            while True:
                seen = (await self.client.get_record(id="counter"))["data"]
                try:
                    await self.client.update_record(data={**seen, "n": seen["n"] + 1})
                    return
                except KintoException as error:
                    if error.response.status_code != 412:
                        raise

        await asyncio.gather(*(increment() for _ in range(16)))
        self.assertEqual((await self.client.get_record(id="counter"))["data"]["n"], 16)
