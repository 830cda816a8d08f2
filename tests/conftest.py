"""What a whole run of the tests needs."""

import coverage
import pytest

#: Tests that ask programs of others (qemu-ga, QEMU, libvirt, a browser, shells, compilers, schemathesis), by the beginnings of
#: their names: `make test` leaves them out, `make test-integration` runs them, and CI runs all.
INTEGRATION = (
    "tests/control/test_page.py",
    "tests/control/test_schema.py",
    "tests/emulator/test_libvirt.py",
    "tests/record/test_cli_record.py::test_a_domain_of_libvirt_is_recorded",
    "tests/record/test_record.py::test_the_real_agent_",
    "tests/test_compare.py::test_the_real_agent_",
    "tests/test_drill_examples.py",
    "tests/test_examples.py",
    "tests/test_fuzz.py::test_clients_that_come_and_leave_",
    "tests/test_fuzz.py::test_the_real_agent_",
    "tests/test_fuzz_monitor.py::test_the_real_monitor_",
    "tests/test_howto.py::test_a_client_in_another_language_runs",
    "tests/test_language_server.py",
    "tests/test_plugin.py::test_a_users_project_is_typed",
    "tests/test_standin_real.py",
    "tests/test_upstream.py::test_every_fault_that_can_be_is_seen_before_a_real_agent",
    "tests/userland/test_real_",
    *(
        f"tests/test_howto.py::{test}[docs/howto/{page}]"
        for test in (
            "test_the_python_of_a_page_runs",
            "test_what_a_page_has_typed_works_and_prints_what_it_shows",
        )
        for page in ("drill", "libvirt")
    ),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(INTEGRATION):
            item.add_marker(pytest.mark.integration)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Let a worker of xdist save what it has measured while it is still asked to: it is killed soon after."""
    measured = coverage.Coverage.current()
    if measured is not None and hasattr(session.config, "workerinput"):
        measured.stop()
        measured.save()
