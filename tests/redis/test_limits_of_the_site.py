"""The whole site under gunicorn with several processes: 64 keys at once are let in exactly as often as they may."""

import pytest

from bench import limits


@pytest.mark.parametrize(
    "trial",
    [
        limits.Trial("person", {"other_per_key": 1000, "other_per_user": 150}, limits.ME, 300),
        limits.Trial("key", {"other_per_key": 4, "other_per_user": 1000}, limits.ME, 256),
    ],
    ids=["the limit of a person over all keys", "the limit of each key"],
)
def test_the_site_lets_in_exactly_the_quota(the_site, trial):
    assert limits.ask(the_site, trial, requests=7) == {200: trial.let_in, 429: 64 * 7 - trial.let_in}
    assert "rate_limits_unavailable" not in the_site.log.read_text()


@pytest.fixture(scope="module")
def the_site(tmp_path_factory):
    with limits.site(tmp_path_factory.mktemp("site"), processes=3, scoring=False) as site:
        yield site
