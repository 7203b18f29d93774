"""Lists in pages: nothing hidden, nothing twice, whatever happens in between."""

from harness import KintoTestCase


class Pagination(KintoTestCase):
    def setUp(self):
        super().setUp()
        with self.client.batch() as batch:
            for n in range(60):
                data = {"n": n, "parity": n % 2}
                if n % 3 == 0:
                    data["third"] = True
                batch.create_record(id=f"r{n:02}", data=data)

    def pages(self, **query):
        return [
            [record["n"] for record in page["data"]]
            for page in self.client.get_paginated_records(**query)
        ]

    def test_pages_follow_each_other(self):
        pages = self.pages(_limit=25, _sort="n")
        self.assertEqual([len(page) for page in pages], [25, 25, 10])
        self.assertEqual([n for page in pages for n in page], list(range(60)))

    def test_a_full_last_page_announces_no_further_one(self):
        self.assertEqual([len(page) for page in self.pages(_limit=20)], [20, 20, 20])

    def test_the_default_order_is_newest_first(self):
        records = self.client.get_records(_limit=7, pages=float("inf"))
        self.assertEqual([record["n"] for record in records], list(range(59, -1, -1)))

    def test_equal_and_missing_sort_values_lose_nothing(self):
        for sort in ("parity", "-parity", "third", "-third,parity", "parity,-third,n"):
            with self.subTest(sort=sort):
                together = [r["n"] for r in self.client.get_records(_sort=sort)]
                apart = [n for page in self.pages(_limit=7, _sort=sort) for n in page]
                self.assertEqual(apart, together)
                self.assertEqual(sorted(apart), list(range(60)))

    def test_filters_hold_on_every_page(self):
        pages = self.pages(_limit=4, parity=1, max_n=20, _sort="n")
        self.assertEqual([n for page in pages for n in page], list(range(1, 21, 2)))

    def test_writes_between_pages_neither_hide_nor_repeat(self):
        pages = self.client.get_paginated_records(_limit=20, _sort="n")
        seen = [record["n"] for record in next(pages)["data"]]
        self.client.delete_record(id="r05")
        self.client.create_record(data={"n": 3.5})
        for page in pages:
            seen += [record["n"] for record in page["data"]]
        self.assertEqual(seen, list(range(60)))

    def test_only_asked_pages_are_read(self):
        self.assertEqual(len(self.client.get_records(_limit=10)), 10)
        self.assertEqual(len(self.client.get_records(_limit=10, pages=2)), 20)

    def test_buckets_groups_and_history_have_pages_too(self):
        for n in range(5):
            self.client.create_group(id=f"g{n}", data={"members": []})
        groups = self.client.get_groups(_limit=2, pages=10, _sort="id")
        self.assertEqual([group["id"] for group in groups], [f"g{n}" for n in range(5)])
        history = self.client.get_history(_limit=10, pages=100)
        self.assertEqual(len(history), 1 + 1 + 60 + 5)
