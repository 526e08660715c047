"""What a caller sees when pods die, are slow to come back, or are gone."""

import os
import signal
import threading
import time
from pathlib import Path

import httpx2 as httpx
import pytest

from tests.product import Product
from tests.system.site_client import make_key


@pytest.fixture(scope="module")
def key(product: Product) -> str:
    return make_key(product, "failing pods", "faq:read", "images:read")


def ask(product: Product, key: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key}"}
    body = {"question": "how do I remove duplicates from an array"}
    return httpx.post(f"{product.url}/api/v1/faq/match", json=body, headers=headers, timeout=30)


def wait_until_answered(product: Product, key: str) -> None:
    until = time.monotonic() + 60
    while ask(product, key).status_code != 200:
        assert time.monotonic() < until, product.log[-4000:]
        time.sleep(0.1)


def test_killing_the_pod_under_load_gives_answers_or_503_and_the_site_recovers(product, key):
    wait_until_answered(product, key)
    answers: list[httpx.Response] = []
    stop = threading.Event()

    def keep_asking() -> None:
        while not stop.is_set():
            answers.append(ask(product, key))

    askers = [threading.Thread(target=keep_asking) for _ in range(4)]
    for asker in askers:
        asker.start()
    restarts = product.log.count("starting it again")
    time.sleep(0.5)
    os.kill(product.pids("scoring-cpu")[-1], signal.SIGKILL)
    product.wait_for("starting it again", times=restarts + 1)
    stop.set()
    for asker in askers:
        asker.join()
    statuses = {answer.status_code for answer in answers}
    assert 200 in statuses
    assert 503 in statuses, "while the pod was away somebody asked"
    assert statuses == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert answer.json()["type"] == "/problems/scoring-unavailable"
            assert int(answer.headers["Retry-After"]) >= 1
    wait_until_answered(product, key)


def test_pictures_are_classified_while_the_pod_of_the_questions_is_gone(product, key):
    wait_until_answered(product, key)
    os.kill(product.pids("scoring-cpu")[-1], signal.SIGKILL)
    answer = httpx.post(
        f"{product.url}/api/v1/images/classify",
        content=Path("frontend/img/samples/digits/4.png").read_bytes(),
        headers={"Authorization": f"Bearer {key}", "Content-Type": "image/png"},
        timeout=30,
    )
    assert answer.status_code == 200
    assert answer.json()["results"][0]["predictions"][0]["label"] == "four"
    models = httpx.get(f"{product.url}/api/v1/models", headers={"Authorization": f"Bearer {key}"}).json()["models"]
    assert "digits" in {model["name"] for model in models}
    wait_until_answered(product, key)
