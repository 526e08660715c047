"""Jobs in the admin: to be looked at and cancelled, without what was asked."""

from django.urls import reverse

from tests.factories import make_member
from tests.webapp.batch.conftest import after

LIST = reverse("admin:batch_job_changelist")


def test_the_group_admin_sees_jobs_and_cancels_them(client, create):
    job, other = create(["What is the secret?"]), create(1)
    client.force_login(make_member("admin"))
    assert str(job.pk) in client.get(LIST).text
    shown = client.get(reverse("admin:batch_job_change", args=[job.pk])).text
    assert "secret" not in shown
    answer = client.post(LIST, {"action": "cancel_selected", "_selected_action": [job.pk]}, follow=True)
    assert "1 cancelled" in answer.text
    assert (after(job).state, after(other).state) == ("cancelled", "validating")


def test_nobody_makes_or_deletes_jobs_in_the_admin(client, admin, create):
    job = create(1)
    client.force_login(admin)
    assert client.get(reverse("admin:batch_job_add")).status_code == 403
    assert client.get(reverse("admin:batch_job_delete", args=[job.pk])).status_code == 403
