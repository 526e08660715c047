"""Clients written for the reference architecture work unchanged, against the site with a key and against a pod."""

from collections.abc import Iterator
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.product import Product
from tests.system.site_client import make_key

DIGITS = Path("frontend/img/samples/digits")
QUESTION = "how do I copy an object without changing the original"


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    return make_key(product, "reference client", "faq:read", "images:read")


@pytest.fixture(params=["site", "pods"])
def doors(request: pytest.FixtureRequest, product: Product, key: str) -> Iterator[dict[str, httpx.Client]]:
    """Clients by what they ask for: both the site's address with a key, or each its own pod with the pods' token."""
    token = product.secrets["SCORING_TOKEN"]
    if request.param == "site":
        addresses, secret = (product.url, product.url), key
    else:
        addresses, secret = (product.cpu_url, product.gpu_url), token
    headers = {"Authorization": f"Bearer {secret}"}
    clients = [httpx.Client(base_url=address, headers=headers, timeout=60) for address in addresses]
    yield dict(zip(("questions", "pictures"), clients, strict=True))
    for client in clients:
        client.close()


def test_a_question_gets_every_original_best_first(doors):
    answer = doors["questions"].post("/score", json={"input": QUESTION})
    assert answer.status_code == 200
    rows = answer.json()
    assert len(rows) == 112
    assert all(len(row) == 3 for row in rows)
    ids, answer_ids, probabilities = zip(*rows, strict=True)
    assert len(set(ids)) == 112
    assert answer_ids[0] == f"{ids[0]}-a"
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert all(0 <= probability <= 1 for probability in probabilities)


def test_one_picture_gets_three_labels_and_the_time_it_took(doors):
    with (DIGITS / "7.png").open("rb") as picture:
        labels, computed = doors["pictures"].post("/score", files={"image": ("7.png", picture, "image/png")}).json()
    assert [len(row) for row in labels["image"]] == [3, 3, 3]
    wordnet_id, label, score = labels["image"][0]
    assert (wordnet_id, label) == ("digit-7", "seven")
    assert 0.5 < score <= 1
    assert computed.startswith("Computed in ")
    assert computed.endswith(" ms")


def test_several_pictures_are_answered_under_their_field_names(doors):
    files = {name: (f"{name}.png", (DIGITS / f"{name}.png").read_bytes(), "image/png") for name in ("2", "5", "9")}
    labels, _ = doors["pictures"].post("/score", files=files).json()
    assert {name: rows[0][1] for name, rows in labels.items()} == {"2": "two", "5": "five", "9": "nine"}


def test_get_describes_the_service(doors):
    for client in doors.values():
        answer = client.get("/score")
        assert answer.status_code == 200
        assert {"azEnvironment", "location", "osType", "isServer", "version", "uniqueId"} <= set(answer.json())


def test_nobody_gets_in_without_a_key(product):
    for address in (product.url, product.cpu_url, product.gpu_url):
        answer = httpx.post(f"{address}/score", json={"input": QUESTION})
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
