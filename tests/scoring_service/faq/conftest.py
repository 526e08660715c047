from pathlib import Path

import pytest

from scoring_service.runtimes.base import Runtime
from tests.scoring_service.faq import library


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a trained version of the library's FAQ."""
    return library.train(tmp_path_factory.mktemp("library"), [*library.ENTRIES, *library.UNANSWERABLE])


@pytest.fixture(scope="session")
def runtime(version: Path) -> Runtime:
    return library.loaded(version)
