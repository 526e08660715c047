"""What becomes one row of the history."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, OperationalError
from django.utils import timezone

from webapp.accounts.models import User
from webapp.errors import ScoringTimeout
from webapp.keys.principal import Principal
from webapp.usage import services
from webapp.usage.models import ScoringRecord


@pytest.fixture
def who(owner) -> Principal:
    return Principal(owner, None, frozenset())


def record(who, subject, **fields):
    services.record(who, **{"kind": "faq", "source": "page", "subject": subject, "duration_ms": 1.0, **fields})


def subjects() -> list[str]:
    return list(ScoringRecord.objects.values_list("subject", flat=True))


def test_a_question_typed_letter_by_letter_is_one_row(who):
    for text in ("h", "ho", "how", "how to", "how to copy", "how to copi", "how to copy it"):
        record(who, text, live=True)
    assert subjects() == ["how to copy it"]


def test_sending_it_closes_the_row(who):
    record(who, "how to copy", live=True)
    record(who, "how to copy", live=False)
    assert subjects() == ["how to copy"]
    record(who, "how to copy it", live=True)
    assert subjects() == ["how to copy it", "how to copy"]


def test_another_question_begins_another_row(who):
    record(who, "how to copy an array", live=True)
    record(who, "what is a closure", live=True)
    assert subjects() == ["what is a closure", "how to copy an array"]


def test_a_pause_begins_another_row(who):
    record(who, "how to copy", live=True)
    ScoringRecord.objects.update(created_at=timezone.now() - timedelta(seconds=31))
    record(who, "how to copy it", live=True)
    assert subjects() == ["how to copy it", "how to copy"]


def test_a_late_answer_to_an_earlier_key_press_is_dropped(who):
    record(who, "how to copy", live=True)
    record(who, "how to", live=True, duration_ms=5000.0)
    assert subjects() == ["how to copy"]


def test_one_persons_typing_leaves_anothers_row_alone(who, stranger):
    record(who, "how to copy", live=True)
    record(Principal(stranger, None, frozenset()), "how to copy it", live=True)
    assert len(subjects()) == 2


def test_what_the_api_is_asked_is_never_joined(who):
    record(who, "how to", live=True)
    record(who, "how to copy", source="api")
    assert subjects() == ["how to copy", "how to"]


def test_a_failure_is_kept_with_the_name_of_its_problem(who):
    with (
        pytest.raises(ScoringTimeout),
        services.recorded(who, kind="faq", source="api", subject="how to copy", model="faq"),
    ):
        raise ScoringTimeout("slow")
    assert ScoringRecord.objects.get().outcome == "scoring-timeout"


def test_an_error_nobody_foresaw_is_kept_too(who):
    with pytest.raises(ZeroDivisionError), services.recorded(who, kind="faq", source="api", subject="x", model="faq"):
        raise ZeroDivisionError
    assert ScoringRecord.objects.get().outcome == "internal-error"


def test_a_database_that_takes_no_row_costs_no_answer(who, monkeypatch):
    def locked(*_args, **_options):
        raise OperationalError("database is locked")

    monkeypatch.setattr(ScoringRecord, "save", locked)
    record(who, "how to copy")
    monkeypatch.undo()
    assert subjects() == []


def test_an_account_deleted_while_the_model_thinks_costs_no_answer(who, owner):
    User.objects.filter(pk=owner.pk).delete()
    record(who, "how to copy")
    assert subjects() == []


def test_a_row_that_the_database_refuses_is_logged_without_the_question(who, monkeypatch, caplog):
    def refuses(*_args, **_options):
        raise IntegrityError("DETAIL: Failing row contains (1, faq, page, how to copy)")

    monkeypatch.setattr(ScoringRecord, "save", refuses)
    record(who, "how to copy")
    assert "scoring_not_recorded" in caplog.text
    assert "IntegrityError" in caplog.text
    assert "how to copy" not in caplog.text


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        ("how", "how to copy", True),
        ("how to copy", "how", True),
        ("how to cpoy an array", "how to copy an array", True),
        ("copy array", "how to copy array", True),
        ("how to copy", "what is a closure", False),
        ("a", "b", False),
        ("aaaa", "aa", True),
    ],
)
def test_editing_is_told_from_a_new_question(before, after, same):
    assert services.continues(before, after) is same
