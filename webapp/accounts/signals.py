"""Counts sign-ins."""

from django.contrib.auth.signals import user_logged_in, user_login_failed
from django.dispatch import receiver

from webapp import metrics


@receiver(user_logged_in)
def count_sign_in(**_options: object) -> None:
    metrics.logins.labels("ok").inc()


@receiver(user_login_failed)
def count_failed_sign_in(**_options: object) -> None:
    metrics.logins.labels("failed").inc()
