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
    from qgasim.scenario import Scenario
    from qgasim.scenario.shares import Share
    from qgasim.serving.listen import Address, SocketAddress
    from qgasim.serving.server import Server
    from qgasim.simulation.simulation import Simulation

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
    qmp = [_parse_qmp(parser, text) for text in options.qmp]
    check_ready_fd(options.ready_fd)
    scenario = load(options.scenario)
    if scenario.fleet:
        if not isinstance(address, UnixAddress | None):
            parser.error("--listen: a fleet has a socket for each guest (expected unix:DIRECTORY)")
        if qmp:
            parser.error("--qmp: a fleet has no monitors (serve one guest, as in NAME#GUEST)")
        if options.share:
            parser.error("--share: a fleet shares no folders (serve one guest, as in NAME#GUEST)")
        if address is not None:
            return _serve_fleet(options, scenario, address.path)
        with _directory() as directory:
            return _serve_fleet(options, scenario, directory)
    if address is not None:
        return _serve_at(options, scenario, address, qmp)
    with _directory() as directory:
        return _serve_at(options, scenario, UnixAddress(f"{directory}/qga.sock"), qmp)


def _parse_qmp(parser: argparse.ArgumentParser, text: str) -> "SocketAddress":
    from qgasim.serving.listen import Stdio, parse_address

    try:
        address = parse_address(text)
    except ValueError as error:
        parser.error(f"--qmp: {error}")
    if isinstance(address, Stdio):
        parser.error("--qmp: stdio is the agent's (expected unix:PATH, tcp:[HOST:]PORT)")
    return address


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
    from qgasim.cli.log import LiveLog

    for guest in scenario.fleet.values():
        with_options(guest, options)
    log = LiveLog(options.log, in_full=options.verbose, is_quiet=options.quiet)
    with log:
        serve_fleet(options, scenario, directory, log)
    return 0


def _serve_at(
    options: argparse.Namespace,
    scenario: "Scenario",
    address: "Address",
    qmp: "list[SocketAddress]",
) -> int:
    from qgasim.cli.log import LiveLog
    from qgasim.scenario.shares import parse_share
    from qgasim.serving.foreground import run

    scenario = with_options(scenario, options)
    shares = [parse_share(text) for text in options.share]
    simulation = scenario.build(shares=shares)
    log = LiveLog(options.log, in_full=options.verbose, is_quiet=options.quiet)
    simulation.observe(log.observer())

    def on_ready(server: "Server") -> None:
        address = server.address
        if options.ready_fd is not None:
            line = _describe(simulation, scenario.seed, address)
            if server.qmp_addresses:
                line["qmp"] = [str(each) for each in server.qmp_addresses]
            write_ready(options.ready_fd, line)
        lines = _introduce(simulation, scenario.seed, address, shares)
        lines[2:2] = [f"monitor (QMP) on {each}" for each in server.qmp_addresses]
        # The standard output may be the client's.
        file = sys.stderr if options.listen == "stdio" else sys.stdout
        if file is None:  # closed; print() would take the standard output
            return
        try:
            print("\n".join(lines), flush=True, file=file)
        except OSError:
            mute()

    with log:
        run(simulation, address, on_ready, qmp=qmp, ends_with_parent=options.exit_with_parent)
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
    from qgasim.serving.listen import UnixAddress

    agent = simulation.agent
    lines = [
        f"qemu-ga {agent.dialect.full_version} in guest {agent.guest.hostname!r}, seed {seed}",
        f"listening on {address}",
    ]
    lines += [f"sharing {share.host} as {share.guest}" for share in shares]
    if isinstance(address, UnixAddress):
        lines += [
            f"try: qgasim call {address} guest-info",
            f"""or:  echo '{{"execute":"guest-ping"}}' | socat -t1 - unix-connect:{address}""",
        ]
    return lines
