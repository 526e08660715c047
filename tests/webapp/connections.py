"""The site's connections to pods, which a process keeps: tests that start pods of their own have them made anew."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.pods import Pod
from webapp.scoring import fleet
from webapp.scoring.client import scoring_client


def forget_connections() -> None:
    """Closes those of this process; the next ones go where the settings then say."""
    scoring_client().close()
    scoring_client.cache_clear()
    for kept in (True, False):
        fleet._client(kept=kept).close()
    fleet._client.cache_clear()


@contextmanager
def site_with(pod: Pod, settings: Any) -> Iterator[Path]:
    """Has the site ask this CPU pod alone; the store that the two share."""
    settings.MODEL_STORE, settings.SCORING_CPU_URL, settings.SCORING_CPU_PODS = pod.store, pod.url, []
    forget_connections()
    yield pod.store
    forget_connections()
