"""Plans: what they change, who may change them."""

import pytest
from django.urls import reverse

from tests.factories import bearer, make_key, make_member, make_plan
from webapp.accounts import plans
from webapp.accounts.models import Plan, User
from webapp.accounts.plans import limits_of

pytestmark = pytest.mark.django_db


def test_without_a_plan_the_settings_hold(owner, settings):
    settings.MONTH_QUOTAS_PER_USER = {"requests": 0, "rows": 5000}
    limits = limits_of(owner)
    assert limits.plan == ""
    assert limits.per_key == settings.RATE_LIMITS_PER_KEY
    assert limits.per_user == settings.RATE_LIMITS_PER_USER
    assert limits.month_per_key == {"requests": None, "rows": None}
    assert limits.month_per_user == {"requests": None, "rows": 5000}
    assert (limits.open_jobs, limits.rows_a_job, limits.stored_bytes) == (10, 1_000_000, 20_000_000_000)


def test_a_plan_goes_before_the_settings_where_it_says_something(owner, settings):
    settings.MONTH_QUOTAS_PER_USER = {"requests": 0, "rows": 5000}
    make_plan(owner, faq_per_key=7, month_requests_per_user=9, batch_open_jobs=2)
    limits = limits_of(owner)
    assert limits.plan == "Team"
    assert limits.per_key == {**settings.RATE_LIMITS_PER_KEY, "faq": 7}
    assert limits.per_user == settings.RATE_LIMITS_PER_USER
    assert limits.month_per_user == {"requests": 9, "rows": None}
    assert (limits.open_jobs, limits.rows_a_job) == (2, 1_000_000)


def test_a_plan_holds_for_the_next_request(client, owner):
    key = make_key(owner)
    plan = make_plan(owner, other_per_key=1)
    assert "q=1;w=60" in client.get("/api/v1/me", headers=bearer(key))["RateLimit-Policy"]
    plan.other_per_key = 2
    plan.save()
    assert client.get("/api/v1/me", headers=bearer(key)).status_code == 200
    assert client.get("/api/v1/me", headers=bearer(key)).status_code == 429
    plan.delete()
    assert client.get("/api/v1/me", headers=bearer(key)).status_code == 200


def test_plans_are_read_seldom(owner, django_assert_num_queries):
    make_plan(owner)
    limits_of(owner)
    with django_assert_num_queries(0):
        limits_of(owner)


def test_a_change_made_elsewhere_arrives_in_some_seconds(owner, monkeypatch):
    plan = make_plan(owner, faq_per_key=7)
    assert limits_of(owner).per_key["faq"] == 7
    Plan.objects.filter(pk=plan.pk).update(faq_per_key=8)  # which no signal tells
    assert limits_of(owner).per_key["faq"] == 7
    monkeypatch.setattr(plans, "_known_until", 0.0)
    assert limits_of(owner).per_key["faq"] == 8


def test_those_in_the_group_admin_make_plans_and_give_them_to_people(client, owner):
    client.force_login(make_member("admin"))
    answer = client.post(
        reverse("admin:accounts_plan_add"), {"name": "Gold", "month_rows_per_user": "100000", "requests_per_key": "60"}
    )
    assert answer.status_code == 302
    plan = Plan.objects.get()
    assert plan.month_rows_per_user == 100_000
    assert (plan.requests_per_key, plan.faq_per_key) == (60, None)
    client.post(
        reverse("admin:accounts_user_change", args=[owner.pk]),
        {"email": owner.email, "name": "Olive", "plan": str(plan.pk), "is_active": "on"},
    )
    assert User.objects.get(pk=owner.pk).plan == plan
    page = client.get(reverse("admin:accounts_plan_change", args=[plan.pk])).content.decode()
    assert owner.email in page
    assert "questions and pictures" in page
    assert "Gold" in client.get(reverse("admin:accounts_user_changelist")).content.decode()


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_others_do_not_see_plans(client, role, owner):
    plan = make_plan(owner)
    client.force_login(make_member(role))
    for page in ("changelist", "add"):
        assert client.get(reverse(f"admin:accounts_plan_{page}")).status_code == 403
    assert client.get(reverse("admin:accounts_plan_change", args=[plan.pk])).status_code == 403


def test_people_keep_working_when_their_plan_is_deleted(owner):
    plan = make_plan(owner, faq_per_key=7)
    plan.delete()
    owner.refresh_from_db()
    assert owner.plan is None
    assert limits_of(owner).per_key["faq"] == 600
