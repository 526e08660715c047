"""Work in the background: each of these may be delivered twice, late, or be cut short by the end of its worker."""

from celery import shared_task

from webapp.faq.imports import services as imports


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
