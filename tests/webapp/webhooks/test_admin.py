"""What the admin shows of people's webhooks, and what it may do to them."""

import pytest
from django.urls import reverse

from tests.factories import make_member, make_webhook

pytestmark = pytest.mark.django_db
LIST = "admin:webhooks_endpoint_changelist"


def test_the_admin_sees_hosts_and_no_more_of_addresses(client, owner):
    webhook = make_webhook(owner, url="https://hooks.example.com/T0KEN")
    client.force_login(make_member("admin"))
    for path in (reverse(LIST), reverse("admin:webhooks_endpoint_change", args=[webhook.pk])):
        page = client.get(path).content.decode()
        assert "hooks.example.com" in page
        assert "T0KEN" not in page
        assert "whsec" not in page


def test_the_admin_can_disable_them_and_the_owner_is_to_be_told(client, owner):
    webhook = make_webhook(owner)
    client.force_login(make_member("admin"))
    asked = {"action": "disable_selected", "_selected_action": [str(webhook.pk)]}
    page = client.post(reverse(LIST), asked, follow=True).content.decode()
    assert "1 disabled" in page
    webhook.refresh_from_db()
    assert webhook.disabled == "admin"
    assert webhook.mail_due_at is not None


def test_others_with_a_role_do_not_see_them(client, owner):
    make_webhook(owner)
    client.force_login(make_member("operator"))
    assert client.get(reverse(LIST)).status_code == 403
