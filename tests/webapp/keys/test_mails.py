"""Mails about keys: before they expire, and when something is done to them."""

from datetime import timedelta

import pytest
from django.core import mail
from django.urls import reverse
from django.utils import timezone

from tests.factories import make_key, make_member, make_service, make_user
from webapp.accounts.models import User
from webapp.keys import mails
from webapp.keys.models import ApiKey
from webapp.keys.tasks import remind

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def key_that_ends_in(owner: User, days: float, *, made_for: float = 90, name: str = "Script") -> ApiKey:
    key = make_key(owner, name=name, expires_at=timezone.now() + 365 * DAY).key
    ends = timezone.now() + days * DAY
    ApiKey.objects.filter(pk=key.pk).update(created_at=ends - made_for * DAY, expires_at=ends)
    return ApiKey.objects.get(pk=key.pk)


def later(days: float) -> None:
    """Lets that much time pass for every key."""
    for key in ApiKey.objects.all():
        moved = {"created_at": key.created_at - days * DAY, "expires_at": key.expires_at - days * DAY}
        ApiKey.objects.filter(pk=key.pk).update(**moved)


def test_the_owner_is_told_14_and_3_days_before_once_each(owner):
    key_that_ends_in(owner, 14.5)
    for days, mails_by_then in ((0, 0), (1, 1), (1, 1), (9.1, 1), (1, 2), (1, 2), (2, 2)):
        later(days)
        remind()
        remind()
        assert len(mail.outbox) == mails_by_then
    assert {to for message in mail.outbox for to in message.to} == {"owner@example.com"}


def test_the_mail_says_which_key_when_and_where_to_renew_it(owner):
    key = key_that_ends_in(owner, 10, name="Näme & Söhne")
    remind()
    [message] = mail.outbox
    assert message.subject == f"The API key “Näme & Söhne” expires on {key.expires_at:%-d %B %Y}"
    assert f"http://127.0.0.1:8000{reverse('keys:rotate', args=[key.pk])}" in message.body
    assert key.public_part in message.body
    assert "never been used" in message.body


def test_after_a_pause_of_the_worker_one_mail_is_enough(owner):
    key_that_ends_in(owner, 2)
    remind()
    remind()
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(("made_for", "sent"), [(2, 0), (7, 1)])
def test_a_key_made_for_a_few_days_is_not_announced_at_once(owner, made_for, sent):
    key_that_ends_in(owner, 1.9, made_for=made_for)
    remind()
    assert len(mail.outbox) == sent


def test_nothing_is_said_of_keys_that_are_revoked_expired_endless_or_of_people_switched_off(owner):
    ApiKey.objects.filter(pk=key_that_ends_in(owner, 2, name="revoked").pk).update(revoked_at=timezone.now() + DAY)
    key_that_ends_in(owner, -1, name="expired")
    key_that_ends_in(make_user("gone@example.com", is_active=False), 2)
    make_key(owner, name="endless")
    remind()
    assert mail.outbox == []


def test_what_the_mail_server_does_not_take_is_sent_the_next_time(owner, settings, caplog):
    key_that_ends_in(owner, 2)
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9  # nobody listens there
    remind()
    assert "api_key_mail_not_sent" in caplog.text
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    remind()
    assert len(mail.outbox) == 1


def test_a_renewed_key_is_announced_again_and_one_that_only_got_a_new_secret_is_not(owner_client, owner):
    key = key_that_ends_in(owner, 2)
    remind()
    for lifetime in ("as now", "30"):
        owner_client.post(
            reverse("keys:rotate", args=[key.pk]), {"seen": _current(key), "overlap": "0", "lifetime": lifetime}
        )
        remind()
        assert len(mail.outbox) == 1
    later(28)
    remind()
    assert len(mail.outbox) == 2


def test_mails_of_a_service_account_go_to_who_is_responsible(owner, stranger):
    bot = make_service(owner, "Night bot")
    key_that_ends_in(bot, 2)
    User.objects.filter(pk=owner.pk).update(is_active=False)
    remind()
    assert mail.outbox == []  # nobody would read it
    User.objects.filter(pk=bot.pk).update(responsible=stranger)
    remind()
    [message] = mail.outbox
    assert message.to == ["stranger@example.com"]
    assert "service account Night bot" in message.body


def test_creating_rotating_and_revoking_a_key_is_mailed_without_its_secret(
    owner_client, work, django_capture_on_commit_callbacks
):
    with django_capture_on_commit_callbacks(execute=True):
        wanted = {"name": "Bot", "scopes": ["faq:read"], "lifetime": "30", "networks": "192.0.2.0/24"}
        new = owner_client.post(reverse("keys:list"), wanted).context["new_key"]
        page = reverse("keys:rotate", args=[new.key.pk])
        owner_client.post(page, {"seen": _current(new.key), "overlap": "24", "lifetime": "as now"})
    assert work() == ["keys.tell", "keys.tell"]
    with django_capture_on_commit_callbacks(execute=True):
        owner_client.post(reverse("keys:revoke", args=[new.key.pk]))
    work()
    created, rotated, revoked = mail.outbox
    assert [message.subject for message in mail.outbox] == [
        "New API key “Bot”",
        "New secret for the API key “Bot”",
        "The API key “Bot” is revoked",
    ]
    assert "192.0.2.0/24" in created.body
    assert "works until" in rotated.body
    assert "refused" in revoked.body
    assert not [message for message in mail.outbox if new.secret in message.body]


def test_an_admin_who_revokes_a_key_is_named_to_its_owner(client, owner, work, django_capture_on_commit_callbacks):
    key = make_key(owner).key
    client.force_login(make_member("admin"))
    with django_capture_on_commit_callbacks(execute=True):
        chosen = {"action": "revoke_selected", "_selected_action": [str(key.pk)]}
        client.post(reverse("admin:keys_apikey_changelist"), chosen)
    work()
    [message] = mail.outbox
    assert (message.to, "by admin@example.com" in message.body) == (["owner@example.com"], True)


def test_two_workers_at_the_same_time_send_one_mail(owner):
    key = key_that_ends_in(owner, 2)
    mails._remind(key, 3)
    mails._remind(key, 3)  # it has read the key before the other was done
    assert len(mail.outbox) == 1


def _current(key: ApiKey) -> int:
    return ApiKey.objects.get(pk=key.pk).current_secret.pk
