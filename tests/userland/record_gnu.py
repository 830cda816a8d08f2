"""Record what the real programs of Debian 12 do: ``python -m tests.userland.record_gnu``.

Runs each line of ``programs/gnu.jsonl`` again and writes down what came of it: a new case is a new line
with ``argv`` and, if the program reads, ``stdin``. A case runs in a directory of its own with the files
of the first line; as root, this gives up its rights before it runs anything. A case must act on nothing
but these files and its own children: procps's ``kill -1x 1`` signals all processes of its user.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

RECORDING: Final = Path(__file__).parent / "programs" / "gnu.jsonl"
ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C", "HOME": "/nonexistent"}
NOBODY: Final = 65534
#: Seconds.
LIMIT: Final = 20


def record(case: dict[str, Any], files: dict[str, str], directory: Path) -> dict[str, Any]:
    """Run a case in the empty *directory*; return it with what it wrote and how it ended."""
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
        env=ENVIRONMENT,
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


def main() -> int:
    head, *lines = RECORDING.read_text().splitlines()
    files: dict[str, str] = json.loads(head)["files"]
    recorded = [head]
    for line in lines:
        with tempfile.TemporaryDirectory(prefix="record-gnu-") as directory:
            recorded.append(json.dumps(record(json.loads(line), files, Path(directory))))
    changed = [new for old, new in zip([head, *lines], recorded, strict=True) if old != new]
    RECORDING.write_text("".join(line + "\n" for line in recorded))
    sys.stdout.writelines(line + "\n" for line in changed)
    sys.stdout.write(f"{len(changed)} of {len(lines)} cases have changed\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
