"""Keeps the figures small, and has each worker write what it counts."""

from celery import shared_task
from celery.signals import worker_ready

from webapp.usage import ledger, traffic


@worker_ready.connect
def write_what_is_counted(**_options: object) -> None:
    traffic.write_in_background()
    ledger.write_in_background()


@shared_task(name="usage.merge")
def merge() -> None:
    ledger.merge()


@shared_task(name="usage.prune")
def prune() -> None:
    ledger.prune()
