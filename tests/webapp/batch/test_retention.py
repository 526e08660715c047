"""How long a job's files are kept, and the mail before they go."""

from datetime import timedelta

import pytest
from django.utils import timezone

from tests.factories import make_service, make_user
from tests.webapp.batch.conftest import after, principal, upload
from webapp.batch import files, queries, retention, services, tasks
from webapp.batch.models import Chunk, Job
from webapp.errors import Conflict


@pytest.fixture
def ended(answering, create, work):
    """Call it for a job that ended long ago, whose files go in so many days."""

    def make(days: float, **options) -> Job:
        job = create(2, **options)
        work()
        now = timezone.now()
        Job.objects.filter(pk=job.pk).update(ended_at=now - timedelta(days=27), kept_until=now + timedelta(days=days))
        return after(job)

    return make


def test_files_go_when_their_time_has_come_and_the_job_stays(ended, owner):
    old, recent = ended(-0.1), ended(5)
    tasks.retain()
    assert not files.folder(old).exists()
    assert files.folder(recent).exists()
    old = after(old)
    assert old.deleted_at
    assert (old.state, old.total, Chunk.objects.filter(job=old).count()) == ("completed", 2, 0)
    assert old in queries.jobs_of(owner).items
    with pytest.raises(Conflict):
        services.retry_failed(old, principal(owner))
    services.delete(old)


def test_what_could_not_be_deleted_is_deleted_the_next_time(ended, monkeypatch):
    job = ended(-0.1)
    with monkeypatch.context() as patched:
        patched.setattr(files, "delete", lambda _job: (_ for _ in ()).throw(OSError("busy")))
        tasks.retain()
    assert after(job).deleted_at is None
    tasks.retain()
    assert after(job).deleted_at


def test_drafts_that_nobody_starts_go(owner, collection):
    old = services.create_draft(principal(owner), upload=upload(["How?"]))
    new = services.create_draft(principal(owner), upload=upload(["How?"]))
    Job.objects.filter(pk=old.pk).update(created_at=timezone.now() - timedelta(days=2))
    retention.delete_old()
    assert list(Job.objects.all()) == [new]
    assert not files.folder(old).exists()


def test_an_owner_is_told_once_in_one_mail(ended, mailoutbox):
    first, second, later = ended(1), ended(2.5), ended(10)
    tasks.retain()
    tasks.retain()
    [mail] = mailoutbox
    assert mail.to == ["owner@example.com"]
    assert "2 batches" in mail.subject
    assert str(first.pk) in mail.body
    assert str(second.pk) in mail.body
    assert str(later.pk) not in mail.body


def test_who_answers_for_a_service_account_is_told_of_its_batches(ended, owner, mailoutbox):
    ended(1, owner=make_service(owner, "Night import"))
    tasks.retain()
    [mail] = mailoutbox
    assert mail.to == ["owner@example.com"]
    assert "of the service account Night import" in mail.body


def test_two_workers_at_once_tell_an_owner_once(ended, mailoutbox, monkeypatch):
    ended(1), ended(2)
    real = retention._send_notice

    def while_another_works(*arguments: object) -> None:
        monkeypatch.setattr(retention, "_send_notice", real)
        retention.send_notices()
        real(*arguments)

    monkeypatch.setattr(retention, "_send_notice", while_another_works)
    retention.send_notices()
    assert len(mailoutbox) == 1


def test_an_owner_gets_one_mail_a_day(ended, mailoutbox):
    ended(1)
    tasks.retain()
    ended(1)
    tasks.retain()
    assert len(mailoutbox) == 1
    Job.objects.exclude(notice_sent_at=None).update(notice_sent_at=timezone.now() - timedelta(days=1))
    tasks.retain()
    assert len(mailoutbox) == 2


def test_a_mail_server_that_is_away_costs_nobody_the_mail(ended, mailoutbox, monkeypatch):
    ended(1), ended(1, owner=make_user("second@example.com"))
    with monkeypatch.context() as patched:
        patched.setattr("django.core.mail.message.EmailMessage.send", lambda *_: (_ for _ in ()).throw(OSError("away")))
        tasks.retain()
    assert Job.objects.filter(notice_sent_at=None).count() == 2
    tasks.retain()
    assert len(mailoutbox) == 2


def test_where_files_are_kept_for_a_moment_only_nobody_is_told_at_once(answering, create, work, settings, mailoutbox):
    settings.BATCH_KEPT_DAYS = 2
    create(1)
    work()
    tasks.retain()
    assert mailoutbox == []
