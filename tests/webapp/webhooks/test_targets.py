"""Which addresses events may go to, when a webhook is made and each time that one is sent."""

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from django.utils import timezone

from tests.certificates import certificate
from tests.factories import WEBHOOK_SECRET, make_webhook
from tests.webapp.webhooks.receiver import receiving
from tests.worker import wait_until
from webapp.errors import InvalidInput, RateLimited
from webapp.webhooks import deliveries, sending, services, targets
from webapp.webhooks.models import Delivery

pytestmark = pytest.mark.django_db
PUBLIC = "93.184.215.14"

OURS = ["127.0.0.1", "127.9.9.9", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "::1"]
OURS += ["fc00::1", "fd12:3456::1"]
NEVER = [
    *("0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "198.18.0.1"),
    *("198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"),
    *("168.63.129.16", "100.100.100.200"),  # where Azure and Alibaba tell a machine about itself
    *("::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "2001:db8::1", "fec0::1", "5f00::1", "3fff::1"),
    # Of IPv6, with an IPv4 address within.
    *("::ffff:127.0.0.1", "::ffff:93.184.215.14", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1"),
    *("2002:7f00:1::1", "2001:0:7f00:1::1"),
    "no address",
]


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "172.32.0.1", "100.63.0.1", "2606:2800:21f:cb07::1"])
def test_a_public_address_may_be_told(address):
    assert targets.allowed(address)


@pytest.mark.parametrize("address", OURS)
def test_an_address_of_our_own_may_be_told_only_where_the_settings_say_so(address, settings):
    assert not targets.allowed(address)
    settings.WEBHOOK_ALLOW_PRIVATE = True
    assert targets.allowed(address)


@pytest.mark.parametrize("address", NEVER)
@pytest.mark.parametrize("private", [False, True])
def test_some_addresses_are_nobodys_to_tell(address, private, settings):
    settings.WEBHOOK_ALLOW_PRIVATE = private
    assert not targets.allowed(address)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com/hooks",
        "ftp://example.com/",
        "http://example.com/",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://example.com/#part",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:http/",
        "https://exa mple.com/",
        "https://example.com\\@127.0.0.1/",
        "https://[::1",
        "https://[fe80::1%25eth0]/",
        "https://example.com/\x00",
        "https://example.com/" + "x" * 2000,
        "https://" + "x" * 300 + ".com/",
        # Ways to write 127.0.0.1 and others that resolvers understand.
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0177.0.0.1/",
        "https://０１２７.0.0.1/",
        "https://[::ffff:169.254.169.254]/",
        "https://[::]/",
        "https://localhost/",
    ],
)
def test_an_address_that_will_not_do_is_refused_at_once(url):
    with pytest.raises(InvalidInput) as refusal:
        targets.checked(url)
    assert refusal.value.field == "url"


def test_a_name_that_leads_to_us_is_refused_as_one_that_leads_nowhere(names):
    """Whoever may make webhooks learns neither where a name of our network leads, nor whether there is one."""
    names["inside.example.com"] = [[PUBLIC, "10.1.2.3"]]
    refusals = []
    for host in ("inside.example.com", "nowhere.example.com"):
        with pytest.raises(InvalidInput) as refusal:
            targets.checked(f"https://{host}/")
        refusals.append(refusal.value.detail.replace(host, "It"))
    assert refusals == ["It cannot be found, or does not lead to a public address."] * 2


class SlowResolver:
    """One that lets all who ask wait until its end, and then finds nothing."""

    def __init__(self) -> None:
        self.asked = 0
        self.end = threading.Event()

    def look_up(self, *_args: object, **_options: object) -> list[object]:
        self.asked += 1
        self.end.wait(30)
        raise OSError


class TestSlowNames:
    """Somebody's name servers let everybody wait who asks for their names."""

    @pytest.fixture
    def resolver(self, monkeypatch) -> Iterator[SlowResolver]:
        resolver = SlowResolver()
        monkeypatch.setattr(socket, "getaddrinfo", resolver.look_up)
        yield resolver
        resolver.end.set()

    @pytest.mark.usefixtures("resolver")
    def test_they_are_given_up(self, monkeypatch):
        monkeypatch.setattr(targets, "LOOK_UP_WITHIN", 0.05)
        with pytest.raises(InvalidInput, match="cannot be found"):
            targets.checked("https://slow.example.com/")

    def test_no_more_than_some_requests_wait_for_them(self, resolver):
        with ThreadPoolExecutor(targets.AT_ONCE) as pool:
            waiting = [pool.submit(targets.checked, "https://slow.example.com/") for _ in range(targets.AT_ONCE)]
            wait_until(lambda: resolver.asked == targets.AT_ONCE)
            with pytest.raises(RateLimited):
                targets.checked("https://example.com/")
            resolver.end.set()
            assert all(isinstance(each.exception(), InvalidInput) for each in waiting)
        with pytest.raises(InvalidInput):
            targets.checked("https://slow.example.com/")


def test_a_name_that_leads_elsewhere_later_is_refused_when_it_is_sent(owner, names, happens):
    """DNS rebinding: public when the webhook is made, ours when the event is sent."""
    with receiving() as inside:
        names["rebind.example.com"] = [[PUBLIC], ["127.0.0.1"]]
        url = targets.checked(f"https://rebind.example.com:{inside.port}/")
        services.create(owner, url=url, event_types=["batch.completed"])
        happens(owner)
        deliveries.deliver_next()
    assert inside.received == []
    assert "does not lead to a public address" in Delivery.objects.get().error


def test_a_name_is_looked_up_once_and_the_request_goes_there(owner, settings, names, happens):
    """DNS rebinding within one delivery: the second look-up would lead to another machine."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with receiving() as right, receiving("127.0.0.2", right.port) as wrong:
        names["rebind.example.com"] = [["127.0.0.1"], ["127.0.0.2"]]
        make_webhook(owner, url=right.at("rebind.example.com"))
        happens(owner)
        deliveries.deliver_next()
    assert names.asked == ["rebind.example.com"]
    assert wrong.received == []
    (received,) = right.received
    assert received.headers["host"] == f"rebind.example.com:{right.port}"
    assert received.verified(WEBHOOK_SECRET)


def test_the_next_address_of_a_name_is_tried_where_one_does_not_answer(owner, settings, names, happens):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with receiving() as receiver:
        names["two.example.com"] = [["127.0.0.3", "127.0.0.1"]]
        make_webhook(owner, url=receiver.at("two.example.com"))
        happens(owner)
        deliveries.deliver_next()
    assert Delivery.objects.get().state == "delivered"


# TLS ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trusting(tmp_path, monkeypatch, settings) -> Iterator[Path]:
    """The folder whose ca.pem we trust, as an operator would have it for their company."""
    settings.WEBHOOK_ALLOW_PRIVATE = True
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    sending._trusted.cache_clear()
    yield tmp_path
    sending._trusted.cache_clear()


@pytest.mark.parametrize("name", ["hooks.example.com", "127.0.0.1"])
def test_tls_is_spoken_with_the_name_and_not_with_the_address(owner, trusting, names, happens, name):
    asked_for: list[str | None] = []
    server = certificate(trusting, name)
    server.sni_callback = lambda _connection, asked, _context: asked_for.append(asked)
    if name != "127.0.0.1":
        names[name] = [["127.0.0.1"]]
    with receiving(tls=server) as receiver:
        make_webhook(owner, url=receiver.at(name))
        happens(owner)
        deliveries.deliver_next()
    assert Delivery.objects.get().state == "delivered"
    assert asked_for == ([name] if name != "127.0.0.1" else [None])
    assert receiver.received[0].verified(WEBHOOK_SECRET)


def test_a_certificate_of_another_name_is_not_trusted(owner, trusting, names, happens):
    names["hooks.example.com"] = [["127.0.0.1"]]
    with receiving(tls=certificate(trusting, "other.example.com")) as receiver:
        make_webhook(owner, url=receiver.at("hooks.example.com"))
        happens(owner)
        deliveries.deliver_next()
    assert receiver.received == []
    assert Delivery.objects.get().error.startswith("The certificate is not valid: ")


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(owner, settings, tmp_path, happens):
    settings.WEBHOOK_ALLOW_PRIVATE = True
    with receiving(tls=certificate(tmp_path, "127.0.0.1")) as receiver:
        make_webhook(owner, url=receiver.url)
        happens(owner)
        deliveries.deliver_next()
    assert receiver.received == []
    assert Delivery.objects.get().error.startswith("The certificate is not valid: ")


def test_plain_http_where_tls_is_expected_is_told(owner, receiver, happens):
    make_webhook(owner, url=receiver.url.replace("http:", "https:"))
    happens(owner)
    deliveries.deliver_next()
    assert Delivery.objects.get().error == "No TLS connection could be made."
    assert Delivery.objects.get().due_at > timezone.now()
