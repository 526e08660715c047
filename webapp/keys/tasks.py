"""Work in the background: each of these may be delivered twice, late, or be cut short by the end of its worker."""

from celery import shared_task
from celery.signals import worker_ready

from webapp.keys import idempotency, mails, month_use


@worker_ready.connect
def write_what_is_counted(**_options: object) -> None:
    month_use.write_in_background()


@shared_task(name="keys.forget_calls")
def forget_calls() -> None:
    """Deletes the answers that were kept for their Idempotency-Keys and are too old by now."""
    idempotency.forget_old()


@shared_task(name="keys.remind")
def remind() -> None:
    """Every hour: e-mails about the keys that expire soon."""
    mails.remind_all()


@shared_task(name="keys.tell")
def tell(key_id: int, what: str, by_id: int) -> None:
    """An e-mail about what has just been done to a key."""
    mails.tell(key_id, what, by_id)


@shared_task(name="keys.forget_months")
def forget_months() -> None:
    """Deletes what was used in months that are long over."""
    month_use.prune()
