"""``qgasim``, without a command's name: serve a guest."""

import argparse
import os
import shutil
import signal
import sys
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from qgasim.cli.log import LiveLog
    from qgasim.scenario import Scenario
    from qgasim.scenario.shares import Share
    from qgasim.serving.listen import Address
    from qgasim.simulation.simulation import Simulation

from qgasim.cli.hints import ways_in
from qgasim.cli.options import serve_parser, with_options
from qgasim.cli.parser import COMMANDS, mute
from qgasim.cli.ready import check_ready_fd, write_ready

__all__ = ["serve"]


def serve(arguments: list[str]) -> int:
    """Serve a guest until SIGINT or SIGTERM."""
    # Only now: `qgasim --help` should not wait for it.
    from qgasim.scenario import load
    from qgasim.serving.listen import UnixAddress, parse_address

    parser = serve_parser()
    options, rest = parser.parse_known_args(arguments)
    if rest:
        _refuse(parser, rest)
    address = None
    if options.listen is not None:
        try:
            address = parse_address(options.listen)
        except ValueError as error:
            parser.error(f"--listen: {error}")
    check_ready_fd(options.ready_fd)
    scenario = load(options.scenario)
    if scenario.fleet:
        if not isinstance(address, UnixAddress | None):
            parser.error("--listen: a fleet has a socket for each guest (expected unix:DIRECTORY)")
        if options.share:
            parser.error("--share: a fleet shares no folders (serve one guest, as in NAME#GUEST)")
        if address is not None:
            return _serve_fleet(options, scenario, address.path)
        with _directory() as directory:
            return _serve_fleet(options, scenario, directory)
    if address is not None:
        return _serve_at(options, scenario, address)
    with _directory() as directory:
        return _serve_at(options, scenario, UnixAddress(f"{directory}/qga.sock"))


@contextmanager
def _directory() -> Generator[str]:
    """Yield a new directory for sockets; it is removed at the end, with everything in it."""
    from qgasim.serving.listen import make_directory

    # The server takes signals; one that comes before that must not leave the directory behind.
    before = {number: signal.signal(number, _end) for number in (signal.SIGTERM, signal.SIGHUP)}
    directory = make_directory("qgasim-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _refuse(parser: argparse.ArgumentParser, words: list[str]) -> NoReturn:
    """Refuse words that no option takes; suggest what was meant."""
    from qgasim.scenario import library
    from qgasim.suggestions import did_you_mean

    word = words[0]
    if word.startswith("-"):
        parser.error(f"unrecognized arguments: {' '.join(words)}")
    if word in COMMANDS:
        parser.error(f"a command comes first, its options after it, as in qgasim {word} --help")
    if word in library() or word.endswith((".yaml", ".yml")):
        parser.error(f"no such command: '{word}' (did you mean '--scenario {word}'?)")
    parser.error(f"no such command: '{word}'{did_you_mean(word, COMMANDS)}")


def _serve_fleet(options: argparse.Namespace, scenario: "Scenario", directory: str) -> int:
    from qgasim.cli.fleet import serve_fleet

    for guest in scenario.fleet.values():
        with_options(guest, options)
    log = _open_log(options)
    with log:
        serve_fleet(options, scenario, directory, log)
    return 0


def _open_log(options: argparse.Namespace) -> "LiveLog":
    from qgasim.cli.log import LiveLog

    return LiveLog(
        options.log, in_full=options.verbose, is_quiet=options.quiet, layout=options.log_format
    )


def _serve_at(options: argparse.Namespace, scenario: "Scenario", address: "Address") -> int:
    from qgasim.scenario.shares import parse_share
    from qgasim.serving.foreground import run

    scenario = with_options(scenario, options)
    shares = [parse_share(text) for text in options.share]
    simulation = scenario.build(shares=shares)
    log = _open_log(options)
    log.observe(simulation)

    def on_ready(address: "Address") -> None:
        if options.ready_fd is not None:
            write_ready(options.ready_fd, _describe(simulation, scenario.seed, address))
        lines = _introduce(simulation, scenario.seed, address, shares)
        # The standard output may be the client's.
        file = sys.stderr if options.listen == "stdio" else sys.stdout
        if file is None:  # closed; print() would take the standard output
            return
        try:
            print("\n".join(lines), flush=True, file=file)
        except OSError:
            mute()

    with log:
        run(
            simulation,
            address,
            on_ready,
            ends_with_parent=options.exit_with_parent,
            tells_waiting=bool(log.outputs),
        )
    return 0


def _describe(simulation: "Simulation", seed: int, address: "Address") -> dict[str, object]:
    """Return the ready line."""
    agent = simulation.agent
    return {
        "address": str(address),
        "path": getattr(address, "path", None),
        "pid": os.getpid(),
        "agent": agent.dialect.full_version,
        "hostname": agent.guest.hostname,
        "seed": seed,
    }


def _introduce(
    simulation: "Simulation", seed: int, address: "Address", shares: "Iterable[Share]"
) -> list[str]:
    """Return the lines for the terminal: what is served, where, and how to try it."""
    agent = simulation.agent
    lines = [
        f"qemu-ga {agent.dialect.full_version} in guest {agent.guest.hostname!r}, seed {seed}",
        f"listening on {address}",
    ]
    lines += [f"sharing {share.host} as {share.guest}" for share in shares]
    return lines + ways_in(address)
