"""The whole product, as `make run` starts it."""

from collections.abc import Iterator

import pytest

from tests.product import Product
from tests.sharing import the_product


@pytest.fixture(scope="package")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    with the_product(tmp_path_factory) as product:
        yield product
