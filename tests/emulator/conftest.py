"""What the tests of the emulator need besides."""

import os
from collections.abc import Iterator

import pytest

from qgasim.testing import libvirt


@pytest.fixture(scope="session", autouse=True)
def measured_emulators() -> Iterator[None]:
    """Let `make coverage` see what libvirtd starts: it clears the environment, in which coverage says that it measures."""
    with pytest.MonkeyPatch.context() as patch:
        if told := os.environ.get("COVERAGE_PROCESS_CONFIG"):
            start = f"import os; os.environ['COVERAGE_PROCESS_CONFIG'] = {told!r}; import coverage; coverage.process_startup()"
            patch.setattr(libvirt, "_PROGRAM", f"{start}; {libvirt._PROGRAM}")
        yield
