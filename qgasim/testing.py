"""What the pytest plugin does when a test asks for a guest."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any, Final

import pytest
from msgspec import Struct, field, structs

from qgasim.channel import Channel
from qgasim.dialect import find_dialect
from qgasim.errors import ScenarioError
from qgasim.findings import find
from qgasim.guest.clock import SteeredClock
from qgasim.live import LiveGuest
from qgasim.scenario import Blueprint, find_scenario, library, loads
from qgasim.scenario.checks import did_you_mean
from qgasim.server import Server
from qgasim.threads import Host

__all__ = [
    "Guests",
    "Wish",
    "check_marker",
    "describe_guests",
    "lend_in_nursery",
    "node_of",
    "read_matrix",
    "read_wish",
]

SCENARIO: Final = "debian-12"
_OVERRIDES: Final = ("guest", "replies", "faults", "timeline", "nemesis")
_KEYS: Final = ("scenario", "agent", "channel", "seed", "findings", *_OVERRIDES)
_MATRIX_KEYS: Final = ("agents", "scenarios")
_FINDINGS: Final = ("report", "error", "off")
#: The guests that a test had, each with the command that serves such a one.
GUESTS: Final = pytest.StashKey[list[tuple[LiveGuest, str]]]()


class Wish(Struct, frozen=True, kw_only=True):
    """Which guest a test wants."""

    scenario: str = SCENARIO
    agent: str | None = None
    channel: str | None = None
    seed: int | None = None
    findings: str = "report"
    #: Keys of a scenario, laid over those of *scenario*.
    overrides: dict[str, Any] = field(default_factory=dict[str, Any])

    def to_text(self) -> str:
        """Write it as a scenario."""
        written: dict[str, Any] = {"extends": self.scenario, **self.overrides}
        agent = {"release": self.agent, "channel": self.channel}
        if given := {name: value for name, value in agent.items() if value is not None}:
            written["agent"] = given
        if self.seed is not None:
            written["seed"] = self.seed
        return json.dumps(written)

    def to_command(self) -> str:
        """Give the command that serves such a guest; what the test lays over it comes after it."""
        parts = ["qgasim", "--scenario", self.scenario]
        for name in ("agent", "channel", "seed"):
            value = getattr(self, name)
            if value is not None:
                parts += [f"--{name}", str(value)]
        if self.overrides:
            parts.append(f" # with {json.dumps(self.overrides)}")
        return " ".join(parts)


@lru_cache(maxsize=256)
def _blueprint(text: str) -> Blueprint:
    try:
        return Blueprint(loads(text, "@pytest.mark.qgasim"))
    except ScenarioError as error:
        pytest.fail(str(error), pytrace=False)


# -- markers, options, the ini file ----------------------------------------------------------------


def check_marker(name: str, arguments: tuple[Any, ...], settings: Mapping[str, Any]) -> None:
    """Refuse a marker that says what nobody reads.

    Raises:
        pytest.UsageError: says what, and what was meant.
    """
    known = _KEYS if name == "qgasim" else _MATRIX_KEYS
    if arguments:
        raise pytest.UsageError(f"@pytest.mark.{name} takes keywords only, as in {known[0]}=...")
    for key in settings:
        if key not in known:
            raise pytest.UsageError(
                f"@pytest.mark.{name}: no such key '{key}'{did_you_mean(key, known)}"
            )
    findings = settings.get("findings", "report")
    if findings not in _FINDINGS:
        raise pytest.UsageError(
            f"@pytest.mark.{name}: findings={findings!r} (expected one of {', '.join(_FINDINGS)})"
        )
    for release in [settings.get("agent"), *settings.get("agents", [])]:
        if release is not None and find_dialect(str(release)) is None:
            raise pytest.UsageError(f"@pytest.mark.{name}: no such release of qemu-ga: '{release}'")


def read_matrix(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Give what each run of a test wants besides, by the run's name."""
    agents: list[str | None] = [str(agent) for agent in settings.get("agents", [])]
    scenarios: list[str | None] = list(settings.get("scenarios", []))
    return {
        "-".join(part for part in (agent, scenario) if part) or "default": {
            name: value
            for name, value in (("agent", agent), ("scenario", scenario))
            if value is not None
        }
        for agent, scenario in product(agents or [None], scenarios or [None])
    }


def node_of(request: pytest.FixtureRequest) -> Any:
    """Give the test, or what else asks for a fixture."""
    return request.node  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]


def read_wish(request: pytest.FixtureRequest) -> Wish:
    """Give what a test wants: its marker counts most, then the options, then the ini file.

    Raises:
        pytest.UsageError: it wants what cannot be.
    """
    config = request.config
    wanted: dict[str, Any] = {}
    for name in ("scenario", "agent", "seed"):
        wanted[name] = config.getoption(f"--qgasim-{name}") or config.getini(f"qgasim_{name}")
    wanted["findings"] = config.getini("qgasim_findings")
    # From the module's marker to the test's own.
    markers: list[pytest.Mark] = (
        [] if request.scope == "session" else list(node_of(request).iter_markers("qgasim"))
    )
    for marker in reversed(markers):
        wanted |= marker.kwargs
    wanted |= getattr(request, "param", {})
    wanted = {name: value for name, value in wanted.items() if value not in (None, "")}
    if wanted["findings"] not in _FINDINGS:
        raise pytest.UsageError(f"qgasim_findings = {wanted['findings']} (expected {_FINDINGS})")
    node = getattr(node_of(request), "path", None)
    return make_wish(wanted, beside=None if request.scope == "session" else node)


def make_wish(wanted: dict[str, Any], *, beside: Path | None = None) -> Wish:
    """Give a wish; the scenario's path is relative to the file *beside*, or to the working directory."""
    scenario = str(wanted.get("scenario", SCENARIO))
    if scenario not in library():
        with contextlib.suppress(ScenarioError):
            scenario = str(find_scenario(scenario, beside).resolve())
    try:
        seed = None if wanted.get("seed") is None else int(wanted["seed"])
    except ValueError:
        raise pytest.UsageError(f"--qgasim-seed: not a number: '{wanted['seed']}'") from None
    agent = wanted.get("agent")
    return Wish(
        scenario=scenario,
        agent=None if agent is None else str(agent),
        channel=wanted.get("channel"),
        seed=seed,
        findings=wanted.get("findings", "report"),
        overrides={name: wanted[name] for name in _OVERRIDES if name in wanted},
    )


# -- guests ----------------------------------------------------------------------------------------


class Guests:
    """The guests of a test session: one thread, one directory of sockets."""

    def __init__(self) -> None:
        self._host = Host()
        # Short: the path of a unix socket has 107 bytes at most.
        self._directory = tempfile.mkdtemp(prefix="qga-")
        self._owner = os.getpid()
        self._count = 0
        #: Who serves each guest: one at a time.
        self._servers: dict[LiveGuest, list[Server]] = {}
        #: The guest of `qga_session`, if there is one.
        self.of_session: LiveGuest | None = None

    def close(self) -> None:
        """Stop serving; a process that a test has forked leaves that to its parent."""
        if os.getpid() == self._owner:
            self._host.close()
            shutil.rmtree(self._directory, ignore_errors=True)

    @contextlib.contextmanager
    def lend(
        self, node: pytest.Item | pytest.Session, wish: Wish
    ) -> Generator[Callable[..., LiveGuest]]:
        """Give what makes guests for a test; they end with it."""
        made: list[LiveGuest] = []

        def make(**wanted: Any) -> LiveGuest:
            if wanted:
                check_marker("qgasim", (), wanted)
                own = make_wish({**_wanted_of(wish), **wanted})
                overrides = {**wish.overrides, **own.overrides}
                live = self._make(structs.replace(own, overrides=overrides))
            else:
                live = self._make(wish)
            made.append(live)
            node.stash.setdefault(GUESTS, []).append((live, wish.to_command()))
            return live

        try:
            yield make
        finally:
            if os.getpid() == self._owner:
                left = [text for live in made for text in self._end(live)]
                _judge(node, wish, made, left)

    def _make(self, wish: Wish) -> LiveGuest:
        self._count += 1
        path = f"{self._directory}/{self._count}"
        servers: list[Server] = []

        def serve(channel: Channel) -> str:
            if servers:
                self._host.stop(servers.pop())
            servers.append(self._host.serve(channel, path))
            return path

        def call(function: Callable[[], Any]) -> Any:
            return self._host.call(servers[0], function)

        live = LiveGuest(_blueprint(wish.to_text()), SteeredClock(), call, serve)
        self._servers[live] = servers
        return live

    def _end(self, live: LiveGuest) -> Iterator[str]:
        """Stop serving a guest; tell what was left."""
        (server,) = self._servers.pop(live)
        if server.has_client:
            yield f"{live.socket_path}: a client is still connected"
        if not self._host.stop(server):
            yield f"{live.socket_path}: the guest did not end"


def describe_guests(item: pytest.Item) -> list[tuple[str, str]]:
    """Give the sections of a failed test's report: what its guests were asked last."""
    none: list[tuple[LiveGuest, str]] = []
    made = item.stash.get(GUESTS, none) or item.session.stash.get(GUESTS, none)
    return [
        (f"qgasim {live.socket_path}", f"{live.describe()}\nto have it again: {command}")
        for live, command in made
    ]


def _wanted_of(wish: Wish) -> dict[str, Any]:
    return {name: getattr(wish, name) for name in ("scenario", "agent", "channel", "seed")}


def _judge(
    node: pytest.Item | pytest.Session, wish: Wish, made: list[LiveGuest], left: list[str]
) -> None:
    """Report what was left behind and found; fail the test if it asks for that."""
    found = [] if wish.findings == "off" else [f for live in made for f in find(live.journal)]
    if isinstance(node, pytest.Item):
        if left:
            node.add_report_section("teardown", "qgasim left", "\n".join(left))
        if found:
            text = "\n\n".join(map(str, found))
            node.add_report_section("teardown", "qgasim findings", text)
    if found and wish.findings == "error":
        text = "\n\n".join(map(str, found))
        pytest.fail(f"the client should not have done this:\n{text}", pytrace=False)


@contextlib.asynccontextmanager
async def lend_in_nursery(node: pytest.Item, wish: Wish, nursery: Any) -> AsyncGenerator[LiveGuest]:
    """Serve a guest in a test's own nursery, on the clock of its trio."""
    import trio  # noqa: PLC0415

    from qgasim.server import serve as serve_forever  # noqa: PLC0415

    directory = tempfile.mkdtemp(prefix="qga-")
    path = f"{directory}/s"
    scope = trio.CancelScope()
    try:
        live = LiveGuest(
            _blueprint(wish.to_text()),
            SteeredClock(lambda: int(trio.current_time() * 1e9)),
            lambda function: function(),
            lambda _: path,
        )

        async def run(task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            with scope:
                await serve_forever(live.channel, path, task_status=task_status)

        server: Server = await nursery.start(run)
        node.stash.setdefault(GUESTS, []).append((live, wish.to_command()))

        def call(function: Callable[[], Any]) -> Any:
            try:
                return function()
            finally:
                server.poke()

        live.call = call
        yield live
        _judge(node, wish, [live], [])
    finally:
        scope.cancel()
        shutil.rmtree(directory, ignore_errors=True)
