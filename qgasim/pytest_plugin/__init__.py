"""The pytest plugin: guests as fixtures.

Every run of pytest imports this module, so it imports nothing of qgasim before a guest is asked for.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

import pytest

from qgasim import DEFAULT_SCENARIO

if TYPE_CHECKING:
    from qgasim.http.access import Access
    from qgasim.pytest_plugin.guests import Guests
    from qgasim.pytest_plugin.markers import GuestRequest
    from qgasim.testing.libvirt import Libvirt, LibvirtDomain
    from qgasim.testing.live import LiveGuest
    from qgasim.testing.trio_guest import TrioGuest

__all__: list[str] = []

MARKERS: Final = ("qgasim", "qgasim_matrix", "qgasim_drill")
#: The markers that run a test several times.
MULTIPLYING: Final = ("qgasim_matrix", "qgasim_drill")
FIXTURES: Final = frozenset({"qga", "qga_factory", "qga_replay", "qga_session", "qga_trio"})
#: The guests of the session, if a test has asked for one.
GUESTS: "pytest.StashKey[Guests]" = pytest.StashKey()


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("qgasim", "simulated QEMU guest agents")
    for name, metavar, text in (
        (
            "scenario",
            "FILE-or-NAME",
            f"the guest of tests that do not name one ({DEFAULT_SCENARIO})",
        ),
        ("agent", "RELEASE", "the release of qemu-ga of tests that do not name one"),
        ("seed", "N", "the seed of tests that do not name one"),
    ):
        group.addoption(f"--qgasim-{name}", metavar=metavar, default=None, help=text)
        parser.addini(f"qgasim_{name}", text, default="")
    text = "write a page with a diagram for each guest of a failed test to FILE"
    group.addoption("--qgasim-report", metavar="FILE", default=None, help=text)
    text = "write a test for each guest of a failed test, which does the same again, into DIR"
    group.addoption("--qgasim-reproduce", metavar="DIR", default=None, help=text)
    parser.addini("qgasim_reproduce", text, default="")
    text = (
        "serve the control API for the guests of the run at ADDRESS: unix:PATH or tcp:[HOST:]PORT"
    )
    group.addoption("--qgasim-control", metavar="ADDRESS", default=None, help=text)
    text = "what findings do: 'report' (they are shown), 'error' (they fail the test), 'off'"
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
    config.addinivalue_line(
        "markers",
        "qgasim_drill(scenarios=[...], tags=[...], all=, agents=[...], faults=, nemesis=, variations=, seed=, "
        "guest=, expect=[...], time=): run the test once for each guest of a drill.",
    )
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Told(config), "qgasim-told")


# -- which guest -----------------------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Check the markers, and multiply the tests that ask for it."""
    _check_markers(metafunc.definition, pytest.Collector.CollectError)
    matrix = metafunc.definition.get_closest_marker("qgasim_matrix")
    drill = metafunc.definition.get_closest_marker("qgasim_drill")
    if "qgasim_wish" not in metafunc.fixturenames:
        return
    if matrix is not None and drill is not None:
        text = "qgasim_matrix and qgasim_drill are mutually exclusive (a drill has agents=[...])"
        raise pytest.Collector.CollectError(f"{metafunc.definition.nodeid}: {text}")
    if matrix is not None:
        from qgasim.pytest_plugin.markers import read_matrix

        cases = read_matrix(matrix.kwargs)
        metafunc.parametrize("qgasim_wish", cases.values(), ids=cases.keys(), indirect=True)
    if drill is not None:
        metafunc.parametrize("qgasim_wish", _read_drill(metafunc.definition, drill), indirect=True)


def _read_drill(item: pytest.Item, drill: pytest.Mark) -> list[Any]:
    from qgasim.errors import ScenarioError
    from qgasim.pytest_plugin.drilling import read_drill

    # What a marker of the test says of findings counts more.
    is_strict = all("findings" not in marker.kwargs for marker in item.iter_markers("qgasim"))
    try:
        return read_drill(drill.kwargs, is_strict=is_strict)
    except ScenarioError as error:
        text = f"{item.nodeid}: {error}"
    raise pytest.Collector.CollectError(text)


def _check_markers(item: pytest.Item, kind: type[Exception]) -> None:
    markers = [marker for marker in item.iter_markers() if marker.name in MARKERS]
    if not markers:
        return
    from qgasim.errors import ScenarioError
    from qgasim.pytest_plugin.markers import check_marker, check_module

    node = item.nodeid
    try:
        for marker in markers:
            check_marker(marker.name, marker.args, marker.kwargs, item.path)
    except ScenarioError as error:
        lines = [f"{node}: {line}" for line in str(error).splitlines()]
    else:
        return
    if kind is pytest.Collector.CollectError:
        # Nothing more of the file is collected: all its errors are reported at once.
        try:
            check_module(item.getparent(pytest.Module).obj)  # type: ignore[union-attr]
        except ScenarioError as error:
            lines = [f"{node.partition('::')[0]}{line}" for line in str(error).splitlines()]
    raise kind("\n".join(lines))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Check the options, and the markers that `pytest_generate_tests` has not seen (of unittest)."""
    if hasattr(session.config, "workerinput"):
        # Of xdist, which takes this for a crash: there, each test is told when it begins.
        return
    is_asked_for = False
    for item in session.items:
        fixtures: Sequence[str] = getattr(item, "fixturenames", ())
        is_asked_for |= not FIXTURES.isdisjoint(fixtures)
        _check_markers(item, pytest.UsageError)
        is_multiplied = "qgasim_wish" not in fixtures or hasattr(item, "callspec")
        for name in MULTIPLYING:
            if item.get_closest_marker(name) is not None and not is_multiplied:
                text = f"@pytest.mark.{name}: pytest does not multiply tests of unittest"
                raise pytest.UsageError(f"{item.nodeid}: {text}")
    if is_asked_for:
        from qgasim.errors import QgaSimError
        from qgasim.pytest_plugin.markers import check_options

        check_options(session.config)
        try:
            _control_access(session.config)
        except QgaSimError as error:
            raise pytest.UsageError(str(error)) from None


def _control_access(config: pytest.Config) -> "Access | None":
    """Return where the guests of the run can be controlled; None: nowhere; QgaSimError: it is no such place."""
    text = config.getoption("--qgasim-control")
    if text is None:
        return None
    from qgasim.pytest_plugin.control import read_access

    return read_access(text, getattr(config, "workerinput", {}).get("workerid"))


# -- the guests ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def qgasim_guests(request: pytest.FixtureRequest) -> "Iterator[Guests]":
    """All guests of a session, in one thread."""
    # Reports, too: a test that fails for want of descriptors is told of without opening a module then.
    from qgasim.pytest_plugin import reports  # noqa: F401 # pyright: ignore[reportUnusedImport]
    from qgasim.pytest_plugin.guests import Guests

    guests = request.config.stash[GUESTS] = Guests(_control_access(request.config))
    yield guests
    del request.config.stash[GUESTS]
    guests.close()


@pytest.fixture
def qgasim_wish(request: pytest.FixtureRequest) -> "GuestRequest":
    """What the test has asked for: by markers, options and the ini file."""
    from qgasim.pytest_plugin.markers import read_wish

    with _told():
        return read_wish(request)


@contextmanager
def _told() -> Generator[None]:
    """Return what is wrong with a scenario in its own words, and no more."""
    from qgasim.errors import ScenarioError

    try:
        yield
    except ScenarioError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


@pytest.fixture
def qga(
    request: pytest.FixtureRequest, qgasim_guests: "Guests", qgasim_wish: "GuestRequest"
) -> "Iterator[LiveGuest]":
    """A guest of this test's own, on a unix socket: ``qga.socket_path``."""
    with qgasim_guests.lend(request, qgasim_wish) as make:
        with _told():
            live = make()
        yield live


@pytest.fixture
def qga_factory(
    request: pytest.FixtureRequest, qgasim_guests: "Guests", qgasim_wish: "GuestRequest"
) -> "Iterator[Callable[..., LiveGuest]]":
    """Make guests: ``qga_factory(scenario="alpine-3.20", seed=3)``; they end with the test."""
    with qgasim_guests.lend(request, qgasim_wish) as make:

        def qga_factory(**wanted: Any) -> "LiveGuest":
            return make(**wanted)

        # A call with an argument that it does not take is reported with this name.
        qga_factory.__qualname__ = "qga_factory"
        yield qga_factory


@pytest.fixture
def qga_replay(
    request: pytest.FixtureRequest, qgasim_guests: "Guests", qgasim_wish: "GuestRequest"
) -> "Iterator[Callable[..., LiveGuest]]":
    """Replay recordings: ``qga_replay("talk.jsonl", strict=True)``; they end with the test."""
    from qgasim.pytest_plugin.replaying import lend_replays

    with qgasim_guests.lend(request, qgasim_wish) as make, lend_replays(request, make) as replay:
        yield replay


@pytest.fixture(scope="session")
def qga_session(request: pytest.FixtureRequest, qgasim_guests: "Guests") -> "Iterator[LiveGuest]":
    """A guest for all tests, at one path; each test that asks for it finds it as it was at first."""
    from qgasim.pytest_plugin.markers import read_wish

    with _told():
        wish = read_wish(request)
    with qgasim_guests.lend(request, wish) as make:
        with _told():
            live = make()
        yield live


@pytest.fixture
async def qga_trio(
    request: pytest.FixtureRequest, qgasim_wish: "GuestRequest", nursery: Any
) -> "AsyncIterator[TrioGuest]":
    """A guest in the nursery of a trio test: with `autojump_clock`, an hour takes no time."""
    from qgasim.pytest_plugin.guests import lend_in_nursery

    async with lend_in_nursery(request, qgasim_wish, nursery) as live:
        yield live


@pytest.fixture(scope="session")
def qgasim_libvirtd() -> "Iterator[Libvirt]":
    """A private libvirtd; the tests that need it are skipped where libvirt is not installed."""
    import shutil

    from qgasim.serving.listen import make_directory
    from qgasim.testing.libvirt import Libvirt, find_missing

    if missing := find_missing():
        pytest.skip(f"no private libvirtd: {missing}")
    directory = make_directory("qgasim-")
    try:
        with Libvirt(directory) as libvirt:
            yield libvirt
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def qga_libvirt(
    qgasim_libvirtd: "Libvirt", qgasim_wish: "GuestRequest"
) -> "Iterator[LibvirtDomain]":
    """A running domain of a private libvirtd, with this test's guest: ``qga_libvirt.virsh("guestinfo")``."""
    from qgasim.testing.libvirt import lend_domain

    try:
        with lend_domain(qgasim_libvirtd, qgasim_wish.to_text(), qgasim_wish.agent) as domain:
            yield domain
    except RuntimeError as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None


# -- reports ---------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let no run of a drill take longer than it may."""
    drill = item.get_closest_marker("qgasim_drill")
    if drill is None:
        return (yield)
    from qgasim.pytest_plugin.drilling import limit_time

    with limit_time(drill.kwargs):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Let the next test find the session's guest as it was at first."""
    # The session's fixtures may end with this test.
    guests = item.config.stash.get(GUESTS, None)
    try:
        return (yield)
    finally:
        if guests is not None:
            guests.reset_of_session(item)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: "pytest.CallInfo[None]"
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show what the guests of a failed test were asked, and how to have them again."""
    has_guest = not FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
    shows_all = item.config.getoption("fulltrace")
    if has_guest and call.when == "call" and call.excinfo is not None and not shows_all:
        call.excinfo = _leave_out_own_code(call.excinfo)
    report = yield
    if report.failed and has_guest:
        from qgasim.pytest_plugin.reports import describe_guests, show_guests

        report.sections += describe_guests(item)
        if item.config.getoption("--qgasim-report"):
            # An attribute of a report comes from a worker of xdist, too.
            report.qgasim_page = show_guests(item, report)  # type: ignore[attr-defined]
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Release a test's guests when all is reported."""
    result = yield
    if GUESTS in item.config.stash:
        from qgasim.pytest_plugin.reports import forget_guests

        forget_guests(item)
    return result


def _leave_out_own_code(
    found: "pytest.ExceptionInfo[BaseException]",
) -> "pytest.ExceptionInfo[BaseException]":
    """Return what a test has raised with the traceback of its own code only."""
    entries: list[TracebackType] = []
    entry: TracebackType | None = found.tb
    while entry is not None:
        if not str(entry.tb_frame.f_globals.get("__name__")).startswith("qgasim."):
            entries.append(entry)
        entry = entry.tb_next
    # pytest's own filter begins with these again, so it is they that must be left out.
    shown: TracebackType | None = None
    for kept in reversed(entries):
        shown = TracebackType(shown, kept.tb_frame, kept.tb_lasti, kept.tb_lineno)
    if shown is None:
        return found
    raised = found.type, found.value, shown
    return pytest.ExceptionInfo.from_exc_info(raised)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


class Told:
    """What a run tells of guests in files: JUnit's XML, and the page of ``--qgasim-report``."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        #: By test.
        self._pages: dict[str, str] = {}
        #: The tests whose sections are in the XML.
        self._written: set[str] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the part of the page about a test; write its sections into JUnit's XML."""
        name = report.nodeid
        if page := getattr(report, "qgasim_page", ""):
            self._pages[name] = self._pages.get(name, "") + page
        if self._config.getoption("xmlpath", None):
            # What fails at the end, too, has the same guests.
            own = () if name in self._written else ("qgasim",)
            of_guests = ("Captured qgasim ", *own)
            sections = [part for part in report.sections if part[0].startswith(of_guests)]
            if sections:
                self._written.add(name)
                _write_to_junit(self._config, report, sections)
        if report.when == "teardown":
            self._written.discard(name)

    def pytest_sessionfinish(self) -> None:
        """Write the page."""
        name = self._config.getoption("--qgasim-report")
        if not name:
            return
        from qgasim.testing.page import write_page

        path = self._config.invocation_params.dir / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(write_page([*self._pages.values()]), encoding="utf-8")
        except OSError as error:
            text = f"--qgasim-report {name}: {error.strerror}"
        else:
            return
        raise pytest.UsageError(text)


def _write_to_junit(
    config: pytest.Config, report: pytest.TestReport, sections: list[tuple[str, str]]
) -> None:
    """Add sections to what the XML says a test has printed; pytest writes captured output only."""
    from xml.etree.ElementTree import Element

    from _pytest.junitxml import bin_xml_escape, xml_key

    xml = config.stash.get(xml_key, None)
    if xml is not None:
        element = Element("system-out")
        shown = (f"{f' {title} ':-^80}\n{text}\n" for title, text in sections)
        element.text = bin_xml_escape("".join(shown))
        xml.node_reporter(report).append(element)


def pytest_terminal_summary(terminalreporter: "pytest.TerminalReporter") -> None:
    """Show what clients should not have done, of the tests that did not fail for it."""
    reports = [report for some in terminalreporter.stats.values() for report in some]
    if any("qgasim" in title for report in reports for title, _ in getattr(report, "sections", ())):
        from qgasim.pytest_plugin.reports import summarise

        if lines := list(summarise(reports)):
            terminalreporter.section("qgasim findings")
            terminalreporter.write("\n".join(lines) + "\n")
