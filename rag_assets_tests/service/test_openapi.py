"""schemathesis finds nothing: every status, shape and refusal is as the OpenAPI document says."""

from collections.abc import Callable
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    negative_data_rejection,
    positive_data_acceptance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from rag_assets_tests.service.conftest import Base, address

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    negative_data_rejection,
    positive_data_acceptance,
    missing_required_header,
]


def keeping(operation: Any, mode: GenerationMode, headers: dict[str, str]) -> Callable[[], None]:
    """A property over the requests that the document allows, or forbids, for one operation."""

    @settings(
        max_examples=20,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )
    @given(case=operation.as_strategy(mode))
    def keeps_to_it(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS, headers=headers, timeout=60)

    return keeps_to_it


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_the_service_keeps_to_its_document(
    shared: str, base: Base, serve, mode: GenerationMode
) -> None:
    url, headers = shared, {}
    if mode is GenerationMode.NEGATIVE:  # and with keys, so that both are looked at
        _, secret = base.keys.create("reader", groups=["*"], may_write=True)
        base.configure(service={"limits": {"requests_per_minute": None}})
        url, headers = address(serve(base)), {"Authorization": f"Bearer {secret}"}
    document = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in document.get_all_operations()]
    assert len(operations) == 13
    for operation in operations:
        if mode is GenerationMode.POSITIVE or operation.body or len(operation.query):
            keeping(operation, mode, headers)()
