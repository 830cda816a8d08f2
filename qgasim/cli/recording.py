"""``qgasim record --conversation``: what clients and a real agent say to each other, written as it comes."""

import argparse
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO, Final

from qgasim.cli.hints import hint
from qgasim.cli.log import LiveLog
from qgasim.cli.text import complain
from qgasim.client.connecting import AgentAddress, parse_agent_address
from qgasim.conversation import ConversationWriter
from qgasim.errors import QgaSimError
from qgasim.record.conversation import RedactingRecorder
from qgasim.record.redaction import KINDS, Redactor
from qgasim.scenario import load
from qgasim.serving.listen import (
    SocketAddress,
    Stdio,
    TcpAddress,
    UnixAddress,
    VsockAddress,
    name_address,
    parse_address,
)
from qgasim.serving.server import Server
from qgasim.upstream import Front, SocketLink, UpstreamChannel
from qgasim.upstream.inspecting import inspect
from qgasim.upstream.relay import Relay, run_beside

__all__ = ["record_conversation"]

_NAME: Final = "qgasim record"
#: How much of the recording is looked through at a time.
_BLOCK: Final = 4 << 20


def record_conversation(parser: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Stand between clients and an agent until a signal; 0: done, 1: a private value is in the recording."""
    listen = _parse_listen(parser, "--listen", options.listen)
    monitors = [_parse_qmp(parser, text) for text in options.qmp]
    found = inspect(options.address, options.timeout, options.agent)
    for note in found.notes:
        complain(note, f"{_NAME}: note: ")
    scenario = load("debian-12")
    scenario.agent.release = found.release
    scenario.agent.is_frozen = found.survey.is_frozen
    link = partial(SocketLink, options.address, options.timeout)
    simulation = Front(scenario, link).build()
    redactor = Redactor(keep=options.keep)
    keeps_all = set(options.keep) == set(KINDS)
    if monitors and not keeps_all:
        # A monitor's replies have other members, of which it is not known what is private.
        parser.error("--qmp: what a monitor says is not redacted: add --keep all")
    meta = {"agent": found.survey.version or found.release, "redacted": not keeps_all}
    log = LiveLog(None, in_full=False, is_quiet=options.quiet)
    log.observe(simulation)
    with _open(options.conversation) as file, log:
        clock = simulation.guest.clock
        writer = ConversationWriter(file.write, lambda: clock.uptime() / 1e9, meta)
        channel, agent = simulation.channel, simulation.agent
        assert isinstance(channel, UpstreamChannel)
        channel.recorder = (
            writer
            if keeps_all
            else RedactingRecorder(writer, redactor, agent.dialect, agent.commands.table)
        )
        relays = [
            Relay(at, upstream, options.timeout, writer, agent.observers[0])
            for upstream, at in monitors
        ]
        run_beside(Server(simulation, listen), relays, partial(_introduce, options, listen))
    return _conclude(options.conversation, writer, redactor)


def _parse_listen(
    parser: argparse.ArgumentParser, option: str, text: str
) -> UnixAddress | TcpAddress | VsockAddress:
    try:
        address = parse_address(text)
    except ValueError as error:
        parser.error(f"{option}: {error}")
    if isinstance(address, Stdio):
        parser.error(f"{option}: expected unix:PATH, tcp:[HOST:]PORT or vsock:CID:PORT")
    return address


def _parse_qmp(parser: argparse.ArgumentParser, text: str) -> tuple[AgentAddress, SocketAddress]:
    """Return where a monitor is, and where its clients connect."""
    upstream, equals, listen = text.partition("=")
    if not equals:
        parser.error(
            f"--qmp: expected MONITOR=ADDRESS, as in /run/vm/qmp=unix:/tmp/qmp, found {text!r}"
        )
    try:
        return parse_agent_address(upstream), _parse_listen(parser, "--qmp", listen)
    except ValueError as error:
        parser.error(f"--qmp: {error}")


@contextmanager
def _open(path: str) -> Generator[BinaryIO]:
    """Open the recording, which must not be there yet; each write is in the file at once."""
    try:
        with open(path, "xb", buffering=0) as file:
            yield file
    except OSError as error:
        if error.filename is None and error.strerror is not None:
            raise QgaSimError(f"{path}: {error.strerror}") from None
        raise


def _introduce(options: argparse.Namespace, listen: SocketAddress) -> None:
    complain(
        f"recording {options.address} at {name_address(listen)} to {options.conversation} "
        "(Ctrl-C ends it)",
        f"{_NAME}: ",
    )


def _conclude(path: str, writer: ConversationWriter, redactor: Redactor) -> int:
    """Return what was recorded; look whether what later proved to be private is in it."""
    complain(f"wrote {path}: {writer.count} steps; try: {hint('replay', path)}", f"{_NAME}: ")
    with open(path, encoding="utf-8") as file:
        # Lines together, as many as take a few megabytes: each look prepares for all that is private.
        blocks = iter(lambda: "".join(file.readlines(_BLOCK)), "")
        leaks = sorted({leak for block in blocks for leak in redactor.leaks(block)})
    if leaks:
        text = f"{len(leaks)} private values are in it, as they were not known to be private when they came"
        complain(f"{path}: {text}: do not pass it on", f"{_NAME}: ")
    return int(bool(leaks))
