"""What a whole run of the tests needs."""

import coverage
import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of xdist save what it has measured while it is still asked to: it is killed soon after."""
    measured = coverage.Coverage.current()
    if measured is not None and hasattr(session.config, "workerinput"):
        measured.stop()
        measured.save()
