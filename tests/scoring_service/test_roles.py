"""Several versions of a model at once: which of them answers, for whom, and what is kept for going back."""

import math
from datetime import UTC, datetime, timedelta

import httpx2 as httpx
import pytest

from scoring_service import contract
from tests.pods import CLIENT, start_pod
from tests.scoring_service import obedient
from tests.scoring_service.asking import INFER, answers, ask, error_of, question
from tests.scoring_service.conftest import OBEDIENT, TOKEN

VERSION = "X-Model-Version"


def version_of(response) -> str:
    assert response.status_code == 200, response.text
    assert response.json()["model_version"] == response.headers[VERSION]
    return response.headers[VERSION]


def ask_version(pod, version: str, *texts: str):
    return CLIENT.post(f"{pod.url}/v2/models/obedient/versions/{version}/infer", json=question(*texts))


@pytest.fixture
def three(store):
    """A store with versions 1, 2 and 3, of which 1 is champion."""
    for _ in range(2):
        obedient.write(store, champion=False)
    return store


@pytest.fixture
def own_pod(three):
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        yield pod


def test_each_named_version_is_loaded_and_can_be_asked_by_name(own_pod):
    obedient.route(own_pod.store, "1", standby="2", warm=["3"])
    own_pod.wait_until("has loaded all", lambda pod: pod.role("obedient", "3") == "READY warm")
    assert own_pod.role("obedient", "2") == "READY standby"
    assert {version_of(ask(own_pod, "hello")) for _ in range(20)} == {"1"}
    assert [version_of(ask_version(own_pod, version, "hello")) for version in "123"] == ["1", "2", "3"]
    assert CLIENT.get(f"{own_pod.url}/v2/models/obedient").json()["versions"] == ["1", "2", "3"]
    assert CLIENT.get(f"{own_pod.url}/v2/models/obedient/versions/3").json()["versions"] == ["3", "1", "2"]
    assert own_pod.index == {("obedient", version): ("READY", "") for version in "123"}
    obedient.route(own_pod.store, "1")
    own_pod.wait_until("has unloaded them", lambda pod: pod.index == {("obedient", "1"): ("READY", "")})
    refused = ask_version(own_pod, "3", "hello")
    assert refused.status_code == 404
    assert error_of(refused) == "version 3 of obedient is not loaded here; loaded: 1"


def test_going_back_to_the_standby_loads_nothing(own_pod):
    obedient.route(own_pod.store, "2", standby="1")
    own_pod.wait_until("has switched", lambda pod: pod.role("obedient", "2") == "READY champion")
    assert version_of(ask(own_pod, "hello")) == "2"
    obedient.route(own_pod.store, "1", standby="2")
    own_pod.wait_until("has switched back", lambda pod: pod.role("obedient", "1") == "READY champion")
    assert version_of(ask(own_pod, "hello")) == "1"
    assert own_pod.log.count('"version loaded"') == 2


def test_the_standby_answers_where_the_champion_cannot_be_loaded(three):
    obedient.write(three, champion=False, smoke=[{"text": "refuse"}])
    obedient.route(three, "4", standby="2", warm=["3"])
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        assert version_of(ask(pod, "hello")) == "2", "ready means that something answers"
        pod.wait_until("has loaded the warm one", lambda pod: pod.role("obedient", "3") == "READY warm")
        answering = [each.version for each in pod.state.versions if each.answering]
        assert answering == ["2"]
        assert pod.role("obedient", "4") == "UNAVAILABLE champion"


def test_what_answered_before_answers_until_the_champion_can(own_pod, gate):
    obedient.write(own_pod.store, champion=False, smoke=[{"text": gate.row}])
    obedient.route(own_pod.store, "4", standby="2")
    own_pod.wait_until("loads it", lambda pod: pod.role("obedient", "4") == "LOADING champion")
    assert version_of(ask(own_pod, "hello")) == "1"
    gate.open()
    own_pod.wait_until("has the standby too", lambda pod: pod.role("obedient", "2") == "READY standby")
    assert version_of(ask(own_pod, "hello")) == "4"
    assert not own_pod.role("obedient", "1")


def test_a_warm_version_never_answers_those_who_name_none(three, gate):
    obedient.write(three, champion=False, smoke=[{"text": "refuse"}])
    obedient.route(three, "4", warm=["2"])
    with start_pod(three, "cpu", command=OBEDIENT, ready=False) as pod:
        pod.wait_until("has loaded it", lambda pod: pod.role("obedient", "2") == "READY warm")
        refused = ask(pod, "hello")
        assert refused.status_code == 503
        assert "obedient version 4 cannot be loaded" in error_of(refused)
        assert pod.readiness[0] == 503
        assert version_of(ask_version(pod, "2", "hello")) == "2"


def test_a_model_whose_first_version_is_being_checked_answers_by_name_only(three):
    obedient.route(three, "", warm=["2"])
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        assert pod.readiness == (200, ""), "so that the check can ask it"
        assert version_of(ask_version(pod, "2", "hello")) == "2"
        refused = ask(pod, "hello")
        assert refused.status_code == 503
        assert refused.headers["Retry-After"]
        assert error_of(refused) == "no version of obedient serves yet"
        assert VERSION not in refused.headers
        obedient.route(three, "2")
        pod.wait_until("serves it", lambda pod: pod.role("obedient", "2") == "READY champion")
        assert version_of(ask(pod, "hello")) == "2"


def test_a_model_that_shall_not_answer_any_more_does_not(own_pod):
    obedient.route(own_pod.store, "")
    own_pod.wait_until("has unloaded it", lambda pod: pod.index == {})
    assert error_of(ask(own_pod, "hello")) == "no version of obedient serves yet"


def test_a_pod_is_ready_with_its_champions_and_loads_the_others_after(three, gate):
    obedient.write(three, champion=False, smoke=[{"text": gate.row}])
    obedient.route(three, "1", standby="4", warm=["2"])
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        assert pod.readiness == (200, "")
        pod.wait_until("loads the standby", lambda pod: pod.role("obedient", "4") == "LOADING standby")
        assert pod.role("obedient", "2") == "LOADING warm"
        assert error_of(ask_version(pod, "2", "hello")) == "obedient version 2 is being loaded"
        gate.open()
        pod.wait_until("has loaded all", lambda pod: pod.role("obedient", "2") == "READY warm")


def test_a_version_that_fails_to_load_does_not_hold_up_the_next(three):
    obedient.write(three, champion=False, smoke=[{"text": "refuse"}])
    obedient.route(three, "1", standby="4", warm=["2"])
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        pod.wait_until("has the next", lambda pod: pod.role("obedient", "2") == "READY warm")
        assert pod.role("obedient", "4") == "UNAVAILABLE standby"


def test_a_load_that_nobody_wants_any_more_does_not_hold_up_the_next(own_pod, gate):
    obedient.write(own_pod.store, champion=False, smoke=[{"text": gate.row}])
    obedient.route(own_pod.store, "1", warm=["4"])
    own_pod.wait_until("loads it", lambda pod: pod.role("obedient", "4") == "LOADING warm")
    obedient.route(own_pod.store, "2")
    own_pod.wait_until("serves version 2", lambda pod: pod.role("obedient", "2") == "READY champion")
    gate.open()
    own_pod.wait_until("has let go of it", lambda pod: pod.index == {("obedient", "2"): ("READY", "")})
    assert not own_pod.role("obedient", "4")


# Canary ---------------------------------------------------------------------------------------------------------------


def within_binomial_bounds(hits: int, of: int, percent: float) -> bool:
    """Whether that many hits are to be expected, but for one case in some ten million."""
    share = percent / 100
    return abs(hits - of * share) <= 5.3 * math.sqrt(of * share * (1 - share))


def draws(pod, keys) -> list[str]:
    """Which version answered a request with each of the keys; None: a request without a key."""
    with httpx.Client(trust_env=False, verify=False, timeout=60) as client:
        parameters = [{} if key is None else {"parameters": {"routing_key": key}} for key in keys]
        return [version_of(client.post(f"{pod.url}{INFER}", json=question("hello", **each))) for each in parameters]


@pytest.fixture(scope="module")
def canary_pod(tmp_path_factory):
    """A pod for the tests that change the challenger's share; versions 1, 2 and 3."""
    root = tmp_path_factory.mktemp("store")
    for _ in range(3):
        obedient.write(root)
    obedient.route(root, "1", challenger=("2", 10), warm=["3"])
    with start_pod(root, "cpu", command=OBEDIENT) as pod:
        pod.wait_until("has loaded all", lambda pod: {state for state, _ in pod.index.values()} == {"READY"})
        yield pod


def share(pod, challenger: str, percent: float) -> None:
    """Gives the challenger that share. The pod shows no shares, so it is made to forget the former one first."""
    warm = ["2", "3"]
    obedient.route(pod.store, "1", warm=warm)
    pod.wait_until("forgets", lambda pod: {pod.role("obedient", version) for version in warm} == {"READY warm"})
    obedient.route(pod.store, "1", challenger=(challenger, percent), warm=warm)
    pod.wait_until("follows", lambda pod: pod.role("obedient", challenger) == "READY challenger")


@pytest.fixture
def keys():
    return [f"user:{number}" for number in range(1000)]


@pytest.mark.parametrize("percent", [1, 10, 50])
def test_the_challenger_gets_its_share_of_the_keys_and_each_key_keeps_its_version(canary_pod, keys, percent):
    share(canary_pod, "2", percent)
    first = draws(canary_pod, keys)
    assert within_binomial_bounds(first.count("2"), len(keys), percent)
    assert draws(canary_pod, keys) == first


def test_a_larger_share_keeps_the_keys_of_the_smaller_one(canary_pod, keys):
    drawn = []
    for percent in (5, 20):
        share(canary_pod, "2", percent)
        drawn.append({key for key, version in zip(keys, draws(canary_pod, keys), strict=True) if version == "2"})
    assert drawn[0] < drawn[1]


def test_another_challenger_gets_other_keys(canary_pod, keys):
    drawn = []
    for challenger in ("2", "3"):
        share(canary_pod, challenger, 50)
        drawn.append({key for key, version in zip(keys, draws(canary_pod, keys), strict=True) if version != "1"})
    assert within_binomial_bounds(len(drawn[0] & drawn[1]), len(keys), 25)


def test_requests_without_a_key_are_shared_out_by_chance(canary_pod):
    share(canary_pod, "2", 30)
    drawn = draws(canary_pod, [None] * 1000)
    assert within_binomial_bounds(drawn.count("2"), len(drawn), 30)


def test_score_and_pictures_without_a_version_are_shared_out_too(canary_pod):
    share(canary_pod, "3", 50)
    drawn = {
        CLIENT.post(f"{canary_pod.url}/score", json={"input": "hello"}).headers["X-Model-Version"] for _ in range(60)
    }
    assert drawn == {"1", "3"}


def test_a_version_asked_by_name_answers_whatever_the_share(canary_pod):
    share(canary_pod, "2", 50)
    asked = {version_of(ask_version(canary_pod, "1", "hello")) for _ in range(40)}
    assert asked == {"1"}


def test_what_is_said_about_the_model_is_said_of_its_champion(canary_pod):
    share(canary_pod, "2", 50)
    assert {CLIENT.get(f"{canary_pod.url}/v2/models/obedient").json()["versions"][0] for _ in range(40)} == {"1"}


def test_a_challenger_that_cannot_be_loaded_gets_nothing(three):
    obedient.write(three, champion=False, smoke=[{"text": "refuse"}])
    obedient.route(three, "1", challenger=("4", 50))
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        pod.wait_until("has tried", lambda pod: pod.role("obedient", "4") == "UNAVAILABLE challenger")
        assert set(draws(pod, [None] * 60)) == {"1"}


@pytest.mark.parametrize("key", ["k" * 201, 7, ["a"], {"a": 1}, True])
def test_a_routing_key_that_makes_no_sense_is_refused(canary_pod, key):
    refused = ask(canary_pod, "hello", parameters={"routing_key": key})
    assert refused.status_code == 400
    assert error_of(refused) == "parameter routing_key must be text of at most 200 characters"


@pytest.mark.parametrize("key", ["", "k" * 200, "é\n😀", "\x00"])
def test_any_text_can_be_a_routing_key_and_the_model_never_sees_it(canary_pod, key):
    share(canary_pod, "2", 50)
    answer = ask(canary_pod, "parameters", parameters={"routing_key": key, "top_k": 3})
    assert answers(answer) == ['{"top_k": 3}']


# Which version it was -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("order", "status"), [("refuse", 400), ("crash", 500), ("many x", 500)])
def test_errors_tell_which_version_failed(canary_pod, order, status):
    share(canary_pod, "2", 50)
    failed = [ask(canary_pod, order, parameters={"routing_key": str(number)}) for number in range(40)]
    assert {answer.status_code for answer in failed} == {status}
    assert {answer.headers[VERSION] for answer in failed} == {"1", "2"}
    assert ask_version(canary_pod, "3", order).headers[VERSION] == "3"


def test_a_deadline_that_passes_tells_which_version_was_too_slow(canary_pod):
    share(canary_pod, "2", 10)
    slow = ask(canary_pod, "sleep 200", headers={"X-Request-Deadline-Ms": "20"}, parameters={"routing_key": "a"})
    assert slow.status_code == 504
    assert slow.headers[VERSION] in {"1", "2"}


def test_an_answer_from_no_version_names_none(canary_pod):
    for path in ("/v2", "/v2/pod", "/v2/models/unknown", "/nowhere"):
        assert VERSION not in CLIENT.get(f"{canary_pod.url}{path}").headers


# What a pod says of itself --------------------------------------------------------------------------------------------


def test_a_pod_tells_what_it_is_and_what_it_serves(three):
    obedient.write(three, champion=False, smoke=[{"text": "refuse"}])
    obedient.route(three, "1", challenger=("2", 10), standby="3", warm=["4"])
    with start_pod(three, "cpu", command=OBEDIENT) as pod:
        pod.wait_until("has tried all", lambda pod: pod.role("obedient", "4") == "UNAVAILABLE warm")
        state = pod.state
        assert (state.pool, state.ready, state.reason, state.device, state.store_problem) == (
            "cpu",
            True,
            "",
            "cpu",
            "",
        )
        assert state.pod.endswith(f":{pod.port}")
        age = datetime.now(UTC) - datetime.fromisoformat(state.started_at)
        assert timedelta(0) < age < timedelta(minutes=2)
        assert [(each.version, each.state, each.role, each.answering) for each in state.versions] == [
            ("1", "READY", "champion", True),
            ("2", "READY", "challenger", False),
            ("3", "READY", "standby", False),
            ("4", "UNAVAILABLE", "warm", False),
        ]
        assert state.versions[3].reason == "its smoke input 'refuse' was refused: as you wish"
        assert all(each.load_seconds > 0 for each in state.versions[:3])
        assert state.versions[3].load_seconds is None


def test_a_pod_with_a_token_tells_its_state_to_those_who_have_it(store):
    with start_pod(store, "cpu", command=OBEDIENT, SCORING_TOKEN=TOKEN) as pod:
        assert CLIENT.get(f"{pod.url}/v2/pod").status_code == 401
        allowed = CLIENT.get(f"{pod.url}/v2/pod", headers={"Authorization": f"Bearer {TOKEN}"})
        assert contract.decode_json(allowed.content, contract.PodState).ready


# Loss and corruption --------------------------------------------------------------------------------------------------


def test_a_routing_file_that_breaks_changes_nothing_of_what_was_named(own_pod):
    obedient.route(own_pod.store, "1", challenger=("2", 50), standby="3")
    own_pod.wait_until("has loaded all", lambda pod: pod.role("obedient", "3") == "READY standby")
    routing = own_pod.store / "obedient" / "routing.json"
    routing.write_text("{")
    own_pod.wait_until("says so", lambda pod: pod.role("obedient", "?") == "UNAVAILABLE")
    assert set(draws(own_pod, [None] * 60)) == {"1", "2"}
    assert own_pod.role("obedient", "3") == "READY standby"
    routing.unlink()
    own_pod.wait_until("says so", lambda pod: "No such file" in pod.index["obedient", "?"][1])
    assert set(draws(own_pod, [None] * 60)) == {"1", "2"}
    obedient.route(own_pod.store, "1")
    own_pod.wait_until("follows again", lambda pod: pod.index == {("obedient", "1"): ("READY", "")})


def test_a_store_that_looks_empty_takes_nothing_down(own_pod):
    away = own_pod.store.with_name("away")
    own_pod.store.rename(away)
    own_pod.store.mkdir()  # as a mount point does when its volume is away
    own_pod.wait_until("notices", lambda pod: "is empty" in pod.state.store_problem)
    assert version_of(ask(own_pod, "hello")) == "1"
    assert own_pod.readiness == (200, "")
    own_pod.store.rmdir()
    away.rename(own_pod.store)
    own_pod.wait_until("is content again", lambda pod: not pod.state.store_problem)


def test_a_store_that_goes_away_during_a_load_is_not_the_versions_fault(own_pod, gate, tmp_path):
    obedient.write(own_pod.store, champion=False, parameters={"reads": str(gate.path)})
    obedient.route(own_pod.store, "1", warm=["4"])
    own_pod.wait_until("loads it", lambda pod: pod.role("obedient", "4") == "LOADING warm")
    own_pod.store.rename(away := own_pod.store.with_name("away"))
    gate.open()
    own_pod.wait_until("notices", lambda pod: pod.state.store_problem)
    assert own_pod.role("obedient", "4") == "LOADING warm"
    away.rename(own_pod.store)
    own_pod.wait_until("has loaded it", lambda pod: pod.role("obedient", "4") == "READY warm")
