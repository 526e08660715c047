"""How events arrive, or do not: at a real receiver, with time passed in where hours have to pass."""

import json
import shutil
import time
from datetime import datetime, timedelta

import pytest
from django.conf import settings
from django.core import mail
from django.utils import timezone

from tests.factories import WEBHOOK_SECRET, make_webhook
from tests.webapp.webhooks.receiver import Reply
from webapp.accounts.models import User
from webapp.webhooks import deliveries, notices, sending, services
from webapp.webhooks.models import Attempt, Delivery, Endpoint
from webapp.webhooks.tasks import prune, watch

pytestmark = pytest.mark.django_db


def try_at(moment: datetime) -> bool:
    """What a worker does at that moment."""
    return deliveries.deliver_next(lambda: moment)


def one() -> Delivery:
    return Delivery.objects.get()


@pytest.fixture
def webhook(owner, receiver) -> Endpoint:
    return make_webhook(owner, url=receiver.url)


@pytest.fixture
def middling(monkeypatch) -> None:
    """Pauses without their jitter."""
    monkeypatch.setattr(deliveries, "JITTER", 0.0)


def test_an_event_arrives_signed_as_standard_webhooks_says(owner, webhook, receiver, happens, work):
    happens(owner, name="Fragen für März")
    assert "webhooks.deliver" in work()
    (received,) = receiver.received
    event = received.verified(WEBHOOK_SECRET)
    assert event["type"] == "batch.completed"
    assert event["data"] == {"name": "Fragen für März"}
    assert received.path == "/hooks?from=scorepod"
    assert received.headers["content-type"] == "application/json"
    assert received.headers["user-agent"].startswith("Scorepod-Webhooks/")
    assert received.headers["host"] == f"127.0.0.1:{receiver.port}"
    delivery = one()
    assert (delivery.state, delivery.status, delivery.attempts, delivery.error) == ("delivered", 200, 1, "")
    assert delivery.message_id == received.id
    assert delivery.duration_ms > 0
    assert Attempt.objects.get().response == "thanks"


def test_a_signature_does_not_fit_another_body_or_secret(owner, webhook, receiver, happens, work):
    from standardwebhooks import Webhook, WebhookVerificationError

    happens(owner)
    work()
    (received,) = receiver.received
    with pytest.raises(WebhookVerificationError):
        Webhook(WEBHOOK_SECRET).verify(received.body + b" ", dict(received.headers))
    with pytest.raises(WebhookVerificationError):
        received.verified("whsec_" + "B" * 43 + "=")


# Trying again ---------------------------------------------------------------------------------------------------------


def test_what_fails_is_tried_again_under_the_same_id_until_it_arrives(owner, webhook, receiver, happens, work):
    receiver.answers(500, Reply(503, b"full"), 204)
    happens(owner)
    work()
    assert (one().state, one().error) == ("pending", "It answered 500.")
    assert timedelta(seconds=3) < one().due_at - timezone.now() < timedelta(seconds=7)
    assert not try_at(timezone.now())
    assert try_at(timezone.now() + timedelta(seconds=7))
    assert try_at(timezone.now() + timedelta(minutes=7))
    assert (one().state, one().status, one().attempts) == ("delivered", 204, 3)
    assert len({received.id for received in receiver.received}) == 1
    assert [attempt.status for attempt in Attempt.objects.all()] == [204, 503, 500]
    assert not try_at(timezone.now() + timedelta(days=1))


def test_ten_attempts_over_three_days_are_all(owner, webhook, receiver, happens, middling):
    receiver.answers(500)
    happens(owner)
    began = moment = one().due_at
    pauses = []
    while one().state == "pending":
        assert try_at(moment)
        if one().due_at:
            pauses.append((one().due_at - moment).total_seconds())
            moment = one().due_at
    assert pauses == [5, 300, 1800, 7200, 18_000, 36_000, 50_400, 72_000, 86_400]
    assert len(receiver.received) == one().attempts == 10
    assert timedelta(days=3) < moment - began < timedelta(days=4)
    assert one().due_at is None
    assert not try_at(moment + timedelta(days=9))


def test_what_failed_together_does_not_come_back_together(owner, webhook, receiver, happens):
    receiver.answers(500)
    for number in range(12):
        happens(owner, number=number)
    now = timezone.now()
    while try_at(now):
        pass
    pauses = {(each.due_at - now).total_seconds() for each in Delivery.objects.all()}
    assert len(pauses) > 6
    assert 4 <= min(pauses) < max(pauses) <= 6


@pytest.mark.usefixtures("webhook", "middling")
@pytest.mark.parametrize(
    "wanted",
    [
        (429, "120", 120),
        (503, "120", 120),
        (503, "1", 5),
        (503, "99999999", 86_400),
        (503, "9" * 400, 86_400),
        (503, "soon", 5),
        (503, "-7", 5),
        (500, "120", 5),
    ],
)
def test_an_endpoint_may_ask_for_a_longer_pause_within_bounds(owner, receiver, happens, wanted):
    status, asked, pause = wanted
    receiver.answers(Reply(status, headers={"Retry-After": asked}))
    happens(owner)
    now = timezone.now()
    try_at(now)
    assert (one().due_at - now).total_seconds() == pause


def test_the_pause_may_be_asked_for_as_a_date(owner, webhook, receiver, happens, middling):
    receiver.answers(Reply(503, headers={"Retry-After": "Fri, 01 Jan 2100 00:00:00 GMT"}))
    happens(owner)
    now = timezone.now()
    try_at(now)
    assert one().due_at - now == timedelta(days=1)


def test_a_killed_worker_loses_nothing_and_comes_too_late(owner, webhook, receiver, happens, work):
    happens(owner)
    now = timezone.now()
    killed = deliveries.claim(now)
    assert work() == ["webhooks.deliver"]
    assert receiver.received == []
    later = now + deliveries.LEASE + timedelta(seconds=1)
    assert try_at(later)
    assert one().state == "delivered"
    assert not deliveries.settle(killed, deliveries.Outcome(500, "It answered 500.", 1), later)
    assert (one().state, one().attempts) == ("delivered", 1)


@pytest.mark.usefixtures("webhook")
def test_a_lost_message_is_made_up_for(owner, receiver, happens, work):
    happens(owner)
    shutil.rmtree(settings.BROKER_DIR)
    watch()
    assert work() == ["webhooks.deliver"]
    assert len(receiver.received) == 1
    watch()
    assert work() == []


def test_one_request_at_a_time_goes_to_an_endpoint(owner, webhook, receiver, happens):
    happens(owner, number=1)
    happens(owner, number=2)
    now = timezone.now()
    first = deliveries.claim(now)
    assert deliveries.claim(now) is None
    deliveries.settle(first, deliveries.Outcome(200, "", 1), now)
    assert deliveries.claim(now) is not None


def test_endpoints_that_work_come_first(owner, stranger, webhook, receiver, happens):
    failing = make_webhook(stranger, url=receiver.url, failing_since=timezone.now())
    happens(stranger)
    happens(owner)
    now = timezone.now()
    assert deliveries.claim(now).endpoint == webhook
    assert deliveries.claim(now).endpoint == failing


def test_owners_take_turns_however_much_one_of_them_sends(owner, stranger, receiver, happens):
    """Slow receivers of one person, with all they can be sent, must not keep everybody else's events waiting."""
    for number in range(3):
        make_webhook(owner, url=receiver.at("127.0.0.1", f"/{number}"))
    other = make_webhook(stranger, url=receiver.url)
    for _ in range(2):
        happens(owner)
    happens(stranger)
    now = timezone.now()
    owners = [deliveries.claim(now).endpoint.owner for _ in range(4)]
    assert owners == [owner, stranger, owner, owner]
    assert deliveries.claim(now) is None
    assert other.deliveries.get().leased_until


def test_nothing_is_sent_for_an_owner_who_is_not_active_any_more(owner, webhook, receiver, happens):
    happens(owner)
    User.objects.update(is_active=False)
    assert not try_at(timezone.now())
    User.objects.update(is_active=True)
    assert try_at(timezone.now())
    assert one().state == "delivered"


def test_an_error_of_our_own_holds_up_nobody(owner, webhook, receiver, happens, monkeypatch):
    happens(owner)
    monkeypatch.setattr(sending, "post", lambda *_args, **_options: 1 / 0)
    try_at(timezone.now())
    assert (one().state, one().attempts) == ("pending", 1)


# What counts as an answer ---------------------------------------------------------------------------------------------


def test_redirects_are_not_followed(owner, webhook, receiver, happens):
    receiver.answers(Reply(302, headers={"Location": receiver.at("127.0.0.1", "/elsewhere")}), 200)
    happens(owner)
    try_at(timezone.now())
    assert [received.path for received in receiver.received] == ["/hooks?from=scorepod"]
    assert one().state == "pending"
    assert "Redirects are not followed" in one().error


def drip(handler):
    """Begins an answer that never comes to its end, one byte after the other."""
    until = time.monotonic() + 5
    try:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while time.monotonic() < until:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            time.sleep(0.05)
    except OSError:
        pass


def hang(handler):
    time.sleep(1.5)


def test_an_answer_that_drips_is_cut_off_in_time(owner, webhook, receiver, happens, monkeypatch):
    monkeypatch.setattr(sending, "WITHIN", 0.5)
    receiver.answers(Reply(instead=drip))
    happens(owner)
    began = time.monotonic()
    try_at(timezone.now())
    assert time.monotonic() - began < 3
    assert (one().state, one().error) == ("pending", "No answer within 0.5 s.")


def test_no_answer_is_told(owner, webhook, receiver, happens, monkeypatch):
    monkeypatch.setattr(sending, "WITHIN", 0.5)
    receiver.answers(Reply(instead=hang))
    happens(owner)
    try_at(timezone.now())
    assert (one().status, one().error) == (None, "No answer within 0.5 s.")


def test_a_body_that_does_not_end_does_not_undo_a_success(owner, webhook, receiver, happens, monkeypatch):
    monkeypatch.setattr(sending, "WITHIN", 0.5)

    def stall(handler):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        handler.wfile.flush()
        time.sleep(1.5)

    receiver.answers(Reply(instead=stall))
    happens(owner)
    try_at(timezone.now())
    assert one().state == "delivered"


@pytest.mark.parametrize("said", [b"", b"220 mail.example.com ESMTP\r\n", b"HTTP/1.1 200"])
def test_what_is_no_answer_of_http_has_failed(owner, webhook, receiver, happens, said):
    receiver.answers(Reply(instead=lambda handler: handler.wfile.write(said)))
    happens(owner)
    try_at(timezone.now())
    assert one().error == "The connection broke off, or what came was not HTTP."


def test_nobody_listening_is_told(owner, webhook, happens):
    Endpoint.objects.update(url="http://127.0.0.1:9/")
    happens(owner)
    try_at(timezone.now())
    assert one().error == "The connection was refused."


def test_a_kilobyte_of_the_answer_is_kept_as_text(owner, webhook, receiver, happens):
    receiver.answers(Reply(500, b"nul \0 byte \xff" + b"x" * 5_000_000))
    happens(owner)
    try_at(timezone.now())
    kept = Attempt.objects.get().response
    assert len(kept) == 1024
    assert kept.startswith("nul \N{REPLACEMENT CHARACTER} byte \N{REPLACEMENT CHARACTER}xxx")


def test_a_proxy_of_the_environment_is_not_used(owner, webhook, receiver, happens, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    happens(owner)
    try_at(timezone.now())
    assert one().state == "delivered"


# Given up -------------------------------------------------------------------------------------------------------------


def test_an_endpoint_that_is_gone_is_disabled_and_its_owner_told(owner, webhook, receiver, happens, work):
    receiver.answers(410)
    happens(owner, number=1)
    happens(owner, number=2)
    work()
    webhook.refresh_from_db()
    assert webhook.disabled == "gone"
    assert len(receiver.received) == 1
    assert {each.state for each in Delivery.objects.all()} == {"failed"}
    happens(owner, number=3)
    assert Delivery.objects.count() == 2
    watch()
    (message,) = mail.outbox
    assert message.to == [owner.email]
    assert str(webhook.pk) in message.body
    watch()
    assert len(mail.outbox) == 1


def test_an_endpoint_that_fails_for_days_is_disabled_and_its_owner_told(owner, webhook, receiver, happens, middling):
    receiver.answers(500)
    happens(owner)
    while one().state == "pending":
        webhook.refresh_from_db()
        assert webhook.enabled
        try_at(one().due_at)
    webhook.refresh_from_db()
    assert webhook.disabled == "failing"
    notices.send_due(webhook.mail_due_at)
    assert "Nothing got through" in mail.outbox[0].body


def test_one_success_on_the_way_keeps_it_enabled(owner, webhook, receiver, happens, middling):
    receiver.answers(*[500] * 5, 200, 500)
    happens(owner)
    lost = one()
    moment = lost.due_at
    for _ in range(5):
        try_at(moment)
        lost.refresh_from_db()
        moment = lost.due_at
    happens(owner, event="batch.failed")
    assert try_at(moment - timedelta(seconds=1))
    while lost.state == "pending":
        try_at(lost.due_at)
        lost.refresh_from_db()
    webhook.refresh_from_db()
    assert lost.state == "failed"
    assert webhook.enabled


def test_a_mail_server_that_is_away_is_asked_again(webhook, settings):
    services.disable(webhook, Endpoint.Reason.ADMIN)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    watch()
    webhook.refresh_from_db()
    assert webhook.mail_due_at > timezone.now()
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    Endpoint.objects.update(mail_due_at=timezone.now())
    watch()
    assert len(mail.outbox) == 1


def test_who_disabled_it_themselves_gets_no_mail(webhook):
    services.disable(webhook)
    watch()
    assert mail.outbox == []


def test_how_a_request_ends_that_is_on_its_way_while_one_disables(owner, webhook, receiver, happens):
    happens(owner, number=1)
    now = timezone.now()
    flying = deliveries.claim(now)
    services.disable(webhook)
    assert one().state == "pending"
    deliveries.settle(flying, deliveries.Outcome(500, "It answered 500.", 1), now)
    assert (one().state, one().error) == ("failed", "It answered 500.")


def test_what_a_killed_worker_had_in_hand_while_one_disabled_has_an_end(owner, webhook, receiver, happens):
    happens(owner)
    before = timezone.now() - deliveries.LEASE - timedelta(seconds=1)
    Delivery.objects.update(due_at=before)
    assert deliveries.claim(before)
    deliveries.disable(webhook, Endpoint.Reason.OWNER, before)
    assert one().state == "pending"
    watch()
    assert one().state == "failed"
    services.enable(webhook)
    assert not try_at(timezone.now())


def test_a_test_is_tried_once_and_does_not_count_against_the_endpoint(webhook, receiver):
    receiver.answers(500)
    services.test(webhook)
    try_at(timezone.now())
    webhook.refresh_from_db()
    assert one().state == "failed"
    assert webhook.failing_since is None


# Secrets --------------------------------------------------------------------------------------------------------------


def test_both_secrets_sign_for_a_day_after_a_rotation(owner, webhook, receiver, happens):
    new = services.rotate(webhook).secret
    happens(owner)
    try_at(timezone.now())
    (received,) = receiver.received
    assert received.headers["webhook-signature"].count("v1,") == 2
    assert received.verified(new) == received.verified(WEBHOOK_SECRET)


def test_the_old_secret_signs_no_more_after_a_day(owner, webhook, receiver, happens):
    from standardwebhooks import WebhookVerificationError

    new = services.rotate(webhook, timezone.now() - timedelta(hours=24, seconds=1)).secret
    happens(owner)
    try_at(timezone.now())
    (received,) = receiver.received
    assert received.verified(new)
    with pytest.raises(WebhookVerificationError):
        received.verified(WEBHOOK_SECRET)


def test_a_secret_that_cannot_be_read_is_told_and_mended_by_a_rotation(owner, webhook, receiver, happens, settings):
    settings.WEBHOOK_KEYS = ["another"]
    happens(owner)
    try_at(timezone.now())
    assert "Rotate it" in one().error
    assert receiver.received == []
    new = services.rotate(webhook).secret
    try_at(timezone.now() + timedelta(seconds=7))
    assert one().state == "delivered"
    assert receiver.received[0].headers["webhook-signature"].count("v1,") == 1
    assert new


# Once more, and no more -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [200, 410])
def test_what_has_ended_can_be_sent_again_under_its_id(owner, webhook, receiver, happens, status):
    receiver.answers(status, 200)
    happens(owner)
    try_at(timezone.now())
    services.enable(webhook)
    services.send_again(Delivery.objects.select_related("endpoint").get())
    assert try_at(timezone.now())
    assert (one().state, one().attempts) == ("delivered", 2)
    assert len({received.id for received in receiver.received}) == 1


def test_the_newest_attempts_are_kept_however_often_it_is_sent_again(owner, webhook, receiver, happens, monkeypatch):
    monkeypatch.setattr(deliveries, "ATTEMPTS_KEPT", 3)
    receiver.answers(200, 201, 202, 203, 204)
    happens(owner)
    for _ in range(5):
        try_at(timezone.now())
        services.send_again(Delivery.objects.select_related("endpoint").get())
    assert one().attempts == 5
    assert [attempt.status for attempt in one().tried.all()] == [204, 203, 202]


def test_a_reason_of_any_length_ends_an_attempt(owner, webhook, happens):
    happens(owner)
    now = timezone.now()
    assert deliveries.settle(deliveries.claim(now), deliveries.Outcome(None, "why " * 200, 1), now)
    assert len(one().error) == len(one().tried.get().error) == 300


def test_what_waits_for_its_next_attempt_can_be_hurried(owner, webhook, receiver, happens):
    receiver.answers(500, 200)
    happens(owner)
    try_at(timezone.now())
    services.send_again(Delivery.objects.select_related("endpoint").get())
    assert try_at(timezone.now())
    assert one().state == "delivered"


def test_deliveries_are_forgotten_after_thirty_days(owner, webhook, happens):
    happens(owner, number=1)
    happens(owner, number=2)
    old = Delivery.objects.first()
    Delivery.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=31))
    prune()
    assert one().pk != old.pk


@pytest.mark.usefixtures("webhook")
def test_the_log_names_no_content_no_address_and_no_secret(owner, receiver, happens, work, caplog):
    Endpoint.objects.update(url=receiver.at("127.0.0.1", "/T0KEN-in-the-path"))
    happens(owner, name="private words")
    work()
    said = json.dumps([str(record.msg) for record in caplog.records])
    assert "webhook_attempted" in said
    for hidden in ("private words", "T0KEN", "whsec_", "v1,"):
        assert hidden not in said
