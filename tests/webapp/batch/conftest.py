from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def batch_dir(settings, tmp_path) -> Path:
    """A folder of batches for each test."""
    settings.BATCH_DIR = tmp_path / "batches"
    return settings.BATCH_DIR
