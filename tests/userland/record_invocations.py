"""Record how real shells are called: ``python -m tests.userland.record_invocations`` (packages dash, bash and busybox).

Calls each shell again as each line of ``shell/invocations.jsonl`` says, and writes down what came of it: a new case
is a new line with ``shell``, ``arguments`` and, if there is an input, ``stdin``.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.fuzz_userland import SHELLS, RealShell
from tests.userland.record_shells import RECORDINGS, to_case

__all__ = ["GIVEN", "INVOCATIONS", "SCRIPTS"]

INVOCATIONS: Final = RECORDINGS / "invocations.jsonl"
#: What a case says of the call.
GIVEN: Final = ("shell", "arguments", "stdin")
#: Scripts that are called.
SCRIPTS: Final = {
    "arithmetic": "echo a\necho $((1/0))\necho b\n",
    "bad": "echo a\nif\necho b\n",
    "closed": "echo a\n)\necho b\n",
    "d/c": "deep\n",
    "document": "cat <<E\na $1\nE\nnosuch\ncat <<E\nb\n",
    "empty": "",
    "failing": "set -e\necho a\nfalse\necho b\n",
    "from-windows": "echo a\r\nx=b\r\necho $x\r\n[ $x = b ]\r\n",
    "gone": "echo ${x:?gone}\necho b\n",
    "many": 'echo "$0 $# $*"\nnosuch\necho $LINENO\nf() {\n  nosuch2\n}\nf\ncat nofile\n[ 1 -eq x ]\ncd nodir\nexit 3\n',
    "open": "echo a\necho 'x\n",
    "readonly": "readonly x=1\nx=2\necho b\n",
    "returning": "echo a\nreturn 4\necho b\n",
    "sourcing": ". ./bad\necho after\n",
    "trapping": "trap 'echo bye $?' EXIT\ntrap 'echo err $LINENO' ERR 2>&1\nfalse\nexit 2\n",
    "unset": "echo a\nset -u\necho $x\necho b\n",
}


def main() -> int:
    """Record all cases."""
    cases = [json.loads(line) for line in INVOCATIONS.read_text().splitlines()]
    lines: list[str] = []
    for shell, flavour in SHELLS.items():
        with tempfile.TemporaryDirectory(prefix="record-invocations-") as name:
            Path(name).chmod(0o755)
            with RealShell(flavour, Path(name)) as real:
                for case in cases:
                    if case["shell"] != shell:
                        continue
                    given = {key: case[key] for key in GIVEN if key in case}
                    outcome = real.call(case["arguments"], case.get("stdin"), SCRIPTS)
                    if outcome is not None:
                        lines.append(json.dumps(given | to_case(outcome, str(real.directory))))
    INVOCATIONS.write_text("".join(line + "\n" for line in lines))
    sys.stdout.write(f"{len(lines)} cases\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
