"""What is made once for all processes that share the suite."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.product import Product, running

SAMPLE_MODELS = "sample models"  # a store with those that were needed so far


@contextmanager
def made_once(tmp_path_factory: pytest.TempPathFactory, name: str) -> Iterator[Path]:
    """A folder of the processes that share the suite; the first of them makes it, while the others wait."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder


@contextmanager
def the_product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    """The whole product with its sample models, for all tests of a folder; its own folder's name has a space.

    Its rate limits are out of the way: they have tests of their own.
    """
    limits = {
        f"RATE_LIMIT_{what}_PER_{who}": "1000000"
        for what in ("REQUESTS", "FAQ", "IMAGES", "OTHER")
        for who in ("KEY", "USER")
    }
    limits["RATE_LIMIT_BAD_KEYS"] = "1000000"
    var = tmp_path_factory.mktemp("a folder with spaces") / "var"
    with ExitStack() as stack:
        with made_once(tmp_path_factory, SAMPLE_MODELS) as models:
            if models.exists():
                shutil.copytree(models, var / "models")
            product = stack.enter_context(running(var, **limits))
            if not (models / "faq-javascript").exists():
                shutil.copytree(var / "models", models, dirs_exist_ok=True)
        yield product
