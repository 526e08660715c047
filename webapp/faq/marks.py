"""What people say of matches, and how the questions get to know of it.

A mark may be there before its question, which its process writes a moment later; so marks are settled when questions
are gathered, too.
"""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from webapp.accounts.models import User
from webapp.faq import asked
from webapp.faq.models import AskedQuestion, Collection, Mark
from webapp.usage import feedback, services
from webapp.usage.feedback import Judged
from webapp.usage.models import ScoringRecord

WAITED_FOR = timedelta(minutes=10)  # then the question is not kept, and will not come
AT_ONCE = 2_000


def listen() -> None:
    feedback.said.connect(_note, dispatch_uid="faq.marks")
    services.forgotten.connect(_forget, dispatch_uid="faq.marks")


def _note(sender: object, *, user: User | None, judged: Judged, item: str, right: bool | None, **_more: object) -> None:
    if judged.kind != ScoringRecord.Kind.FAQ:
        return
    collection = Collection.objects.filter(model_name=judged.model).first()
    if collection is None:  # deleted since
        return
    about: dict[str, Any] = {"user": user, "request_id": judged.request_id, "item": item}
    if right is None:
        Mark.objects.filter(**about).delete()
    else:
        said = {"collection": collection, "right": right, "at": timezone.now(), "settled": False}
        Mark.objects.update_or_create(**about, defaults=said)
    settle(user.pk if user else None, judged.request_id)


def _forget(sender: object, *, user: User, record: ScoringRecord | None, **_more: object) -> None:
    asked.write()
    asked.forget_asked(user, record)


def settle(user_id: int | None, request_id: str) -> bool:
    """Has the question know what is said of its matches; False where it is not there.

    Of questions under one id, which programs may choose and use again, the newest is meant.
    """
    question = AskedQuestion.objects.filter(user=user_id, request_id=request_id).order_by("-pk").first()
    if question is None:
        return False
    marks = Mark.objects.filter(user=user_id, request_id=request_id)
    said = list(marks.values_list("item", "right"))
    question.right_id = next((item for item, right in said if right), "")
    wrong = any(not right for _, right in said)
    question.verdict = (
        AskedQuestion.Verdict.WRONG
        if wrong
        else AskedQuestion.Verdict.RIGHT
        if question.right_id
        else AskedQuestion.Verdict.NOTHING
    )
    question.for_review = wrong or question.outcome != AskedQuestion.Outcome.ANSWERED
    if not question.for_review and question.group_id:
        group, question.group = question.group_id, None
        question.save()
        asked.recount([group])
    else:
        question.save(update_fields=["verdict", "right_id", "for_review"])
    marks.update(settled=True)
    return True


def settle_rest(collection: Collection) -> None:
    """Settles the marks that were there before their questions."""
    waiting = Mark.objects.filter(collection=collection, settled=False).order_by("pk")[:AT_ONCE]
    for user_id, request_id in set(waiting.values_list("user", "request_id")):
        settle(user_id, request_id)
    gone = Mark.objects.filter(collection=collection, settled=False, at__lt=timezone.now() - WAITED_FOR)
    gone.update(settled=True)
