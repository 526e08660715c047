"""Work in the background: each of these may be delivered twice, late, or be cut short by the end of its worker."""

from threading import Lock

from celery import shared_task

from webapp.faq import asked, learning, publishing, review, training
from webapp.faq.imports import services as imports

# In one trainer: each training takes as much memory as its collection needs.
_training = Lock()


@shared_task(name="faq.work_on_import")
def work_on_import(pk: int) -> None:
    """Looks over a file of entries, or imports what was confirmed."""
    imports.work_on(pk)


@shared_task(name="faq.watch_imports")
def watch_imports() -> None:
    """Every ten seconds: finds imports whose worker has ended."""
    imports.send_unattended()


@shared_task(name="faq.forget_imports")
def forget_imports() -> None:
    """Every hour: removes what nobody has confirmed, and files that have been kept long enough."""
    imports.forget()


@shared_task(name="faq.train")
def train(publication_id: int, token: str) -> None:
    """Trains a version, unless this trainer is at another: then it is sent again when that has ended."""
    if not _training.acquire(blocking=False):
        return
    try:
        training.run(publication_id, token)
    finally:
        _training.release()
    publishing.send_never_begun()


@shared_task(name="faq.follow_publications")
def follow_publications() -> None:
    """Every two seconds: moves publications on."""
    publishing.follow_all()


@shared_task(name="faq.gather")
def gather() -> None:
    """Every 20 seconds: sorts what was asked for the review, and measures what it has brought."""
    review.gather_all()
    learning.measure_all()


@shared_task(name="faq.prune")
def prune() -> None:
    """Every hour: deletes questions that are too old to keep."""
    asked.prune()
