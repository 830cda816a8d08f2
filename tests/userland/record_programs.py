"""Record what real programs do: ``python -m tests.userland.record_programs gnu`` (or ``busybox``).

Runs each line of ``programs/gnu.jsonl`` again with the programs of Debian 12, or of ``programs/busybox.jsonl``
with BusyBox's applets, and writes down what came of it: a new case is a new line with ``argv`` and, if the
program reads, ``stdin``. A case runs in a directory of its own with the files of the first line; as root, this
gives up its rights before it runs anything. A case must act on nothing but these files and its own children:
procps's ``kill -1x 1`` signals all processes of its user.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from qgasim.userland import USERLANDS

RECORDINGS: Final = Path(__file__).parent / "programs"
ENVIRONMENT: Final = {"LC_ALL": "C", "HOME": "/nonexistent"}
GNU_PATH: Final = "/usr/sbin:/usr/bin"
BUSYBOX: Final = "/usr/bin/busybox"
NOBODY: Final = 65534
#: Seconds.
LIMIT: Final = 20


def record(
    case: dict[str, Any], files: dict[str, str], directory: Path, search: str
) -> dict[str, Any]:
    """Run a case in the empty *directory*, with the programs on the path *search*.

    Return it with what it wrote and how it ended.
    """
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    rights: dict[str, Any] = {}
    if os.geteuid() == 0:
        rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        for path in (directory, *directory.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
    done = subprocess.run(
        case["argv"],
        input=case.get("stdin", "").encode("latin-1"),
        capture_output=True,
        check=False,
        timeout=LIMIT,
        cwd=directory,
        env={**ENVIRONMENT, "PATH": search},
        umask=0o022,
        **rights,
    )
    wrote = {
        str(path.relative_to(directory)): path.read_bytes().decode("latin-1")
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }
    found = {
        "argv": case["argv"],
        "stdin": case.get("stdin", ""),
        "stdout": done.stdout.decode("latin-1"),
        "stderr": done.stderr.decode("latin-1"),
        "status": done.returncode,
        "wrote": {name: text for name, text in wrote.items() if files.get(name) != text},
    }
    return {key: value for key, value in found.items() if value}


def link_applets(directory: Path) -> str:
    """Link the programs that a guest has as BusyBox's applets; return the path to search."""
    for name in USERLANDS["busybox"].programs:
        (directory / name).symlink_to(BUSYBOX)
    directory.chmod(0o755)
    return str(directory)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("userland", choices=("gnu", "busybox"))
    userland = parser.parse_args().userland
    recording = RECORDINGS / f"{userland}.jsonl"
    head, *lines = recording.read_text().splitlines()
    files: dict[str, str] = json.loads(head)["files"]
    recorded = [head]
    with tempfile.TemporaryDirectory(prefix="record-programs-") as applets:
        search = GNU_PATH if userland == "gnu" else link_applets(Path(applets))
        for line in lines:
            with tempfile.TemporaryDirectory(prefix="record-programs-") as directory:
                case = record(json.loads(line), files, Path(directory), search)
                recorded.append(json.dumps(case))
    changed = [new for old, new in zip([head, *lines], recorded, strict=True) if old != new]
    recording.write_text("".join(line + "\n" for line in recorded))
    sys.stdout.writelines(line + "\n" for line in changed)
    sys.stdout.write(f"{len(changed)} of {len(lines)} cases have changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
