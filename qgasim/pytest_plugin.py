"""The pytest plugin: guests as fixtures.

Every run of pytest imports this module, so it imports nothing of qgasim before a guest is asked for.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from qgasim.live import LiveGuest
    from qgasim.testing import Guests, Wish

__all__: list[str] = []

SCENARIO = "debian-12"
FIXTURES = {"qga", "qga_factory", "qga_session", "qga_trio"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qgasim", "simulated QEMU guest agents")
    for name, metavar, text in (
        ("scenario", "FILE-or-NAME", f"the guest of tests that do not name one ({SCENARIO})"),
        ("agent", "RELEASE", "the release of qemu-ga of tests that do not name one"),
        ("seed", "N", "the seed of tests that do not name one"),
    ):
        group.addoption(f"--qgasim-{name}", metavar=metavar, default=None, help=text)
        parser.addini(f"qgasim_{name}", text, default="")
    text = "what findings do: 'report' (shown with a failed test), 'error' (they fail it), 'off'"
    parser.addini("qgasim_findings", text, default="report")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        "qgasim(scenario=, agent=, channel=, seed=, findings=, guest=, replies=, faults=, timeline=, "
        "nemesis=): the guest of the fixtures `qga`, `qga_factory` and `qga_trio`.",
    )
    config.addinivalue_line(
        "markers",
        "qgasim_matrix(agents=[...], scenarios=[...]): run the test once for each combination.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Check the markers, and multiply the tests that ask for it."""
    markers = list(metafunc.definition.iter_markers())
    if not any(marker.name in ("qgasim", "qgasim_matrix") for marker in markers):
        return
    from qgasim.testing import check_marker, read_matrix  # noqa: PLC0415

    for marker in markers:
        if marker.name in ("qgasim", "qgasim_matrix"):
            check_marker(marker.name, marker.args, marker.kwargs)
    matrix = metafunc.definition.get_closest_marker("qgasim_matrix")
    if matrix is not None and "qgasim_wish" in metafunc.fixturenames:
        cases = read_matrix(matrix.kwargs)
        metafunc.parametrize("qgasim_wish", cases.values(), ids=cases.keys(), indirect=True)


@pytest.fixture(scope="session")
def qgasim_guests() -> "Iterator[Guests]":
    """All guests of a session, in one thread."""
    from qgasim.testing import Guests  # noqa: PLC0415

    guests = Guests()
    yield guests
    guests.close()


@pytest.fixture
def qgasim_wish(request: pytest.FixtureRequest) -> "Wish":
    """What the test has asked for: by markers, options and the ini file."""
    from qgasim.testing import read_wish  # noqa: PLC0415

    return read_wish(request)


@pytest.fixture
def qga(
    request: pytest.FixtureRequest, qgasim_guests: "Guests", qgasim_wish: "Wish"
) -> "Iterator[LiveGuest]":
    """A guest of this test's own, on a unix socket: ``qga.socket_path``."""
    from qgasim.testing import node_of  # noqa: PLC0415

    with qgasim_guests.lend(node_of(request), qgasim_wish) as make:
        yield make()


@pytest.fixture
def qga_factory(
    request: pytest.FixtureRequest, qgasim_guests: "Guests", qgasim_wish: "Wish"
) -> "Iterator[Callable[..., LiveGuest]]":
    """Make guests: ``qga_factory(scenario="alpine-3.20", seed=3)``; they end with the test."""
    from qgasim.testing import node_of  # noqa: PLC0415

    with qgasim_guests.lend(node_of(request), qgasim_wish) as make:
        yield make


@pytest.fixture(scope="session")
def qga_session(request: pytest.FixtureRequest, qgasim_guests: "Guests") -> "Iterator[LiveGuest]":
    """A guest for all tests, at one path; each test that asks for it finds it as it was at first."""
    from qgasim.testing import read_wish  # noqa: PLC0415

    with qgasim_guests.lend(request.session, read_wish(request)) as make:
        live = make()
        qgasim_guests.of_session = live
        yield live


@pytest.fixture
async def qga_trio(
    request: pytest.FixtureRequest, qgasim_wish: "Wish", nursery: Any
) -> "AsyncIterator[LiveGuest]":
    """A guest in the nursery of a trio test: with `autojump_clock`, an hour takes no time."""
    from qgasim.testing import lend_in_nursery, node_of  # noqa: PLC0415

    async with lend_in_nursery(node_of(request), qgasim_wish, nursery) as live:
        yield live


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """Let the next test find the session's guest as it was at first."""
    if "qga_session" in getattr(item, "fixturenames", ()) and "qga_session" in getattr(
        item, "funcargs", {}
    ):
        item.funcargs["qga_session"].reset()  # type: ignore[attr-defined]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> "Generator[None, pytest.TestReport, pytest.TestReport]":
    """Show what the guests of a failed test were asked, and how to have them again."""
    report = yield
    has_guests = FIXTURES.intersection(getattr(item, "fixturenames", ()))
    if has_guests and call.when == "call" and call.excinfo is not None:
        from qgasim.testing import describe_guests  # noqa: PLC0415

        report.sections += describe_guests(item)
    return report
