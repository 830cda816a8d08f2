"""A test that does again what another did to a guest, and what its clients asked: one file, in order."""

import re
from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Final

import qgasim
from qgasim.guest.units import SECOND
from qgasim.pytest_plugin.markers import GuestRequest
from qgasim.simulation.journal import Entry, Exchange, MonitorExchange, Note
from qgasim.testing.steps import Step, Steps
from qgasim.wire import encode

__all__ = ["write_reproduction"]

_HEAD: Final = '''\
"""What happened to {guest} in {test}.

Run it with pytest, where qgasim is installed: {version}.
"""

import contextlib
import socket
{imports}
import pytest
{names}

def connect(path):
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(1)
    client.connect(path)
    return client


def ask(client, request, *, waits=True):
    """Send a request; wait for what is answered if the client of then got an answer at once."""
    client.sendall(request)
    with contextlib.suppress(TimeoutError):
        print(client.recv(1 << 20) if waits else b"")


@pytest.mark.qgasim({marker})
def test_again(qga):
'''
_TAIL: Final = "    print(qga.transcript())\n"
#: Where the names are that a step may need.
_MODULES: Final = ("qgasim", "qgasim.simulation.timeline")
#: A client that connects.
_CONNECTS: Final = re.compile(r"^(\w+) = connect\(", re.MULTILINE)
#: How much of a request is written; a longer one is cut in the journal.
_LONGEST: Final = 60_000


def write_reproduction(  # noqa: PLR0913
    test: str, guest: str, wish: GuestRequest, steps: Steps, entries: list[Entry], first: int
) -> str:
    """Write the file.

    Args:
        test: which test it was.
        guest: what the guest is called.
        wish: which guest it was.
        steps: what the test did.
        entries: of the guest's journal.
        first: how many entries there were before these.
    """
    lines = list(_interleave(steps.kept, entries, first))
    opened = dict.fromkeys(_CONNECTS.findall("\n".join(lines)))
    left = [name for name in opened if f"{name}.close()" not in "\n".join(lines)]
    if first:
        lines.insert(0, f"# ({first} earlier entries of the journal are gone)")
    if steps.dropped:
        lines.append(f"# ({steps.dropped} later steps were not written down)")
    body = "".join(f"    {line}\n" for line in lines)
    called = set(re.findall(r"\b([A-Z]\w*)\(", body))
    names = {
        # Where nothing is called, no file is opened: a report may be about a lack of descriptors.
        module: sorted(called.intersection(_names_of(module)))
        for module in (_MODULES if called else ())
    }
    imported = [
        f"from {module} import {', '.join(found)}" for module, found in names.items() if found
    ]
    head = _HEAD.format(
        guest=guest,
        test=test,
        version=f"qgasim {qgasim.__version__}",
        imports="from datetime import timedelta\n" if "timedelta(" in body else "",
        names="".join(f"{line}\n" for line in ["", *imported] if imported),
        marker=_write_marker(wish),
    )
    return head + body + _TAIL + "".join(f"    {name}.close()\n" for name in left)


def _names_of(module: str) -> Iterable[str]:
    if module == "qgasim":
        return dir(qgasim)
    known = set(dir(qgasim))
    return (name for name in import_module(module).__all__ if name not in known)


def _write_marker(wish: GuestRequest) -> str:
    given = {"scenario": wish.scenario, "agent": wish.agent, "channel": wish.channel}
    said = {name: value for name, value in given.items() if value is not None}
    settings = {**said, **({} if wish.seed is None else {"seed": wish.seed}), **wish.overrides}
    return ", ".join(f"{name}={value!r}" for name, value in settings.items())


def _interleave(steps: list[Step], entries: list[Entry], first: int) -> Iterator[str]:
    """Yield the statements of steps and of entries, in the order in which they happened."""
    todo = iter(steps)
    step = next(todo, None)
    monitored: set[str] = set()
    for position, entry in enumerate(entries, first):
        while step is not None and step.position <= position:
            yield from _write_step(step)
            step = next(todo, None)
        if isinstance(entry, MonitorExchange) and (name := _name_client(entry)) not in monitored:
            # No entry tells when a client of a monitor came.
            monitored.add(name)
            yield f"{name} = connect(qga.qmp_path)"
        if line := _write_entry(entry):
            yield f"{line}  # {entry.at / SECOND:.3f} s"
    while step is not None:
        yield from _write_step(step)
        step = next(todo, None)


def _write_step(step: Step) -> Iterator[str]:
    first, *more = step.text.split("\n")
    yield f"{first}  # {step.at / SECOND:.3f} s" if not more else first
    yield from more


def _name_client(entry: Entry) -> str:
    if isinstance(entry, MonitorExchange):
        return f"monitor_client_{entry.connection}"
    return f"client_{entry.connection}"


def _write_entry(entry: Entry) -> str:
    client = _name_client(entry)
    if isinstance(entry, Note):
        if entry.kind == "connect":
            return f"{client} = connect(qga.socket_path)"
        return f"{client}.close()" if entry.kind == "disconnect" else ""
    if not entry.connection:
        return ""
    data = _write_request(entry)
    if len(data) > _LONGEST:
        return f"# {client}: {entry.command} with a request of {len(data)} bytes, which was cut"
    waits = "" if entry.replied == entry.at else ", waits=False"
    return f"ask({client}, {data!r}{waits})"


def _write_request(exchange: Exchange) -> bytes:
    if isinstance(exchange.request, bytes):
        # The byte 0xFF ends what is no request by itself.
        end = b"" if exchange.request.endswith(b"\xff") else b"\n"
        return exchange.request + end
    return encode(exchange.request).encode("ascii") + b"\n"
