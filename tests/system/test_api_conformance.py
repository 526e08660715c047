"""Schemathesis asks the running API whatever its OpenAPI document allows and does not allow."""

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error

from tests.product import Product
from tests.system.site_client import make_key


@pytest.fixture(scope="module")
def api(product: Product) -> schemathesis.BaseSchema:
    document = schemathesis.openapi.from_url(f"{product.url}/api/v1/schema?format=json")
    key = make_key(product, "conformance", "faq:read", "images:read")
    document.config.update(headers={"Authorization": f"Bearer {key}"})
    return document


schema = schemathesis.pytest.from_fixture("api")


@schema.parametrize()
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
def test_any_request_gets_a_documented_answer(case):
    case.call_and_validate(additional_checks=[not_a_server_error])
