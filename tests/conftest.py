"""What a whole run of the tests needs."""

import signal
from collections.abc import Iterator

import coverage
import pytest

#: Tests that ask programs of others (libvirt, compilers, schemathesis, curl, shells), by the beginnings of their names, beside
#: those that are skipped where such a program is missing. `make test` leaves them out, `make test-integration` runs
#: them, and CI runs all.
INTEGRATION = (
    "tests/control/test_schema.py",
    "tests/emulator/test_libvirt.py",
    "tests/test_drill_examples.py",
    "tests/test_examples.py",
    "tests/test_howto.py::test_a_client_in_another_language_runs",
    "tests/test_plugin.py::test_a_users_project_is_typed",
    "tests/userland/test_real_",
    *(
        f"tests/test_howto.py::{test}[docs/{page}]"
        for test in (
            "test_the_python_of_a_page_runs",
            "test_what_a_page_has_typed_works_and_prints_what_it_shows",
        )
        for page in (
            "control",
            "howto/by-hand",
            "howto/control",
            "howto/drill",
            "howto/libvirt",
            "howto/shell",
        )
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("skipif") or item.nodeid.startswith(INTEGRATION):
            item.add_marker(pytest.mark.integration)


@pytest.fixture
def signals_of_a_terminal() -> Iterator[None]:
    """Let what a test starts end at SIGINT and SIGHUP.

    It inherits that they are ignored where the tests run in the background of a script, or by nohup.
    """
    before = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGHUP)
    }
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of xdist save what it has measured while it is still asked to: it is killed soon after."""
    measured = coverage.Coverage.current()
    if measured is not None and hasattr(session.config, "workerinput"):
        measured.stop()
        measured.save()
