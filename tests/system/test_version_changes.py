"""What serves is changed while people ask: two pods behind one address; the site, its worker and its admin in front.

After every test the sample model serves, and no version is on trial.
"""

import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cluster import PODS, Cluster, cluster, wait_until
from tests.product import Product
from tests.scoring_service import obedient
from tests.system.operating import QUESTIONS, Asked, Operator, Traffic, make_keys, operating, zipped

MODEL = "faq-javascript"
KEYS = 200
REASON = "A test promotes it, whatever its figures say."


@dataclass(frozen=True)
class Versions:
    """The versions at hand, all of them ready.

    again: the sample once more. toy: does what the question says. held: loads as soon as the file `gate` is there.
    broken: each is damaged by one test.
    """

    sample: str
    again: str
    toy: str
    held: str
    gate: Path
    broken: list[str]


@pytest.fixture(scope="module")
def site(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("versions"), product.var / "models" / MODEL, SCORING_MEMORY_MB="4000") as site:
        yield site


@pytest.fixture(scope="module")
def operator(site: Cluster) -> Iterator[Operator]:
    """The administrator of the model, whose canaries are judged on little traffic."""
    factors = {"quality_tolerance": 1, "latency_tolerance": 50, "error_factor": 2, "latency_factor": 3}
    with operating(site, MODEL) as operator:
        operator.do("settings", title="JavaScript FAQ", least_requests=20, **factors)
        yield operator


@pytest.fixture(scope="module")
def keys(site: Cluster) -> list[str]:
    return make_keys(site, KEYS)


@pytest.fixture(scope="module")
def versions(site: Cluster, operator: Operator, tmp_path_factory: pytest.TempPathFactory) -> Versions:
    folder = tmp_path_factory.mktemp("toys")
    gate = folder / "gate"
    gate.touch()
    toys = [toy(folder), toy(folder, reads=str(gate)), *(toy(folder) for _ in range(3))]
    again, told, held, *broken = operator.register(zipped(site.store / MODEL / "1"), *toys)
    return Versions("1", again, told, held, gate, broken)


def toy(folder: Path, **parameters: object) -> bytes:
    """A version that does what its parameters and the questions say, as an artifact to upload."""
    answers = {question: [["js-020", 0.9]] for question in (*QUESTIONS, "sleep 1000")}
    manifest = obedient.write(folder, MODEL, champion=False, parameters={"answers": answers, **parameters})
    return zipped(folder / MODEL / manifest.version)


@pytest.fixture
def traffic(site: Cluster, keys: list[str]) -> Iterator[Traffic]:
    """Callers who ask while the test runs. None of their requests may fail, unless the test says so."""
    traffic = Traffic(site.url, keys)
    with traffic.flowing():
        wait_until("somebody has an answer", lambda: traffic.asked)
        yield traffic
    assert traffic.asked
    assert [each for each in traffic.failed if each not in traffic.forgiven] == []


def versions_of(asked: list[Asked]) -> Counter[str]:
    return Counter(each.version for each in asked)


def answering(site: Cluster) -> list[str]:
    """The version that answers on each pod."""
    return [version["version"] for name in PODS for version in site.pod(name)["versions"] if version["answering"]]


def roles(site: Cluster, version: str) -> list[str]:
    """What each pod has the version for, once it is loaded."""
    return [
        each["role"]
        for name in PODS
        for each in site.pod(name)["versions"]
        if (each["version"], each["state"]) == (version, "READY")
    ]


def bring_back(site: Cluster, operator: Operator, version: str) -> None:
    """Rolls back to the version and waits until all pods have."""
    operator.do("roll-back", reason="The test is over.")
    wait_until(f"{version} answers everywhere", lambda: answering(site) == [version] * 2)


# Promotion and rollback -----------------------------------------------------------------------------------------------


def test_all_pods_answer_with_a_version_once_it_is_promoted_and_no_more_once_it_is_rolled_back(
    site, operator, versions, traffic
):
    began = time.monotonic()
    operator.do("promote", versions.again, reason=REASON)
    operator.wait_for("converged", versions.again)
    promoted = time.monotonic()
    assert answering(site) == [versions.again] * 2
    time.sleep(0.5)
    asked_back = time.monotonic()
    operator.do("roll-back", reason="Seen enough.")
    wait_until("rolled back", lambda: answering(site) == [versions.sample] * 2)
    back = time.monotonic()
    operator.wait_for("converged", versions.sample)
    time.sleep(0.5)
    assert set(versions_of(traffic.between(0, began))) == {versions.sample}
    assert set(versions_of(traffic.between(promoted, asked_back))) == {versions.again}
    assert set(versions_of(traffic.between(back))) == {versions.sample}


# Canary ---------------------------------------------------------------------------------------------------------------


def test_a_canary_gets_its_share_of_the_callers_each_of_whom_stays_with_one_version(site, operator, versions, traffic):
    operator.do("canary", versions.again, percent=30, reason="A try.")
    wait_until("loaded", lambda: roles(site, versions.again) == ["challenger"] * 2)
    began = time.monotonic()
    wait_until("everybody has asked twice", lambda: len(traffic.between(began)) > 2 * KEYS + 10)
    ended = time.monotonic()
    operator.do("end-canary", reason="Enough.")
    wait_until("gone", lambda: roles(site, versions.again) == [])
    gone = time.monotonic()
    time.sleep(0.5)

    seen: dict[int, set[str]] = {}
    for each in traffic.between(began, ended):
        seen.setdefault(each.caller, set()).add(each.version)
    assert len(seen) == KEYS
    assert [found for found in seen.values() if len(found) > 1] == []
    trying = sum(found == {versions.again} for found in seen.values())
    deviation = math.sqrt(KEYS * 0.3 * 0.7)
    assert abs(trying - KEYS * 0.3) < 4 * deviation, "one in 16,000 runs fails by chance"
    assert set(versions_of(traffic.between(gone))) == {versions.sample}


def test_a_canary_that_is_too_slow_ends_by_itself(site, operator, versions, traffic):
    traffic.questions = ("sleep 1000",)
    before = operator.kinds(versions.toy).count("canary_aborted")
    operator.do("canary", versions.toy, percent=40, reason="A try.")
    operator.wait_for("canary_aborted", versions.toy, times=before + 1)
    wait_until("gone", lambda: roles(site, versions.toy) == [])
    gone = time.monotonic()
    time.sleep(0.5)
    assert "95th percentile" in operator.events()[0]["reason"]
    assert operator.versions()[versions.toy]["state"] == "ready"
    assert set(versions_of(traffic.between(gone))) == {versions.sample}


def test_a_canary_that_fails_ends_by_itself_and_only_its_own_requests_have_failed(site, operator, versions, traffic):
    traffic.questions = ("crash",)
    before = operator.kinds(versions.toy).count("canary_aborted")
    operator.do("canary", versions.toy, percent=40, reason="A try.")
    operator.wait_for("canary_aborted", versions.toy, times=before + 1)
    wait_until("gone", lambda: roles(site, versions.toy) == [])
    gone = time.monotonic()
    time.sleep(0.5)
    traffic.forgiven = [each for each in traffic.failed if each.began < gone]
    assert {each.status for each in traffic.forgiven} == {502}
    assert "requests failed" in operator.events()[0]["reason"]
    # A key whose requests fail is one that the canary answers: none of them was answered by it.
    assert versions.toy not in versions_of(traffic.asked)


def test_a_shadow_scores_what_callers_ask_and_they_notice_nothing(site, operator, versions, traffic):
    operator.do("shadow", versions.again, percent=100, reason="A look.")
    wait_until("compared", lambda: shown(operator, "Compared") not in {"", "0"})
    assert (shown(operator, "Same first answer"), shown(operator, "Failed")) == ("100 %", "0")
    operator.do("end-shadow", reason="Enough.")
    wait_until("gone", lambda: roles(site, versions.again) == [])
    assert set(versions_of(traffic.asked)) == {versions.sample}


def shown(operator: Operator, figure: str) -> str:
    """The figure as the model's page shows it; empty where it does not."""
    found = re.search(rf"<dt>{figure}</dt><dd[^>]*>(.*?)</dd>", operator.page("live"))
    return found.group(1).replace("\xa0", " ").replace("\u202f", " ") if found else ""


# Versions that cannot serve -------------------------------------------------------------------------------------------


def corrupt(folder: Path) -> None:
    words = folder / "words.txt"
    words.write_bytes(words.read_bytes()[::-1])


def with_a_smoke_input_that_fails(folder: Path) -> None:
    change_manifest(folder, smoke=[{"text": "refuse"}])


def too_large_for_the_memory(folder: Path) -> None:
    change_manifest(folder, memory=10**12)


def change_manifest(folder: Path, **fields: object) -> None:
    manifest = folder / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **fields}))


@pytest.mark.parametrize(
    "harm",
    [
        (0, corrupt, "words.txt"),
        (1, with_a_smoke_input_that_fails, "smoke"),
        (2, too_large_for_the_memory, "memory"),
    ],
)
def test_a_version_that_pods_cannot_load_is_not_promoted(site, operator, versions, traffic, harm):
    number, damage, reason = harm
    version = versions.broken[number]
    damage(site.store / MODEL / version)
    operator.do("promote", version, reason=REASON)
    operator.wait_for("promotion_failed", version)
    assert reason in operator.events()[0]["reason"]
    assert operator.versions()[version]["state"] == "failed"
    time.sleep(1)
    assert answering(site) == [versions.sample] * 2
    assert set(versions_of(traffic.asked)) == {versions.sample}
    assert f"Version {version} failed: " in operator.do("promote", version, reason=REASON)


# What goes wrong meanwhile --------------------------------------------------------------------------------------------


def test_a_pod_that_dies_while_all_load_a_version_is_not_waited_for(site, operator, versions, traffic):
    wait_until("not loaded", lambda: roles(site, versions.held) == [])
    versions.gate.unlink()
    operator.do("promote", versions.held, reason=REASON)
    wait_until("loading", lambda: "LOADING" in states(site, "pod-2", versions.held))
    site.kill("pod-2")
    versions.gate.touch()
    operator.wait_for("converged", versions.held)
    site.start("pod-2")
    assert answering(site) == [versions.held] * 2
    bring_back(site, operator, versions.sample)


def states(site: Cluster, pod: str, version: str) -> list[str]:
    return [each["state"] for each in site.pod(pod)["versions"] if each["version"] == version]


def test_a_store_that_is_away_for_ten_seconds_delays_a_promotion_and_nothing_else(site, operator, versions, traffic):
    away = site.var / "models, out of reach"
    site.store.rename(away)
    operator.do("promote", versions.again, reason=REASON)
    time.sleep(10)
    assert set(versions_of(traffic.asked)) == {versions.sample}
    before = operator.kinds(versions.again).count("converged")
    away.rename(site.store)
    operator.wait_for("converged", versions.again, times=before + 1)
    assert answering(site) == [versions.again] * 2
    bring_back(site, operator, versions.sample)


# Every process killed -------------------------------------------------------------------------------------------------


def restart(site: Cluster) -> None:
    """All processes are gone at once, and start again."""
    site.kill()
    site.start()


def test_a_canary_and_a_check_go_on_after_every_process_was_killed(site, operator, versions):
    operator.do("canary", versions.again, percent=50, reason="A try.")
    wait_until("not loaded", lambda: roles(site, versions.held) == [])
    versions.gate.unlink()
    passed = operator.kinds(versions.held).count("check_passed")
    operator.do("check", versions.held)
    wait_until("loading", lambda: "LOADING" in states(site, "pod-1", versions.held))
    restart(site)
    versions.gate.touch()
    wait_until("canary", lambda: roles(site, versions.again) == ["challenger"] * 2)
    operator.wait_for("check_passed", versions.held, times=passed + 1)
    operator.do("end-canary", reason="Enough.")


def test_a_promotion_goes_on_after_every_process_was_killed_while_pods_load(site, operator, versions):
    wait_until("not loaded", lambda: roles(site, versions.held) == [])
    versions.gate.unlink()
    converged = operator.kinds(versions.held).count("converged")
    operator.do("promote", versions.held, reason=REASON)
    wait_until("loading", lambda: "LOADING" in states(site, "pod-1", versions.held))
    restart(site)
    assert answering(site) == [versions.sample] * 2
    versions.gate.touch()
    operator.wait_for("converged", versions.held, times=converged + 1)
    assert answering(site) == [versions.held] * 2


def test_a_rollback_goes_on_after_every_process_was_killed_while_pods_switch(site, operator, versions):
    assert answering(site) == [versions.held] * 2
    converged = operator.kinds(versions.sample).count("converged")
    site.kill("worker", "pod-2")
    operator.do("roll-back", reason="In the middle of everything.")
    restart(site)
    operator.wait_for("converged", versions.sample, times=converged + 1)
    assert answering(site) == [versions.sample] * 2
