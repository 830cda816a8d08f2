"""``qgasim``, without a command's name: serve a guest."""

import argparse
import gc
import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from qgasim.http.access import Access
    from qgasim.scenario import Scenario
    from qgasim.serving.listen import Address, SocketAddress, UnixAddress

from qgasim.cli.introduction import describe_guest, introduce_guest
from qgasim.cli.options import (
    control_access,
    load_scenario,
    make_blueprint,
    serve_parser,
    with_options,
)
from qgasim.cli.parser import COMMANDS, Parser
from qgasim.cli.ready import check_ready_fd, write_ready

__all__ = ["serve", "serve_as"]


def serve(arguments: list[str]) -> int:
    """Serve a guest until SIGINT or SIGTERM."""
    parser = serve_parser()
    if arguments and not arguments[0].startswith("-"):
        # Before options are looked at: --help is of a command that there is.
        _refuse(parser, arguments)
    # Importing and building make no garbage, but would be looked through for it: a seventh of the start.
    gc.disable()
    try:
        return serve_as(parser, arguments)
    finally:
        gc.enable()


def serve_as(parser: Parser, arguments: list[str]) -> int:
    """Serve a guest as the options of *parser* say."""
    # Only now: `qgasim --help` should not wait for it.
    from qgasim.serving.listen import UnixAddress, parse_address
    from qgasim.serving.systemd import find_socket

    options, rest = parser.parse_known_args(arguments)
    if rest:
        _refuse(parser, rest)
    address: Address | None
    if options.listen is not None:
        try:
            address = parse_address(options.listen)
        except ValueError as error:
            parser.error(f"--listen: {error}")
    else:
        address = find_socket(os.environ)
    access = control_access(parser, options)
    qmp = [_parse_qmp(parser, text) for text in options.qmp]
    check_ready_fd(options.ready_fd)
    scenario = load_scenario(options)
    _check_upstream(parser, options, scenario)
    if access is not None:
        return _serve_controlled(parser, options, scenario, address, access)
    if scenario.fleet:
        address = _fleet_address(parser, options, address)
        if address is not None:
            return _serve_fleet(options, scenario, address.path)
        with _directory() as directory:
            return _serve_fleet(options, scenario, directory)
    if address is not None:
        return _serve_at(options, scenario, address, qmp)
    with _directory() as directory:
        return _serve_at(options, scenario, UnixAddress(f"{directory}/qga.sock"), qmp)


def _check_upstream(
    parser: argparse.ArgumentParser, options: argparse.Namespace, scenario: "Scenario"
) -> None:
    """Refuse what cannot be together with a real agent behind."""
    if options.upstream is None:
        if options.diff:
            parser.error("--diff: has no effect without --upstream")
        return
    if scenario.fleet:
        parser.error("--upstream: it is one agent, and the scenario is a fleet")
    for name in ("qmp", "qemu", "share", "block_rpcs", "allow_rpcs", "fsfreeze_hook"):
        if getattr(options, name):
            text = f"--{name.replace('_', '-')}: has no effect on a real agent (see --upstream)"
            parser.error(text)


def _parse_qmp(parser: argparse.ArgumentParser, text: str) -> "SocketAddress":
    from qgasim.serving.listen import Stdio, parse_address

    try:
        address = parse_address(text)
    except ValueError as error:
        parser.error(f"--qmp: {error}")
    if isinstance(address, Stdio):
        parser.error("--qmp: stdio is the agent's (expected unix:PATH, tcp:[HOST:]PORT)")
    return address


def _fleet_address(
    parser: argparse.ArgumentParser, options: argparse.Namespace, address: "Address | None"
) -> "UnixAddress | None":
    """Return the directory of a fleet's sockets; refuse what a fleet cannot have."""
    from qgasim.serving.listen import UnixAddress

    if not isinstance(address, UnixAddress | None):
        parser.error("--listen: a fleet has a socket for each guest (expected unix:DIRECTORY)")
    if options.qmp:
        parser.error("--qmp: a fleet has no monitors (serve one guest, as in NAME#GUEST)")
    if options.share:
        parser.error("--share: a fleet shares no folders (serve one guest, as in NAME#GUEST)")
    return address


def _serve_controlled(
    parser: argparse.ArgumentParser,
    options: argparse.Namespace,
    scenario: "Scenario",
    address: "Address | None",
    access: "Access",
) -> int:
    from qgasim.cli.control import serve_fleet_with_control, serve_with_control

    with _directory() as directory:
        if scenario.fleet:
            fleet = _fleet_address(parser, options, address)
            sockets = directory if fleet is None else fleet.path
            serve_fleet_with_control(options, scenario, sockets, directory, access)
        else:
            serve_with_control(options, scenario, address, directory, access)
    return 0


@contextmanager
def _directory() -> Generator[str]:
    """Yield a new directory for sockets; it is removed at the end, with everything in it."""
    from qgasim.serving.listen import make_directory

    directory = make_directory("qgasim-")
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _refuse(parser: Parser, words: list[str]) -> NoReturn:
    """Refuse words that no option takes; suggest what was meant."""
    from qgasim.scenario import library
    from qgasim.suggestions import did_you_mean

    word = words[0]
    if word.startswith("-"):
        parser.refuse(words)
    if word in COMMANDS:
        parser.error(f"a command comes first, its options after it, as in qgasim {word} --help")
    if word in library() or word.endswith((".yaml", ".yml")):
        parser.error(f"no such command: '{word}' (did you mean '--scenario {word}'?)")
    parser.error(f"no such command: '{word}'{did_you_mean(word, COMMANDS)}")


def _serve_fleet(options: argparse.Namespace, scenario: "Scenario", directory: str) -> int:
    from qgasim.cli.fleet import serve_fleet
    from qgasim.cli.log import open_log

    for guest in scenario.fleet.values():
        with_options(guest, options)
    log = open_log(options)
    with log:
        serve_fleet(options, scenario, directory, log)
    return 0


def _serve_at(
    options: argparse.Namespace,
    scenario: "Scenario",
    address: "Address",
    qmp: "list[SocketAddress]",
) -> int:
    from qgasim.cli.log import open_log
    from qgasim.scenario.shares import parse_share
    from qgasim.serving.foreground import run
    from qgasim.serving.server import Server

    shares = [parse_share(text) for text in options.share]
    blueprint = make_blueprint(scenario, options)
    simulation = blueprint.build(shares=shares)
    log = open_log(options)
    log.observe(simulation)
    if options.diff:
        from qgasim.cli.upstream import show_differences
        from qgasim.upstream import Front

        assert isinstance(blueprint, Front)
        show_differences(blueprint, simulation)
    server = Server(simulation, address, qmp=qmp)
    server.tells_waiting = bool(log.outputs)

    def on_ready() -> None:
        address = server.address
        if options.ready_fd is not None:
            line = describe_guest(simulation, scenario.seed, address)
            if server.qmp_addresses:
                line["qmp"] = [str(each) for each in server.qmp_addresses]
            write_ready(options.ready_fd, line)
        also = [f"monitor (QMP) on {each}" for each in server.qmp_addresses]
        introduce_guest(options, simulation, scenario.seed, address, also)

    with log:
        run(server, on_ready, ends_with_parent=options.exit_with_parent)
    return 0
