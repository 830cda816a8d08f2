"""The OpenAPI document is valid, and schemathesis finds no answer that is not in it."""

from pathlib import Path

import pytest

from tests.control.test_document import DOCUMENT, operations


@pytest.mark.slow
def test_the_document_is_openapi_3_1() -> None:
    # A second to import, which only this test spends.
    from openapi_spec_validator import OpenAPIV31SpecValidator

    assert DOCUMENT["openapi"].startswith("3.1.")
    OpenAPIV31SpecValidator(DOCUMENT).validate()


@pytest.mark.slow
def test_answers_are_in_the_document(tmp_path: Path) -> None:
    from tests.fuzz_schema import fuzz

    made = fuzz(tmp_path, examples=8, seed=0)
    assert made.failures == []
    # Else little would have been looked at. (attach: there is no other process.)
    assert made.succeeded == set(operations()) - {"attach"}
