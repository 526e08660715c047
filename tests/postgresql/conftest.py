from collections.abc import Iterator

import pytest

from tests.servers import a_postgresql


@pytest.fixture(scope="package")
def database_url() -> Iterator[str]:
    """Where an empty database waits."""
    with a_postgresql() as server:
        yield server.url
