from typing import ClassVar

from django.db import models
from django.utils import timezone


class SecurityEvent(models.Model):
    """One thing that happened to an account, or to what opens doors. The database lets nobody alter it.

    People are kept as plain values, so that a deleted account changes nothing here. No secret is ever in it, nor what
    somebody typed where a secret belongs.
    """

    class Kind(models.TextChoices):
        SIGNED_IN = "signed_in", "Signed in"
        SIGN_IN_FAILED = "sign_in_failed", "Sign-in failed"
        SIGN_IN_HELD = "sign_in_held", "Sign-in held back: too many attempts"
        SECOND_FACTOR_FAILED = "second_factor_failed", "Second factor failed"
        SIGNED_OUT = "signed_out", "Signed out"
        PASSWORD_CHANGED = "password_changed", "Password changed"
        PASSWORD_RESET = "password_reset", "Password set by a mailed link"
        EMAIL_ADDED = "email_added", "E-mail address added"
        EMAIL_REMOVED = "email_removed", "E-mail address removed"
        EMAIL_CHANGED = "email_changed", "E-mail address changed"
        SECOND_FACTOR_ADDED = "second_factor_added", "Second factor added"
        SECOND_FACTOR_REMOVED = "second_factor_removed", "Second factor removed"
        RECOVERY_CODES_MADE = "recovery_codes_made", "New recovery codes made"
        RECOVERY_CODE_USED = "recovery_code_used", "Recovery code used"
        PROVIDER_CONNECTED = "provider_connected", "Identity provider connected"
        PROVIDER_DISCONNECTED = "provider_disconnected", "Identity provider disconnected"
        ACCOUNT_MADE = "account_made", "Account made"
        ACCOUNT_CHANGED = "account_changed", "Account changed"
        ACCOUNT_DELETED = "account_deleted", "Account deleted"
        ROLES_CHANGED = "roles_changed", "Roles changed"
        RIGHTS_CHANGED = "rights_changed", "Rights changed"
        PLAN_CHANGED = "plan_changed", "Plan changed"
        KEY_CREATED = "key_created", "API key created"
        KEY_CHANGED = "key_changed", "API key changed"
        KEY_ROTATED = "key_rotated", "API key rotated"
        KEY_OLD_SECRETS_ENDED = "key_old_secrets_ended", "Old secrets of an API key ended"
        KEY_REVOKED = "key_revoked", "API key revoked"
        WEBHOOK_CREATED = "webhook_created", "Webhook created"
        WEBHOOK_CHANGED = "webhook_changed", "Webhook changed"
        WEBHOOK_DELETED = "webhook_deleted", "Webhook deleted"
        WEBHOOK_SECRET_ROTATED = "webhook_secret_rotated", "Secret of a webhook rotated"
        MODEL_CHANGED = "model_changed", "Model or version changed"

    kind = models.CharField(max_length=24, choices=Kind)
    at = models.DateTimeField(default=timezone.now)
    # Who did it, and whose account it is about: e-mail addresses; empty: the system itself, or nobody known.
    actor = models.CharField(max_length=254, blank=True)
    actor_id = models.BigIntegerField(null=True, blank=True)
    account = models.CharField(max_length=254, blank=True)
    account_id = models.BigIntegerField(null=True, blank=True)
    # What else it is about: a key by its public part, a webhook, a version.
    about = models.CharField(max_length=200, blank=True)
    network = models.CharField(max_length=50, blank=True)  # as the limits count it; empty: no request
    request_id = models.CharField(max_length=100, blank=True)
    details = models.JSONField(default=dict, blank=True)

    class Meta:
        ordering: ClassVar[list[str]] = ["-at", "-pk"]
        indexes: ClassVar[list[models.Index]] = [
            # the admin's list, and the clean-up
            models.Index(fields=["-at", "-id"], name="security_events_newest_first"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()}, {self.at:%Y-%m-%d %H:%M:%S}"
