"""``qgasim drill``: run a client against everything that ever went wrong."""

import argparse
import os
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from msgspec import structs

from qgasim import DEFAULT_SCENARIO
from qgasim.cli.parser import Parser
from qgasim.cli.text import complain, readable
from qgasim.errors import QgaSimError, ScenarioError

if TYPE_CHECKING:
    from qgasim.drill import Drill, Minimal, Result, Rules, Run

__all__ = ["drill"]

#: The exit status if the client failed somewhere, and after a signal.
_WRONG: Final = 1
_INTERRUPTED: Final = 130
#: How many runs one option may ask for.
_MOST: Final = 100_000
_JOBS: Final = 256
#: How many runs that went wrong the report shows in full.
_TOLD: Final = 1000

_EPILOG: Final = """\
COMMAND is run once for each guest. It finds the guest's sockets in {socket}, {control} and {qmp}, and in the
environment variables QGASIM_SOCKET, QGASIM_CONTROL and QGASIM_QMP. An exit status of 0 means success.

verdicts:
  ok          exit status 0, and no misbehaviour
  failed      another exit status, or it never connected to its guest
  hung        it did not end in time, and was killed
  misbehaved  it left the guest frozen, did not synchronise, ... (docs/findings.md), or left processes running
  expected    it failed, as --expect says
  unexpected  it succeeded, although --expect says that it fails
  skipped     there is no such guest with this release

exit status:
  0  no run went wrong    1  a run went wrong    2  wrong usage    130  interrupted
"""


def drill(arguments: list[str]) -> int:
    """Run a client against guests; return 1 if it fails where it should not."""
    words = arguments[: arguments.index("--")] if "--" in arguments else arguments
    command = arguments[len(words) + 1 :]
    parser = _make_parser()
    options = parser.parse_args(words)
    if not command:
        parser.error("expected a command behind --, as in qgasim drill --all -- ./client {socket}")
    if shutil.which(command[0]) is None:
        raise QgaSimError(f"{readable(command[0])}: there is no such program")
    limit, shrink_time = _seconds(options.time, "--time"), 0.0
    if options.shrink_time != "0":
        shrink_time = _seconds(options.shrink_time, "--shrink-time")

    from qgasim.drill import Rules, Selection, plan

    runs = plan(
        Selection(
            scenarios=tuple(options.scenarios),
            tags=tuple(options.tag),
            is_all=options.all,
            agents=tuple(options.agents),
            faults=options.faults,
            nemesis=options.nemesis,
            variations=options.variations,
            seed=options.seed,
            guest=options.guest,
        )
    )
    rules = Rules(limit=limit, findings=options.findings, expect=tuple(options.expect))
    return _Session(options, command, runs, rules, shrink_time).run()


def _make_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="qgasim drill",
        usage="qgasim drill [OPTION ...] -- COMMAND [ARGUMENT ...]",
        description="Run a client against many guests in turn, each with a problem of its own.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_selection(parser)
    _add_judgement(parser)
    _add_output(parser)
    return parser


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _names_or_file(text: str) -> list[str]:
    """Read names, or ``@FILE`` with a name on each line; a line that begins with ``#`` is a comment."""
    if not text.startswith("@"):
        return _names(text)
    try:
        with open(text[1:], encoding="utf-8") as file:
            lines = file.read(1 << 20).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8"
        raise argparse.ArgumentTypeError(f"{text[1:]}: {reason}") from None
    # A guest of a fleet has a # in its name.
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _number(most: int, least: int = 0) -> Callable[[str], int]:
    def read(text: str) -> int:
        number = int(text) if text.lstrip("-").isdecimal() and len(text) < 20 else None
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(
                f"expected a number from {least} to {most}, found {text!r}"
            )
        return number

    return read


def _add_selection(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("guests to run it against")
    for name, metavar, text in (
        ("scenarios", "A,B", "scenarios by name (* and ? are wildcards), or files"),
        ("tag", "A,B", "scenarios with any of these tags"),
        ("agents", "A,B", "releases of qemu-ga: repeat every run with each"),
    ):
        group.add_argument(
            f"--{name}", metavar=metavar, type=_names, action="extend", default=[], help=text
        )
    group.add_argument("--all", action="store_true", help="all bundled scenarios")
    group.add_argument(
        "--faults",
        action="store_true",
        help="each kind of fault, on the first request and on every request",
    )
    for name, text in (
        ("nemesis", "N runs with random faults"),
        ("variations", "N runs with unusual replies that the schema allows"),
    ):
        group.add_argument(f"--{name}", metavar="N", type=_number(_MOST), default=0, help=text)
    group.add_argument(
        "--seed",
        metavar="N",
        type=_number(1 << 62),
        default=0,
        help="the seed of the first of these runs; each further run has the next number (default: 0)",
    )
    group.add_argument(
        "--guest",
        metavar="FILE-or-NAME",
        default=DEFAULT_SCENARIO,
        help=f"the scenario to which --faults, --nemesis and --variations are added (default: {DEFAULT_SCENARIO})",
    )


def _add_judgement(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("verdicts")
    group.add_argument(
        "--time", metavar="T", default="60s", help="how long each run may take (default: 60s)"
    )
    group.add_argument(
        "--expect",
        metavar="A,B|@FILE",
        type=_names_or_file,
        action="extend",
        default=[],
        help="runs that are expected to fail (* and ? are wildcards); @FILE has one per line",
    )
    group.add_argument(
        "--findings",
        choices=["error", "report", "off"],
        default="error",
        help="misbehaviour of a client fails the run, is only reported, or is not looked for (default: error)",
    )
    group.add_argument(
        "--shrink-time",
        metavar="T",
        default="60s",
        help="how long to look for the few faults that matter in a failing run of --nemesis or --variations; "
        "0: not at all (default: 60s)",
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("running and reporting")
    group.add_argument(
        "-j",
        "--jobs",
        metavar="N",
        type=_number(_JOBS, 1),
        default=len(os.sched_getaffinity(0)),
        help="how many runs to do at a time (default: one per processor)",
    )
    group.add_argument("--junit", metavar="FILE", help="write the results as JUnit XML")
    group.add_argument("--html", metavar="FILE", help="write a page with a diagram of each failure")
    group.add_argument(
        "--failures",
        metavar="DIRECTORY",
        default=".",
        help="where to write FAIL-*.yaml, a scenario for each run that went wrong (default: .)",
    )


def _seconds(text: str, option: str) -> float:
    from qgasim.guest.units import SECOND, Duration
    from qgasim.scenario import read_value

    # A number of seconds is written without quotes in a scenario.
    try:
        value: object = float(text)
    except ValueError:
        value = text
    seconds = read_value(value, Duration, option) / SECOND
    if not 0 < seconds <= 86400:
        raise ScenarioError(f"{option}: expected above 0 and at most a day, found {text!r}")
    return float(seconds)


class _Session:
    """All runs of a drill: progress while they run, and reports at the end."""

    def __init__(
        self,
        options: argparse.Namespace,
        command: list[str],
        runs: "list[Run]",
        rules: "Rules",
        shrink_time: float,
    ) -> None:
        self._options = options
        self._command = command
        self._runs = runs
        self._rules = rules
        self._shrink_time = shrink_time
        self._results: list[Result] = []
        self._minimal: dict[str, Minimal] = {}
        self._wrong = 0
        self._is_done = False
        self._has_terminal = sys.stderr is not None and sys.stderr.isatty()

    def run(self) -> int:
        """Run all, show and write what came of it, and return the exit status."""
        from qgasim.drill.leftovers import adopting_orphans
        from qgasim.serving.foreground import run_until_signal
        from qgasim.serving.listen import make_directory

        os.makedirs(self._options.failures, exist_ok=True)
        for path in (self._options.junit, self._options.html):
            if path is not None:
                # A file that cannot be written is reported now, and not after all runs.
                _write(path, b"")
        directory = make_directory("qgasim-")
        try:
            with adopting_orphans():
                run_until_signal(lambda _: self._attempt(directory))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            self._say("")
        order = {run.name: number for number, run in enumerate(self._runs)}
        self._results.sort(key=lambda result: order[result.run.name])
        self._show()
        self._write()
        if not self._is_done:
            return _INTERRUPTED
        return _WRONG if any(result.is_wrong for result in self._results) else 0

    async def _attempt(self, directory: str) -> None:
        from qgasim.drill import Drill
        from qgasim.drill.report import tell_progress

        options = self._options
        has_pages = options.html is not None
        drill = Drill(self._command, directory, self._rules, jobs=options.jobs, has_pages=has_pages)

        def note(result: "Result", elapsed: float) -> None:
            self._results.append(self._shorten(result))
            self._say(tell_progress(self._results, len(self._runs), elapsed))

        await drill.attempt_all(self._runs, note)
        if self._shrink_time:
            await self._shrink(drill)
        self._is_done = True

    def _shorten(self, result: "Result") -> "Result":
        """Let go of what is not told of a result: a drill may have very many."""
        self._wrong += result.is_wrong
        if result.is_wrong and self._wrong <= _TOLD:
            return result
        return structs.replace(result, output="", transcript="", page="", pinned=())

    async def _shrink(self, drill: "Drill") -> None:
        from qgasim.drill import minimise

        left = self._shrink_time
        for result in [result for result in self._results if result.is_wrong]:
            if left <= 0:
                break
            self._say(f"shrinking {result.run.name}")
            minimal, took = await minimise(drill, result, left)
            left -= took
            if minimal is not None:
                self._minimal[result.run.name] = minimal

    def _say(self, text: str) -> None:
        """Replace the line of the progress, if there is a terminal."""
        if self._has_terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)

    def _show(self) -> None:
        from qgasim.drill.report import show_minimal, summarise, write_table

        print(write_table(self._results))
        for result in self._results:
            if minimal := self._minimal.get(result.run.name):
                print(f"\n{show_minimal(result, minimal, self._command, self._rules)}")
        print(f"\n{summarise(self._results)}")
        if not self._is_done:
            left = len(self._runs) - len(self._results)
            what = f"{left} of {len(self._runs)} runs left out" if left else "not all was shrunk"
            complain(f"interrupted: {what}")

    def _write(self) -> None:
        from qgasim.drill.repeat import file_name, write_file
        from qgasim.drill.report import write_junit
        from qgasim.testing.page import write_page

        options = self._options
        written: list[str] = []
        for result in self._results:
            if result.is_wrong:
                name = file_name(result.run)
                path = name if options.failures == "." else os.path.join(options.failures, name)
                minimal = self._minimal.get(result.run.name)
                run = result.run if minimal is None else minimal.run
                _write(path, write_file(result, run, self._command, path, self._rules).encode())
                written.append(path)
        if written:
            more = f" and {len(written) - 1} more" if len(written) > 1 else ""
            print(f"wrote {written[0]}{more}, with the command that repeats each")
        if options.junit is not None:
            _write(options.junit, write_junit(self._results))
        if options.html is not None:
            pages = [result.page for result in self._results if result.page]
            _write(options.html, write_page(pages).encode())


def _write(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)
