import pytest

from tests.worker import Trace


@pytest.fixture
def trace(tmp_path) -> Trace:
    return Trace(tmp_path / "trace")
