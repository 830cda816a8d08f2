"""Record what real shells do: ``python -m tests.userland.record_shells`` (packages dash, bash and busybox).

Runs each script of ``shell/dash.jsonl``, ``bash.jsonl`` and ``ash.jsonl`` again, as `tests.fuzz_userland` does it, and
writes down what came of it: a new case is a new line with ``script``.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from tests.fuzz_userland import SHELLS, Outcome, RealShell

RECORDINGS: Final = Path(__file__).parent / "shell"
#: Where scripts run, as it is written down.
DIRECTORY: Final = "/work"


def to_case(outcome: Outcome, directory: str = DIRECTORY) -> dict[str, Any]:
    """Return what a recording says of what came of a script in *directory*; its messages have no order."""

    def show(raw: bytes) -> str:
        return raw.decode("latin-1").replace(directory, DIRECTORY)

    case = {
        "stdout": show(outcome.stdout),
        "messages": [show(line) for line in outcome.messages],
        "status": outcome.status,
    }
    return {key: value for key, value in case.items() if value}


def main() -> int:
    """Record all cases of all shells."""
    for shell, flavour in SHELLS.items():
        recording = RECORDINGS / f"{shell}.jsonl"
        scripts = [json.loads(line)["script"] for line in recording.read_text().splitlines()]
        with tempfile.TemporaryDirectory(prefix="record-shells-") as name:
            Path(name).chmod(0o755)
            with RealShell(flavour, Path(name)) as real:
                outcomes = [real.run(script) for script in scripts]
        lines = [
            json.dumps({"script": script} | to_case(outcome, str(real.directory)))
            for script, outcome in zip(scripts, outcomes, strict=True)
            if outcome is not None
        ]
        recording.write_text("".join(line + "\n" for line in lines))
        sys.stdout.write(f"{shell}: {len(lines)} cases\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
