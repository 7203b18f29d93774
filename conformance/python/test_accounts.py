"""Accounts: signing up, proving who one is, changing the password, leaving."""

import requests
from kinto_http import Client

from harness import URL, KintoTestCase, account, fresh, principal


def hello(auth):
    return requests.get(f"{URL}/", auth=auth, timeout=10).json().get("user", {}).get("id")


class Accounts(KintoTestCase):
    def test_an_account_has_its_own_data(self):
        ann = account()
        self.assertEqual(principal(ann), f"account:{ann[0]}")
        client = Client(server_url=URL, auth=ann, bucket=fresh("anns"), collection="notes")
        bucket = client.create_bucket()
        self.assertEqual(bucket["permissions"]["write"], [f"account:{ann[0]}"])
        client.create_collection()
        client.create_record(data={"title": "mine"})
        self.assertEqual(len(client.get_records()), 1)

    def test_a_wrong_password_is_not_the_account(self):
        name, _ = account()
        self.assertNotEqual(hello((name, "guess")), f"account:{name}")
        answer = requests.get(f"{URL}/accounts/{name}", auth=(name, "guess"), timeout=10)
        self.assertIn(answer.status_code, (401, 403))

    def test_a_changed_password_replaces_the_old_one_at_once(self):
        ann = account()
        self.assertEqual(hello(ann), f"account:{ann[0]}")
        changed = requests.put(
            f"{URL}/accounts/{ann[0]}", auth=ann, json={"data": {"password": "new one"}},
            timeout=10,
        )
        self.assertEqual(changed.status_code, 200)
        self.assertNotEqual(hello(ann), f"account:{ann[0]}")
        self.assertEqual(hello((ann[0], "new one")), f"account:{ann[0]}")

    def test_the_password_is_never_sent_back_in_clear(self):
        ann = account("plain words")
        answer = requests.get(f"{URL}/accounts/{ann[0]}", auth=ann, timeout=10)
        self.assertEqual(answer.status_code, 200)
        self.assertNotIn("plain words", answer.text)

    def test_others_neither_see_nor_touch_it(self):
        ann, bob = account(), account()
        path = f"{URL}/accounts/{ann[0]}"
        self.assertEqual(requests.get(path, auth=bob, timeout=10).status_code, 403)
        self.assertEqual(requests.delete(path, auth=bob, timeout=10).status_code, 403)
        listed = requests.get(f"{URL}/accounts", auth=bob, timeout=10).json()["data"]
        self.assertEqual([entry["id"] for entry in listed], [bob[0]])
        self.assertEqual(requests.get(f"{URL}/accounts", timeout=10).status_code, 401)

    def test_a_taken_name_is_not_given_twice(self):
        name, _ = account()
        again = requests.put(
            f"{URL}/accounts/{name}", json={"data": {"password": "mine now"}}, timeout=10
        )
        self.assertEqual(again.status_code, 401)

    def test_leaving(self):
        ann = account()
        path = f"{URL}/accounts/{ann[0]}"
        self.assertEqual(requests.delete(path, auth=ann, timeout=10).status_code, 200)
        self.assertNotEqual(hello(ann), f"account:{ann[0]}")

    def test_a_password_is_needed(self):
        for data in ({}, {"password": 5}, {"password": None}):
            answer = requests.put(
                f"{URL}/accounts/{fresh('x')}", json={"data": data}, timeout=10
            )
            self.assertEqual(answer.status_code, 400, data)
