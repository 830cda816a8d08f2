"""How to repeat a run that failed: as a file with the command, and as a test."""

import os
import re
import shlex
from collections.abc import Sequence
from typing import Any, Final

from qgasim.drill.plan import Run
from qgasim.drill.verdict import Result, Rules

__all__ = ["file_name", "write_file", "write_test"]


#: How many lines of a command's output a file tells, and how much of each.
_PRINTED: Final = 20
_WIDTH: Final = 200


def file_name(run: Run) -> str:
    """Return the name of the file of a run: ``FAIL-freeze-hangs@5.2.yaml``; that of one that repeats it is the same."""
    name = re.sub(r"[^\w.@-]", "-", run.name).removeprefix("FAIL-")
    return f"FAIL-{name}.yaml"


def write_file(result: Result, run: Run, command: Sequence[str], path: str, rules: Rules) -> str:
    """Return a scenario that fails again, under a comment with the command.

    Args:
        result: of the run that failed.
        run: the same, or the least of it that fails.
        command: the client.
        path: where it is written.
        rules: how the run was judged, as it will be again.
    """
    words = ["qgasim", "drill", "--scenarios", path if "/" in path else f"./{path}"]
    usual = Rules()
    if rules.limit != usual.limit:
        words += ["--time", f"{rules.limit:g}s"]
    if rules.findings != usual.findings:
        words += ["--findings", rules.findings]
    if rules.expects_failure(result.run):
        # The run of a file is called as the file.
        words += ["--expect", os.path.basename(path).removesuffix(".yaml")]
    why = ", ".join([*([result.reason] if result.reason else []), *result.findings])
    lines = [f"{result.run.name}: {result.verdict}: {why}"]
    lines += [result.expect] if result.expect else []
    if printed := result.output.rstrip("\n").splitlines():
        cut = printed[-_PRINTED:]
        lines += ["it printed last:" if len(cut) < len(printed) else "it printed:"]
        lines += [f"  {line[:_WIDTH]}" for line in cut]
    lines.append(f"reproduce: {shlex.join(words)} -- {join_command(command)}")
    return "".join(f"# {line}\n" for line in lines) + run.to_yaml()


def join_command(command: Sequence[str]) -> str:
    """Return a command in one line as bash reads it; ``{socket}`` needs no quotes."""
    return " ".join(map(_quote, command))


def _quote(word: str) -> str:
    if re.fullmatch(r"\{\w+\}", word):
        return word
    if word.isprintable():
        return shlex.quote(word)
    escaped = word.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(c if c.isprintable() else _escape(c) for c in escaped) + "'"


def _escape(character: str) -> str:
    data = os.fsencode(character)
    return "\\n" if character == "\n" else "".join(f"\\x{byte:02x}" for byte in data)


def write_test(run: Run, command: Sequence[str], rules: Rules) -> str:
    """Return a test of pytest that fails again.

    Args:
        run: that failed.
        command: the client.
        rules: how it is judged.
    """
    wanted = run.wanted
    name = re.sub(r"\W+", "_", run.name).strip("_").lower()
    places = {"{socket}": "qga.socket_path", "{qmp}": "qga.qmp_path"}
    if any("{qmp}" in word for word in command):
        machine: dict[str, Any] = {}
        wanted = {"machine": machine, **wanted}
    words = ", ".join(places.get(word) or _format(word, places) for word in command)
    wanted = {**wanted, "findings": rules.findings}
    marker = "".join(f"    {key}={value!r},\n" for key, value in wanted.items())
    return (
        "import os\nimport subprocess\n\nimport pytest\n\n\n"
        f"@pytest.mark.qgasim(\n{marker})\n"
        f"def test_{name}(qga):\n"
        '    environment = {**os.environ, "QGASIM_SOCKET": qga.socket_path}\n'
        f"    subprocess.run([{words}], env=environment, check=True, timeout={rules.limit:g})\n"
    )


def _format(word: str, places: dict[str, str]) -> str:
    if not any(place in word for place in places):
        return repr(word)
    for place, name in places.items():
        word = word.replace(place, f"{{{name}}}")
    return f"f{word!r}"
