"""Two clients and the whole library: a naive one, and a careful one (`qgasim call`).

The naive client sends a request, takes the next line for its answer, expects no error, and waits for
ever. What it does not survive, the careful one must: the right answer or a clear error, now and when it
tries again. What is right is what the reports say that the scenarios' `origin` names.
"""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from msgspec import Struct

from qgasim.cli import main
from qgasim.guest.system.clock import SteeredClock
from qgasim.scenario import library, load
from qgasim.serving.threads import ServerThread
from tests.serving import (
    PATIENCE,
    SECOND,
    Course,
    all_guests,
    blueprint,
    connect,
    read_line,
    request,
)

pytestmark = pytest.mark.slow

#: What stands for ever, in seconds.
FOR_EVER = 0.3
#: What becomes of the naive client.
WAITS = "waits for ever"
BREAKS = "takes something for a reply that is none"
#: What the careful client says.
NO_ANSWER = "no answer within 0.3 s"
HUNG_UP = {"the agent hung up", "Connection reset by peer", "Broken pipe"}
HOST = {"host-name": "debian"}
EMPTY: dict[str, Any] = {}


class Row(Struct, kw_only=True):
    """How two clients fare with a scenario."""

    #: What is asked, one after the other; what counts is the last answer.
    ask: tuple[tuple[str, dict[str, Any]], ...] = (("guest-get-host-name", {}),)
    #: The guest's uptime then.
    at: float = 12
    #: What becomes of the naive client: WAITS, BREAKS, or the wrong answer that it takes for right.
    naive: Any
    #: What the careful one gets for each request; a text is an error.
    careful: list[Any]
    #: What it gets for the last request later, and when.
    later: tuple[float, Any] | None = None


def ask(command: str, times: int = 1, **arguments: Any) -> tuple[tuple[str, dict[str, Any]], ...]:
    return ((command, {n.replace("_", "-"): v for n, v in arguments.items()}),) * times


FREEZE, STATUS, PING = "guest-fsfreeze-freeze", "guest-fsfreeze-status", "guest-ping"
PASSWORD = ask("guest-set-user-password", username="root", password="YQ==", crypted=False)
ROWS: dict[str, Row] = {
    # -- silence, hangs, slow start
    "freeze-hangs": Row(ask=ask(FREEZE), naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "freeze-lost-by-reboot": Row(ask=ask(FREEZE), naive=WAITS, careful=[NO_ANSWER], later=(60, 1)),
    "agent-absent": Row(naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "talos-without-agent": Row(naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "enabled-not-running": Row(
        ask=ask("guest-shutdown"), naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)
    ),
    "early-connect-black-hole": Row(naive=WAITS, careful=[NO_ANSWER], later=(12, HOST)),
    "qmp-panic-pauses": Row(naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "guest-panic": Row(at=31, naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "answers-after-30s": Row(naive=WAITS, careful=[NO_ANSWER]),
    "agent-appears-late": Row(naive=WAITS, careful=[NO_ANSWER], later=(61, HOST)),
    "agent-never-up": Row(naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "sync-never-matches": Row(
        ask=ask("guest-sync", id=7), naive=1, careful=[NO_ANSWER], later=(3600, NO_ANSWER)
    ),
    "staged-readiness": Row(
        ask=(*ask(PING), *ask("guest-get-osinfo")),
        at=101,
        naive=WAITS,
        careful=[EMPTY, NO_ANSWER],
        later=(103, ...),
    ),
    "ping-timeout-then-ok": Row(
        ask=ask(PING, times=4), naive=WAITS, careful=[*[NO_ANSWER] * 3, EMPTY]
    ),
    "sysprep-flap": Row(at=21, naive=WAITS, careful=[NO_ANSWER], later=(51, HOST)),
    "migration-blackout": Row(at=20.5, naive=WAITS, careful=[NO_ANSWER], later=(24, HOST)),
    "paused-guest": Row(at=20.5, naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "restart-loop": Row(naive=BREAKS, careful=[HUNG_UP], later=(3600, HUNG_UP)),
    "fleet-one-hung#vm2": Row(naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "fleet-mixed-health#absent": Row(naive=WAITS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "fleet-mixed-health#rogue": Row(naive=BREAKS, careful=[NO_ANSWER], later=(3600, NO_ANSWER)),
    "fleet-mixed-health#refusing": Row(
        naive=BREAKS, careful=["GenericError: this feature or command is not currently supported"]
    ),
    "fleet-mixed-health#slow": Row(naive=WAITS, careful=[NO_ANSWER]),
    "post-migration-gap": Row(at=20.5, naive=WAITS, careful=[NO_ANSWER], later=(30, HOST)),
    # -- stale data, sync
    "stale-chain": Row(naive=1, careful=[HOST]),
    "stale-freeze-reply": Row(ask=ask(STATUS), naive=1, careful=["frozen"]),
    "half-line-leftover": Row(naive=BREAKS, careful=[HOST]),
    "apple": Row(
        naive=BREAKS,
        careful=["CommandNotFound: The command guest-get-host-name has not been found"],
    ),
    "error-everywhere": Row(
        naive=BREAKS, careful=["GenericError: this feature or command is not currently supported"]
    ),
    "return-empty-string": Row(naive="", careful=[""]),
    # -- freeze and thaw
    "freeze-unresponsive": Row(ask=ask(FREEZE), naive=WAITS, careful=[NO_ANSWER]),
    "freeze-while-paused": Row(ask=ask(FREEZE), naive=WAITS, careful=[NO_ANSWER]),
    "thaw-hangs": Row(
        ask=(*ask(FREEZE), *ask("guest-fsfreeze-thaw")),
        naive=WAITS,
        careful=[..., NO_ANSWER],
        later=(3600, NO_ANSWER),
    ),
    "thaw-deadline": Row(
        ask=ask(FREEZE),
        naive=BREAKS,
        careful=["GenericError: fsfreeze hook has failed with status 1"],
    ),
    # -- exec and files
    "write-chunk-limit": Row(
        ask=(
            *ask("guest-file-open", path="/tmp/f", mode="w"),
            *ask("guest-file-write", handle=1000, buf_b64="A" * 81_924),
        ),
        naive=BREAKS,
        careful=[1000, "GenericError: content: value may only be 61440 characters long"],
    ),
    "exec-status-reply-lost": Row(
        ask=(*ask("guest-exec", path="true"), *ask("guest-exec-status", pid="as told")),
        naive=WAITS,
        careful=[..., NO_ANSWER],
        later=(12, "GenericError: Invalid parameter 'pid'"),
    ),
    "password-silence": Row(ask=PASSWORD, naive=WAITS, careful=[NO_ANSWER]),
    # -- disks
    "every-third-fails": Row(
        ask=ask("guest-get-fsinfo", times=3),
        naive=BREAKS,
        careful=[..., ..., 'GenericError: open("/proc/self/mountinfo"): Too many open files'],
    ),
    "loaded-host": Row(naive=WAITS, careful=[NO_ANSWER]),
    # -- versions
    "agent-1.4": Row(
        ask=ask("guest-get-vcpus"),
        naive=BREAKS,
        careful=["CommandNotFound: The command guest-get-vcpus has not been found"],
    ),
}
#: What the naive client survives as well, and why.
SURVIVED = {
    "agent-upgraded-by-reboot": "the guest is another one later",
    "bandwidth-90KBps": "it has time",
    "disk-hotplug": "the guest is another one later",
    "extra-parse-error-line": "it never synchronises",
    "network-after-agent": "the guest is another one later",
    "pipelined-split": "it reads lines",
    "slaac-delay": "the guest is another one later",
    "slow-decay": "the first answers come",
    "users-log-off": "the guest is another one later",
    "vip-added-later": "the guest is another one later",
    "vss-ten-seconds": "it thaws too late only later",
}


class Served:
    """A scenario that is being served, and its clock."""

    def __init__(self, thread: ServerThread, source: SteeredClock) -> None:
        self.thread = thread
        self.path = thread.path
        self._source = source

    def pass_until(self, uptime: float) -> None:
        """Let the guest's time pass."""
        clock = self.thread.simulation.guest.clock

        def step() -> None:
            self._source.advance(max(0, int(uptime * SECOND) - clock.uptime()))

        self.thread.call(step)


@contextmanager
def serving(name: str, uptime: float, directory: Path) -> Iterator[Served]:
    source = SteeredClock()
    with ServerThread(blueprint(name).build(source), str(directory / "s")) as thread:
        served = Served(thread, source)
        served.pass_until(uptime)
        yield served


def filled(arguments: dict[str, Any], answer: Any) -> dict[str, Any]:
    return {n: answer["pid"] if v == "as told" else v for n, v in arguments.items()}


def ask_naively(path: str, row: Row) -> Any:
    answer: Any = None
    with connect(path) as sock:
        try:
            for (command, arguments), expected in zip(row.ask, row.careful, strict=True):
                is_silence = row.naive == WAITS and expected == NO_ANSWER
                sock.settimeout(FOR_EVER if is_silence else PATIENCE)
                sock.sendall(request(command, **filled(arguments, answer)) + b"\n")
                answer = json.loads(read_line(sock))["return"]
        except TimeoutError:
            return WAITS
        except (OSError, ValueError, KeyError):
            return BREAKS
    return answer


def ask_carefully(
    path: str,
    command: str,
    arguments: dict[str, Any],
    expected: Any,
    capfd: pytest.CaptureFixture[str],
) -> Any:
    """Return what `qgasim call` prints: a value, or the text of an error, which is a line."""
    seconds = FOR_EVER if expected == NO_ANSWER else PATIENCE
    status = main(["call", path, command, json.dumps(arguments), "--timeout", str(seconds)])
    out, err = capfd.readouterr()
    if status == 0:
        assert err == ""
        return json.loads(out)
    assert (status, out, err.count("\n")) == (1, "", 1)
    return err.removeprefix(f"qgasim call: {path}: ").rstrip("\n")


def agrees(found: Any, expected: Any) -> bool:
    if expected is ...:
        return not isinstance(found, str)
    return found in expected if isinstance(expected, set) else bool(found == expected)


@pytest.mark.parametrize("name", ROWS)
def test_a_naive_client_fails(name: str, tmp_path: Path) -> None:
    row = ROWS[name]
    with serving(name, row.at, tmp_path) as served:
        assert ask_naively(served.path, row) == row.naive


@pytest.mark.parametrize("name", ROWS)
def test_a_careful_client_survives(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    row = ROWS[name]
    answer: Any = None
    command, arguments = row.ask[0]
    with serving(name, row.at, tmp_path) as served:
        for number, ((command, given), expected) in enumerate(
            zip(row.ask, row.careful, strict=True)
        ):
            # Programs take their time.
            served.pass_until(row.at + number / 10)
            arguments = filled(given, answer)
            answer = ask_carefully(served.path, command, arguments, expected, capfd)
            assert agrees(answer, expected), answer
        if row.later is not None:
            moment, expected = row.later
            served.pass_until(moment)
            answer = ask_carefully(served.path, command, arguments, expected, capfd)
            assert agrees(answer, expected), answer


@pytest.mark.parametrize("name", sorted(set(all_guests()) - set(ROWS)))
def test_both_get_the_right_answer_where_nothing_is_in_the_way(
    name: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = json.loads(Course(name).send(request("guest-get-host-name") + b"\n"))["return"]
    with serving(name, 12, tmp_path) as served:
        row = Row(naive=expected, careful=[expected])
        assert ask_naively(served.path, row) == expected
        ((command, arguments),) = row.ask
        assert ask_carefully(served.path, command, arguments, expected, capfd) == expected


def test_the_answer_to_the_connection_before_is_found_for_ever(tmp_path: Path) -> None:
    with serving("stale-chain", 12, tmp_path) as served:
        for number in range(2, 6):
            with connect(served.path) as sock:
                sock.sendall(request("guest-sync", id=number))
                assert read_line(sock) == b'{"return": %d}\n' % (number - 1)
                # Its own has come, and stays unread.
                assert sock.recv(1, socket.MSG_PEEK) == b"{"


@pytest.mark.slow
def test_every_scenario_in_which_something_goes_wrong_is_in_the_table() -> None:
    wrong = {
        name
        for name, path in library().items()
        if (scenario := load(path)).origin.startswith("client bug")
        and (scenario.faults or scenario.timeline or scenario.agent.stale_bytes)
    }
    assert wrong <= ROWS.keys() | SURVIVED.keys()
    assert not ROWS.keys() & SURVIVED.keys()
