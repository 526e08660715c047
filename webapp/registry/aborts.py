"""The end of a canary that does worse than its champion (trials.py), without anybody looking."""

import structlog
from django.db import transaction

from webapp.registry import services
from webapp.registry.models import ScoringModel, Version
from webapp.registry.trials import Verdict, canary_report

log = structlog.get_logger(__name__)


def judge_all() -> None:
    """Ends each canary that is worse than its champion. What goes wrong with one model holds up no other."""
    for model in ScoringModel.objects.filter(versions__role=Version.Role.CANARY):
        try:
            _judge(model)
        except Exception:  # the other models' canaries must still be judged
            log.exception("canary_not_judged", model=model.name)


def _judge(model: ScoringModel) -> None:
    report = canary_report(model)
    if report is None or report.verdict != Verdict.WORSE:
        return
    with transaction.atomic():
        # Somebody may have ended it meanwhile, and begun another.
        services.locked(model)
        same = {"pk": report.canary.pk, "role": Version.Role.CANARY, "role_since": report.canary.role_since}
        if Version.objects.filter(**same).exists():
            services.end_canary(model, by=None, reason=report.sentence, aborted=True, figures=report.figures())
