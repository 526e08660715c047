import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from prometheus_client import CollectorRegistry

from tests.certificates import certificate
from tests.webapp.webhooks.receiver import receiving
from webapp.standing import Certificate, Standing


@pytest.fixture
def told(settings):
    """What a scrape gets, by name."""
    settings.PUBLIC_URL = "http://127.0.0.1:8000"

    def ask() -> dict[str, float]:
        registry = CollectorRegistry()
        registry.register(Standing())
        return {sample.name: sample.value for family in registry.collect() for sample in family.samples}

    return ask


@pytest.mark.django_db(transaction=True)
def test_where_no_worker_was_ever_seen_it_is_silent_for_ever(told):
    assert told()["scorepod_worker_silent_seconds"] == float("inf")


@pytest.mark.django_db(transaction=True)
def test_a_database_that_is_away_is_told_and_the_rest_is_not_made_up(told):
    def refuse(*_args):
        raise OperationalError("connection refused")

    with connection.execute_wrapper(refuse):
        found = told()
    assert found["scorepod_database_up"] == 0
    assert found["scorepod_broker_up"] == 1
    assert not {name for name in found if name.startswith(("scorepod_batch", "scorepod_webhook"))}


class TestCertificate:
    @pytest.fixture
    def site(self, tmp_path):
        """A site whose certificate ends in ten days, for those who trust the folder's ca.pem."""
        with receiving(tls=certificate(tmp_path, "localhost", ends_in=timedelta(days=10))) as receiver:
            yield receiver.at("localhost", "")

    def shown(self, url: str) -> dict[str, float]:
        return {family.name: family.samples[0].value for family in Certificate(url).collect()}

    def test_its_end_is_told(self, site, tmp_path, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        found = self.shown(site)
        assert found["scorepod_certificate_valid"] == 1
        assert found["scorepod_certificate_ends_timestamp_seconds"] == pytest.approx(time.time() + 864_000, abs=600)

    def test_one_that_nobody_vouches_for_is_not_valid(self, site):
        assert self.shown(site) == {"scorepod_certificate_valid": 0}

    def test_one_of_another_name_is_not_valid(self, site, tmp_path, monkeypatch):
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert self.shown(site.replace("localhost", "127.0.0.1")) == {"scorepod_certificate_valid": 0}

    def test_where_nobody_listens_there_is_none(self):
        assert self.shown("https://127.0.0.1:9") == {"scorepod_certificate_valid": 0}

    def test_a_site_on_plain_http_has_none(self):
        assert self.shown("http://127.0.0.1:9") == {}
