"""Programs about people, processes and the machine in a guest that has some of each.

GNU's outputs are what Debian 12's id (coreutils 9.1)
print for such accounts; BusyBox's messages are those of its source (1.35.0: procps/kill.c,
libbb/signames.c, coreutils/id.c).
"""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import convert

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.processes.process import Process, Steps
from qgasim.userland import USERLANDS
from tests.userland.programs.conftest import LIMIT, Run

SECOND = 1_000_000_000
#: 2024-06-15T12:00:00Z, a Saturday.
NOON = 1_718_452_800 * SECOND
TRY = "Try '{0} --help' for more information.\n"

SETTINGS: dict[str, Any] = {
    "hostname": "lab.example",
    "clock": {"start": NOON},
    "vcpus": 2,
    "memory": {"block_size": 128 << 20, "blocks": [{"index": i} for i in range(16)]},
    "files": {
        "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nalice:x:1000:1000:A,,,:/home/alice:/bin/sh\n",
        "/etc/group": "root:x:0:\nsudo:x:27:alice\nusers:x:100:bob,alice\nalice:x:1000:\n",
        "/etc/hosts": "127.0.0.1 localhost loopback\n10.0.0.7\tdb db.example # the database\n",
        "/w/nothing": "",
    },
    "logins": [
        {"user": "reboot", "line": "~", "time": NOON, "kind": "boot", "host": "6.1.0"},
        {"user": "alice", "line": "tty1", "time": NOON + 60 * SECOND},
        {"user": "bob", "line": "pts/0", "time": NOON + 120 * SECOND, "host": "desk"},
    ],
}  # fmt: skip


def make_guest(userland: str = "gnu", **settings: Any) -> Guest:
    values = SETTINGS | {"os": {"userland": userland}} | settings
    guest = Guest(convert(values, GuestSettings), USERLANDS[userland], source=lambda: 0)
    guest.settle()
    return guest


def wait_long(p: Process) -> Steps:
    yield from p.sleep(100 * LIMIT)
    return 0


def start(guest: Guest, *argv: str) -> Process:
    process = guest.processes.start(
        wait_long, argv=list(argv), env=[], cwd="/", files={}, parent=1, path=f"/usr/bin/{argv[0]}"
    )
    process.on_exit = lambda _exit: None
    return process


Ask = Callable[..., tuple[str, str, int]]


@pytest.fixture
def ask(run: Run) -> Ask:
    def ask_guest(guest: Guest, line: str, **more: Any) -> tuple[str, str, int]:
        out, errors, how = run(guest, line.split(), **more)
        assert how.signal is None
        return out.decode(), errors.decode(), how.code

    return ask_guest


# Accounts.


@pytest.mark.parametrize(
    ("line", "out"),
    [
        ("id", "uid=0(root) gid=0(root) groups=0(root)\n"),
        ("id root", "uid=0(root) gid=0(root) groups=0(root)\n"),
        ("id alice", "uid=1000(alice) gid=1000(alice) groups=1000(alice),27(sudo),100(users)\n"),
        ("id 1000", "uid=1000(alice) gid=1000(alice) groups=1000(alice),27(sudo),100(users)\n"),
        ("id -u alice", "1000\n"),
        ("id -nu 1000", "alice\n"),
        ("id -G alice", "1000 27 100\n"),
        ("id -Gn alice", "alice sudo users\n"),
        ("id -g alice root", "1000\n0\n"),
    ],
)  # fmt: skip
def test_id_names_accounts(ask: Ask, line: str, out: str) -> None:
    assert ask(make_guest(), line) == (out, "", 0)


@pytest.mark.parametrize(
    ("line", "out", "errors", "status"),
    [
        ("id carol alice", "uid=1000(alice) gid=1000(alice) groups=1000(alice),27(sudo),100(users)\n",
         "id: 'carol': no such user\n", 1),
    ],
)  # fmt: skip
def test_id_reports_an_account_that_is_missing(
    ask: Ask, line: str, out: str, errors: str, status: int
) -> None:
    assert ask(make_guest(), line) == (out, errors, status)


def test_a_guest_without_accounts_has_numbers(ask: Ask) -> None:
    guest = make_guest(files={})
    assert ask(guest, "id -un")[0] == "0\n"


@pytest.mark.parametrize(
    ("userland", "line", "out"),
    [
        ("gnu", "who", "alice    tty1         Jun 15 12:01\nbob      pts/0        Jun 15 12:02 (desk)\n"),
        ("gnu", "who -b", "         system boot  Jun 15 12:00\n"),
        ("busybox", "who", ("alice           tty1            ?       Jun 15 12:01:00  \n"
                            "bob             pts/0           ?       Jun 15 12:02:00  desk\n")),
    ],
)  # fmt: skip
def test_who_lists_logins(ask: Ask, userland: str, line: str, out: str) -> None:
    assert ask(make_guest(userland), line) == (out, "", 0)


# Signals.


@pytest.mark.parametrize(
    ("line", "errors"),
    [
        ("kill", "kill: you need to specify whom to kill\n"),
        ("kill -9", "kill: you need to specify whom to kill\n"),
        ("kill -FOO 9999", "kill: bad signal name 'FOO'\n"),
        ("kill -s FOO 9999", "kill: bad signal name 'FOO'\n"),
        ("kill here", "kill: invalid number 'here'\n"),
        ("kill 9999", "kill: can't kill pid 9999: No such process\n"),
        ("kill -l FOO", "kill: unknown signal 'FOO'\n"),
    ],
)
def test_what_busyboxes_kill_refuses(ask: Ask, line: str, errors: str) -> None:
    assert ask(make_guest("busybox"), line) == ("", errors, 1)


def test_busyboxes_kill_lists_signals_with_their_numbers(ask: Ask) -> None:
    guest = make_guest("busybox")
    lines = ask(guest, "kill -l")[0].splitlines()
    # signal(7), x86; "%2u) %s".
    assert lines[:2] == [" 1) HUP", " 2) INT"]
    assert "15) TERM" in lines
    assert ask(guest, "kill -l 15 KILL 137")[0] == "TERM\n9\nKILL\n"


@pytest.mark.parametrize(
    ("line", "number"),
    [
        ("kill {0}", 15), ("kill -9 {0}", 9), ("kill -KILL {0}", 9), ("kill -s INT {0}", 2),
        ("kill -sINT {0}", 2), ("kill -n1 -- {0}", None), ("kill -- {0}", 15),
        ("kill --signal HUP {0}", 1), ("kill --signal=HUP {0}", 1), ("kill -TERM -{0}", 15),
    ],
)  # fmt: skip
def test_a_signal_gets_there(run: Run, line: str, number: int | None) -> None:
    guest = make_guest()
    process = start(guest, "sleep", "60")
    other = start(guest, "cat")
    words = [word.replace("~", " ") for word in line.format(process.pid).split()]
    _, errors, how = run(guest, words)
    if number is None:
        assert how.code == 1
        assert process.exit is None
        return
    assert (errors, how.code) == (b"", 0)
    assert process.exit is not None
    assert process.exit.signal == number
    assert other.exit is None


def test_kill_goes_on_after_what_is_not_there(ask: Ask) -> None:
    guest = make_guest()
    process = start(guest, "sleep", "60")
    # procps 4.0.2, skill.c: "kill: (%s): No such process".
    out, errors, status = ask(guest, f"kill 9999 {process.pid}")
    assert (out, errors, status) == ("", "kill: (9999): No such process\n", 1)
    assert process.exit is not None


def test_pidof_finds_the_latest_first(ask: Ask) -> None:
    guest = make_guest()
    first, second = start(guest, "sleep", "60"), start(guest, "sleep", "61")
    assert ask(guest, "pidof sleep") == (f"{second.pid} {first.pid}\n", "", 0)
    assert ask(guest, "pidof -s sleep")[0] == f"{second.pid}\n"
    assert ask(guest, "pidof nothing") == ("", "", 1)


# Processes and the machine.


def test_the_host_name_has_parts(ask: Ask) -> None:
    guest = make_guest()
    assert ask(guest, "hostname new.example") == ("", "", 0)
    assert ask(guest, "hostname")[0] == "new.example\n"
    assert ask(guest, "hostname -s")[0] == "new\n"
    assert ask(guest, f"hostname {'x' * 65}") == ("", "hostname: name too long\n", 1)


def test_busyboxes_sleep_takes_no_options(ask: Ask) -> None:
    guest = make_guest("busybox")
    # BusyBox 1.35, sleep.c: parse_duration_str() ends with "invalid number '%s'".
    assert ask(guest, "sleep -1") == ("", "sleep: invalid number '-1'\n", 1)
    assert ask(guest, "sleep 1x") == ("", "sleep: invalid number '1x'\n", 1)
    assert ask(guest, "sleep 0.5 .5s") == ("", "", 0)
