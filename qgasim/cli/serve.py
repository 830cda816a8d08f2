"""``qgasim``, without a command's name: serve a guest."""

import argparse
import errno
import fcntl
import json
import os
import shutil
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from qgasim.scenario import Scenario
    from qgasim.serving.listen import Address

from qgasim import DEFAULT_SCENARIO, __version__
from qgasim.cli.parser import COMMANDS, Parser, mute
from qgasim.cli.text import LOG_WIDTH

__all__ = ["serve", "serve_parser", "with_options", "write_ready"]

_EPILOG: Final = """\
other commands (--help tells more of each):
  qgasim call SOCKET COMMAND [key=value ... | JSON]   ask an agent, simulated or real
  qgasim compare SOCKET                               say where a real agent and qgasim differ
  qgasim scenarios [--search WORD]                    list the scenarios that come with qgasim
  qgasim init [FILE]                                  write a scenario to start from
  qgasim check FILE...                                say all that is wrong with scenarios
  qgasim show FILE-or-NAME                            print a scenario with nothing left open
  qgasim schema                                       print the JSON Schema of scenarios
"""


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def serve_parser() -> argparse.ArgumentParser:
    """Make the parser of the options with which a guest is served."""
    parser = Parser(
        prog="qgasim",
        description="Serve a simulated QEMU guest agent, on a unix socket if nothing else is said,\n"
        "until SIGINT (Ctrl-C) or SIGTERM.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario",
        metavar="FILE-or-NAME",
        default=DEFAULT_SCENARIO,
        help=f"the guest to serve, or a fleet of several; NAME#GUEST is one of a fleet "
        f"(default: {DEFAULT_SCENARIO})",
    )
    parser.add_argument(
        "--listen",
        metavar="ADDRESS",
        help="where to listen: unix:PATH, tcp:[HOST:]PORT, vsock:CID:PORT or stdio "
        "(default: a unix socket in a new temporary directory); a fleet: unix:DIRECTORY",
    )
    parser.add_argument(
        "--agent",
        metavar="RELEASE",
        help="release of qemu-ga, as in 7.2, 7.2.22 or latest (default: the scenario's)",
    )
    parser.add_argument(
        "--channel",
        choices=["virtio-serial", "isa-serial", "unix-listen", "vsock-listen"],
        help="what lies between client and agent (default: the scenario's)",
    )
    parser.add_argument(
        "--block-rpcs",
        metavar="A,B",
        type=_names,
        help="commands that the agent refuses (default: the scenario's)",
    )
    parser.add_argument(
        "--allow-rpcs",
        metavar="A,B",
        type=_names,
        help="the only commands that it does not refuse (default: the scenario's)",
    )
    parser.add_argument(
        "--fsfreeze-hook",
        metavar="PATH",
        help="the guest's script to run at freeze and thaw (default: the scenario's)",
    )
    parser.add_argument(
        "--share",
        metavar="HOST_DIR=GUEST_DIR",
        action="append",
        default=[],
        help="let the guest have a folder of this machine, to read and to write (can be repeated)",
    )
    parser.add_argument(
        "--seed",
        metavar="N",
        type=int,
        help="seed of all that is made up (default: the scenario's)",
    )
    parser.add_argument(
        "--log", metavar="FILE", help="append requests and replies to FILE (default: none)"
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help=f"show requests and replies in full, not just {LOG_WIDTH} bytes of each",
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="do not show requests and replies; the log has them all the same",
    )
    parser.add_argument(
        "--ready-fd",
        metavar="N",
        type=int,
        help="write a line of JSON to this file descriptor when clients can connect",
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="end when the process that started it ends"
    )
    parser.add_argument("--version", action="version", version=f"qgasim {__version__}")
    return parser


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
    _check_ready_fd(options.ready_fd)
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
    """Have a directory for sockets, which goes with all that is in it."""
    from qgasim.serving.listen import make_directory

    # Who serves takes signals; one that comes before that must not leave the directory behind.
    before = signal.signal(signal.SIGTERM, _end)
    directory = make_directory("qgasim-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        signal.signal(signal.SIGTERM, before)


def _end(number: int, _frame: object) -> NoReturn:
    sys.exit(128 + number)


def _refuse(parser: argparse.ArgumentParser, words: list[str]) -> NoReturn:
    """Refuse what nobody reads, and say what was meant."""
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


def _check_ready_fd(number: int | None) -> None:
    from qgasim.errors import QgaSimError

    if number is not None:
        try:
            mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
        except (OSError, OverflowError):
            raise QgaSimError(f"--ready-fd {number}: {os.strerror(errno.EBADF)}") from None
        if mode == os.O_RDONLY:
            raise QgaSimError(f"--ready-fd {number}: it is open for reading only")


def write_ready(number: int, line: dict[str, Any]) -> None:
    """Write what clients want to know to a file descriptor."""
    # Who asked may have gone, as who reads the ready lines may.
    with suppress(OSError):
        os.write(number, json.dumps(line).encode() + b"\n")


def _serve_fleet(options: argparse.Namespace, scenario: "Scenario", directory: str) -> int:
    from qgasim.cli.fleet import serve_fleet
    from qgasim.cli.log import LiveLog

    for guest in scenario.fleet.values():
        with_options(guest, options)
    log = LiveLog(options.log, in_full=options.verbose, is_quiet=options.quiet)
    with log:
        serve_fleet(options, scenario, directory, log.observer if log.outputs else None)
    return 0


def _serve_at(options: argparse.Namespace, scenario: "Scenario", address: "Address") -> int:
    from qgasim.cli.log import LiveLog
    from qgasim.scenario.shares import parse_share
    from qgasim.serving.foreground import run
    from qgasim.serving.listen import UnixAddress

    scenario = with_options(scenario, options)
    shares = [parse_share(text) for text in options.share]
    simulation = scenario.build(shares=shares)
    log = LiveLog(options.log, in_full=options.verbose, is_quiet=options.quiet)
    if log.outputs:
        simulation.observe(log.observer())

    def on_ready(address: "Address") -> None:
        agent = simulation.agent
        if options.ready_fd is not None:
            path = address.path if isinstance(address, UnixAddress) else None
            line = {
                "address": str(address),
                "path": path,
                "pid": os.getpid(),
                "agent": agent.dialect.full_version,
                "hostname": agent.guest.hostname,
                "seed": scenario.seed,
            }
            write_ready(options.ready_fd, line)
        lines = [
            f"qemu-ga {agent.dialect.full_version} in guest {agent.guest.hostname!r}, seed {scenario.seed}",
            f"listening on {address}",
        ]
        lines += [f"sharing {share.host} as {share.guest}" for share in shares]
        if isinstance(address, UnixAddress):
            lines += [
                f"try: qgasim call {address} guest-info",
                f"""or:  echo '{{"execute":"guest-ping"}}' | socat -t1 - unix-connect:{address}""",
            ]
        try:
            # The standard output may be the client's.
            print(
                "\n".join(lines), flush=True, file=sys.stderr if options.listen == "stdio" else None
            )
        except OSError:
            mute()

    with log:
        run(simulation, address, on_ready, ends_with_parent=options.exit_with_parent)
    return 0


def with_options(scenario: "Scenario", options: argparse.Namespace) -> "Scenario":
    """Change *scenario* as the command line says."""
    from qgasim.scenario import remember_place

    settings = scenario.agent
    if options.agent is not None:
        settings.release = options.agent
        remember_place(scenario, "agent.release", "--agent")
    for name in ("channel", "block_rpcs", "allow_rpcs", "fsfreeze_hook"):
        if getattr(options, name) is not None:
            setattr(settings, name, getattr(options, name))
            remember_place(scenario, f"agent.{name}", f"--{name.replace('_', '-')}")
    if options.seed is not None:
        scenario.seed = options.seed
    return scenario
