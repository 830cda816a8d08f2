"""Random rounds that real agents answered, replayed on an agent without sockets (tests/golden/README.md)."""

import base64
import gzip
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from tests.golden_cases import FULL_VERSION, GOLDEN
from tests.serving import Course

FILES = sorted(path.name for path in (GOLDEN / "fuzz").glob("*.jsonl.gz"))
#: What the recorded agents were not to do to their machine.
BLOCKED = [
    "guest-shutdown",
    "guest-set-time",
    "guest-suspend-disk",
    "guest-suspend-ram",
    "guest-suspend-hybrid",
    "guest-fsfreeze-freeze",
    "guest-fsfreeze-freeze-list",
    "guest-set-vcpus",
    "guest-set-memory-blocks",
    "guest-set-user-password",
    "guest-fstrim",
    "guest-ssh-add-authorized-keys",
    "guest-ssh-remove-authorized-keys",
]
GUESTS: dict[str, dict[str, Any]] = {
    "linux": {"extends": "lab-vm"},
    "windows": {"extends": "windows-server-2022", "guest": {"os": {"has_vss": False}}},
}
#: What `make test-quick` leaves out.
SLOW = re.compile(r"(?!linux-10\.2)")
#: How many differences are shown.
SHOWN = 5
SYNC = b'\xff{"execute":"guest-sync-delimited","arguments":{"id":%d}}\n'
#: What stands at the end of a reply after which the agent was gone.
DIED = b"<EOF>"
END = re.compile(rb'\xff\{"return": (\d+)\}\n\Z')


def read_rounds(name: str) -> Iterator[tuple[bytes, bytes]]:
    """Yield what was sent and what came, round by round."""
    with gzip.open(GOLDEN / "fuzz" / name) as lines:
        for line in lines:
            sent, received = json.loads(line)
            yield base64.b64decode(sent), base64.b64decode(received)


@cache
def pattern_of(received: bytes) -> re.Pattern[bytes]:
    """Return what matches *received* with any words of the system in it."""
    return re.compile(rb'[^"]*'.join(map(re.escape, received.split(b"<SYSTEM TEXT>"))))


def is_equal(ours: bytes, received: bytes) -> bool:
    if b"<SYSTEM TEXT>" in received:
        return pattern_of(received).fullmatch(ours) is not None
    return ours == received


def differences(name: str) -> Iterator[str]:
    """Replay a file on one agent, and yield each round that is answered otherwise."""
    platform, release = name.split("-")[:2]
    agent = {"release": FULL_VERSION.get(release, release), "block_rpcs": BLOCKED}
    guest = Course(json.dumps({"qgasim": 1, **GUESTS[platform], "agent": agent}))
    for number, (sent, received) in enumerate(read_rounds(name)):
        end = END.search(received)
        process = guest.agent.process
        if end is None:
            assert received.endswith(DIED)
            received = received.removesuffix(DIED)  # noqa: PLW2901
        ours = b"".join(
            effect
            for effect in guest.agent.receive(sent + SYNC % (int(end[1]) if end else 0))
            if type(effect) is bytes
        )
        if not is_equal(ours, received):
            yield f"round {number}:\n  sent {sent!r}\n  real {received!r}\n  ours {ours!r}"
        if (guest.agent.process is process) != (end is not None):
            yield f"round {number}: the agent {'ended' if end else 'did not end'}\n  sent {sent!r}"
            guest.agent.crash()
        if guest.agent.process is not process:
            guest.advance(10)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if SLOW.match(name) else name for name in FILES],
)
def test_random_rounds_are_answered_as_recorded(name: str) -> None:
    found = list(differences(name))
    assert not found, f"{len(found)} rounds differ:\n" + "\n".join(found[:SHOWN])


def test_rounds_of_eleven_agents_are_replayed() -> None:
    linux = {"3.1", "4.2", "5.0", "6.2", "8.2", "9.0", "10.2"}
    agents = {("linux", release) for release in linux}
    agents |= {("windows", release) for release in ("3.1", "6.2", "8.2", "10.2")}
    assert {tuple(name.split("-")[:2]) for name in FILES} == agents
