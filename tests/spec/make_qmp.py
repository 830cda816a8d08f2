"""Make `qgasim/qmp/data` of QEMU's schemas and of recordings: what a release answers whatever its machine.

Usage: python tests/spec/make_qmp.py SCHEMAS RECORDINGS, two directories with ``qmp-schema-7.2.json`` and so
on, and ``7.2/query-prelaunch.jsonl`` and so on.
"""

import gzip
import json
import sys
from pathlib import Path
from typing import Any

RELEASES = ("5.2", "7.2", "10.0", "11.1")
#: Queries whose answers are the release's, and no machine's.
CONSTANT = (
    "query-chardev-backends",
    "query-command-line-options",
    "query-colo-status",
    "query-dirty-rate",
    "query-dump",
    "query-events",
    "query-mice",
    "query-migrate-capabilities",
    "query-replay",
    "query-sev",
    "query-block",
    "query-blockstats",
    "query-named-block-nodes",
    "query-commands",
)


def replies(path: Path) -> dict[str, Any]:
    """Return what each command of a recording returned."""
    found: dict[str, Any] = {}
    command, text = "", ""
    for line in path.read_text().splitlines()[1:]:
        entry = json.loads(line)
        if entry["ch"] != "qmp":
            continue
        if entry["dir"] == "send":
            command, text = json.loads(entry["data"])["execute"], ""
        elif entry["dir"] == "recv" and command:
            text += entry["data"]
            if text.endswith("\r\n"):
                reply = json.loads(text.splitlines()[0])
                if "return" in reply:
                    found.setdefault(command, reply["return"])
                command = ""
    return found


def main(schemas: Path, recordings: Path, out: Path) -> None:
    for release in RELEASES:
        schema = (schemas / f"qmp-schema-{release}.json").read_text().strip()
        recorded = replies(recordings / release / "query-prelaunch.jsonl")
        data = {
            "schema": schema.removeprefix('{"return": ').removesuffix("}"),
            "answers": {name: recorded[name] for name in CONSTANT if name in recorded},
        }
        # Without a time and a name, so that the same data makes the same file.
        packed = gzip.compress(json.dumps(data).encode(), mtime=0)
        (out / f"{release}.json.gz").write_bytes(packed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path("qgasim/qmp/data"))
