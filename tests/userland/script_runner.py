"""Runs scripts with a real shell: a process of its own, small and without rights, that `RealShell` starts.

It imports nothing of the project, so that starting a shell from it is cheap. A request is a line of JSON
on its standard input, and so is the answer on its standard output.
"""

import fcntl
import json
import os
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

NOBODY = 65534
#: Seconds that a script may take, and bytes that it may write.
LIMIT = 4
FILE_SIZE = 1 << 20
#: What shells say if there are too many processes, and how often a script is tried then.
NO_ROOM = re.compile(rb"(?i)(cannot|can't) fork|\bfork: |Resource temporarily")
ATTEMPTS = 3
#: A descriptor that no script names.
KEPT = 200


def drop_rights() -> None:
    """Keep this process, and all that it starts, from doing harm."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_SIZE, FILE_SIZE))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (300, 300))
    os.umask(0o022)
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)


def lay_out(directory: Path, files: dict[str, str]) -> None:
    """Make *directory* anew, with nothing but *files* in it."""
    start = int(time.time())
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    for path in (*directory.rglob("*"), directory):
        os.utime(path, (start, start))


def run(request: dict[str, Any]) -> tuple[bytes, bytes, int] | None:
    """Return what a script writes, and its status; None if it takes too long or writes too much."""
    root = Path(request["root"])
    # What the script leaves in the background has this descriptor, too.
    alive, writer = os.pipe()
    kept = fcntl.fcntl(writer, fcntl.F_DUPFD, KEPT)
    os.close(writer)
    processors = os.sched_getaffinity(0)
    if request["on_one_processor"]:
        # What is started inherits it.
        os.sched_setaffinity(0, {min(processors)})
    if request["stdin"] is not None:
        (root / "in").write_text(request["stdin"])
    with (
        Path(os.devnull if request["stdin"] is None else root / "in").open("rb") as source,
        (root / "out").open("wb+") as out,
        (root / "err").open("wb+") as errors,
    ):
        process = subprocess.Popen(
            [word.encode("utf-8", "surrogateescape") for word in request["argv"]],
            executable=request["executable"],
            stdin=source,
            stdout=out,
            stderr=errors,
            cwd=root / "w",
            env={"PATH": request["path"], "LC_ALL": "C", "HOME": "/nonexistent"},
            start_new_session=True,
            pass_fds=(kept,),
        )
        os.sched_setaffinity(0, processors)
        os.close(kept)
        handle = os.pidfd_open(process.pid)
        is_done = bool(select.select([handle], [], [], LIMIT)[0])
        is_done = is_done and bool(select.select([alive], [], [], LIMIT)[0])
        os.close(handle)
        os.close(alive)
        if not is_done:
            os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
        out.seek(0)
        errors.seek(0)
        stdout, stderr = out.read(), errors.read()
    if not is_done or max(len(stdout), len(stderr)) >= FILE_SIZE:
        return None
    return None if status in (-signal.SIGKILL, -signal.SIGXFSZ) else (stdout, stderr, status)


def run_with_room(request: dict[str, Any]) -> tuple[bytes, bytes, int] | None:
    """Run a script again if there was no room for its processes: another runner's may have taken it."""
    for _ in range(ATTEMPTS):
        try:
            found = run(request)
        except BlockingIOError:
            pass
        else:
            if found is None or not NO_ROOM.search(found[1]):
                return found
        time.sleep(1)
    return None


def main() -> None:
    """Answer requests until the input ends."""
    drop_rights()
    for line in sys.stdin:
        request = json.loads(line)
        root = Path(request["root"])
        lay_out(root / "w", request["files"])
        found = run_with_room(request)
        answer = found and (found[0].decode("latin-1"), found[1].decode("latin-1"), found[2])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
