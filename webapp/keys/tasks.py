from celery import shared_task

from webapp.keys import idempotency


@shared_task(name="keys.forget_calls")
def forget_calls() -> None:
    """Deletes the answers that were kept for their Idempotency-Keys and are too old by now."""
    idempotency.forget_old()
