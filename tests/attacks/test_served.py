"""All examples at once, in a guest that is served: it answers, ends when it is told to, and its memory is bounded."""

import base64
from pathlib import Path

import pytest

from tests.attacks.test_programs import GREEDY, LONG, REFUSED
from tests.fuzz_hostile import MEMORY_LIMIT, Served

SCRIPTS = [*(script for script, _, _ in REFUSED.values()), *GREEDY.values(), *LONG.values()]


@pytest.mark.slow
def test_a_server_answers_while_all_of_them_run_and_ends(tmp_path: Path) -> None:
    served = Served(str(tmp_path), "debian-12")
    try:
        served.run("head -c 100000 /dev/zero | tr '\\0' a > /tmp/a")
        left = [
            served.ask("guest-exec", path="/bin/sh", arg=["-c", script])["return"]["pid"]
            for script in SCRIPTS
        ]
        # Each has its turns until it ends: a request is answered between any two steps.
        while left:
            asked = {pid: served.ask("guest-exec-status", pid=pid)["return"] for pid in left}
            left = [pid for pid, status in asked.items() if not status["exited"]]
        handle = served.ask("guest-file-open", path="/sbin/hwclock", mode="w")["return"]
        loop = base64.b64encode(b"#!/bin/sh\nwhile :; do :; done\n").decode()
        served.ask("guest-file-write", handle=handle, **{"buf-b64": loop})
        served.ask("guest-file-close", handle=handle)
        # The agent waits for it.
        served.client.sendall(b'{"execute":"guest-set-time"}\n')
        memory = served.memory()
    finally:
        served.end()
    assert served.process.returncode == 0
    assert memory <= MEMORY_LIMIT
    for line in served.errors.read_text().splitlines():
        assert "ended by qgasim: a step of this program took longer than" in line
