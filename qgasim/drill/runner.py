"""Run a command against one guest after the other, several at a time."""

import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Final

import trio
from msgspec import structs

from qgasim.control.feed import Feed
from qgasim.control.guests import ControlledGuest, Guests, Start
from qgasim.control.start import serve_control
from qgasim.drill.command import Ended, run_command
from qgasim.drill.pins import pin_variations
from qgasim.drill.plan import Run
from qgasim.drill.repeat import write_test
from qgasim.drill.verdict import Result, Rules, Verdict, judge, shown_output
from qgasim.errors import QgaSimError, ScenarioError
from qgasim.findings import Finding, find
from qgasim.http.access import Access
from qgasim.qmp import MachineSettings
from qgasim.scenario import Blueprint, Scenario, loads
from qgasim.serving.listen import UnixAddress
from qgasim.simulation.journal import Note
from qgasim.testing.page import show_guest, show_test

__all__ = ["Drill"]

#: How long the guest may take to notice that its clients have left, in seconds.
_NOTICING: Final = 0.5
_NAME: Final = "guest"


class Drill:
    """A client, and how it is judged.

    Args:
        command: the program and its arguments; ``{socket}``, ``{control}`` and ``{qmp}`` in them are the
            paths of the guest's sockets.
        directory: of the sockets.
        rules: how it is judged.
        jobs: how many runs there are at a time.
        has_pages: whether results have a part of the page.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: str,
        rules: Rules,
        *,
        jobs: int = 1,
        has_pages: bool = False,
    ) -> None:
        self.command = tuple(command)
        self.rules = rules
        self._directory = directory
        self._jobs = jobs
        self._has_pages = has_pages
        self._count = 0

    async def attempt_all(
        self, runs: Iterable[Run], on_result: Callable[[Result, float], None]
    ) -> None:
        """Attempt all runs, in their order, several at a time.

        Args:
            runs: what the client is run against.
            on_result: called with each result as it comes, and the seconds since the beginning.
        """
        todo, began = iter(runs), trio.current_time()

        async def work() -> None:
            for run in todo:
                result = await self.attempt(run)
                on_result(result, trio.current_time() - began)

        async with trio.open_nursery() as nursery:
            for _ in range(self._jobs):
                nursery.start_soon(work)

    async def attempt(self, run: Run) -> Result:
        """Run the command once against a guest of its own."""
        try:
            blueprint = _make_blueprint(run.to_yaml(), run.name)
        except ScenarioError as error:
            reason = str(error).splitlines()[0]
            return Result(run=run, verdict="skipped", reason=reason)
        self._count += 1
        directory = f"{self._directory}/{self._count}"
        os.mkdir(directory, 0o700)
        try:
            async with trio.open_nursery() as nursery:
                guests = Guests(nursery, Feed(run.name), directory, lambda _name, _server: None)
                try:
                    guest = guests.add(_NAME, _start(blueprint, directory))
                    result = await self._run(run, blueprint.scenario, guests, guest, directory)
                finally:
                    guests.close()
                nursery.cancel_scope.cancel()
        except* QgaSimError as group:
            result = _tell_failed(run, group)
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        return result

    async def _run(
        self, run: Run, scenario: Scenario, guests: Guests, guest: ControlledGuest, directory: str
    ) -> Result:
        failures: list[Exception] = []
        access = Access(UnixAddress(f"{directory}/control.sock"))
        await guests.nursery.start(serve_control, guests, access, failures.append)
        places = {name: f"{directory}/{name}.sock" for name in ("socket", "control", "qmp")}
        command = [_fill(word, places) for word in self.command]
        environment = {
            "QGASIM_SOCKET": places["socket"],
            "QGASIM_CONTROL": f"unix:{places['control']}",
            "QGASIM_QMP": places["qmp"],
        }
        ended = await run_command(command, environment, "QGASIM_SOCKET", self.rules.limit)
        with trio.move_on_after(_NOTICING):
            while guest.is_connected:  # noqa: ASYNC110 - nothing tells when a conversation has ended
                await trio.sleep(0.001)
        failure = guest.simulation.agent.failure
        failures += [failure] if failure is not None else []
        return self._judge(run, scenario, guest, ended, failures)

    def _judge(
        self,
        run: Run,
        scenario: Scenario,
        guest: ControlledGuest,
        ended: Ended,
        failures: list[Exception],
    ) -> Result:
        live = guest.live
        found: list[Finding] = [] if self.rules.findings == "off" else find(live.journal)
        names = tuple(each.name for each in found)
        has_connected = any(not isinstance(e, Note) or e.connection for e in live.journal.entries)
        verdict, reason = judge(ended, names, self.rules, run, has_connected=has_connected)
        if failures:
            verdict, reason = "failed", f"a bug of qgasim, please report it: {failures[0]!r:.200}"
        result = Result(
            run=run,
            verdict=verdict,
            reason=reason,
            status=ended.status,
            seconds=ended.seconds,
            findings=names,
            report=_report(run, scenario),
            expect=scenario.expect,
            output=shown_output(ended),
        )
        if not result.is_wrong:
            return result
        said = [*(str(each) for each in found), live.journal.transcript(100)]
        page = ""
        if self._has_pages:
            shown = show_guest(live, found, write_test(run, self.command, self.rules))
            page = show_test(run.name, f"{verdict}: {reason}\n{result.output}", [shown])
        pinned = tuple(pin_variations(live.journal.exchanges))
        return structs.replace(result, transcript="\n\n".join(said), page=page, pinned=pinned)


@lru_cache(maxsize=256)
def _make_blueprint(text: str, name: str) -> Blueprint:
    """Make what a guest is made of, once for all attempts; ScenarioError: it cannot be."""
    scenario = loads(text, name)
    scenario.machine = scenario.machine or MachineSettings()
    return Blueprint(scenario)


def _tell_failed(run: Run, group: BaseExceptionGroup[QgaSimError]) -> Result:
    """Return the result of a run in which there was no guest, or no command."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    verdict: Verdict = "skipped" if isinstance(error, ScenarioError) else "failed"
    return Result(run=run, verdict=verdict, reason=str(error).splitlines()[0])


def _start(blueprint: Blueprint, directory: str) -> Start:
    return Start(
        blueprint=blueprint,
        address=UnixAddress(f"{directory}/socket.sock"),
        qmp=(UnixAddress(f"{directory}/qmp.sock"),),
    )


def _fill(word: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        word = word.replace(f"{{{name}}}", place)
    return word


def _report(run: Run, scenario: Scenario) -> str:
    """Return the field report that a run stands for, or what it is."""
    return run.about or " ".join((scenario.origin or scenario.description).split())
