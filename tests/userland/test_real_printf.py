"""``echo`` and ``printf`` of three shells and coreutils against the real ones, with arguments made by a seed."""

import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from qgasim.guest.files.nodes import decode_name, encode_name
from qgasim.guest.processes.process import Killed
from qgasim.userland.programs.printf import COREUTILS
from qgasim.userland.shell.printf import ASH, BASH, DASH, Rules, echo, format_printf

CASES = 1000
#: Rules, the real shell, and where its printf lies if that is a program.
REAL: dict[str, tuple[Rules, list[str], str]] = {
    "dash": (DASH, ["/usr/bin/dash"], ""),
    "bash": (BASH, ["/usr/bin/bash"], ""),
    "ash": (ASH, ["/usr/bin/busybox", "sh"], ""),
    "coreutils": (COREUTILS, ["/usr/bin/dash"], "/usr/bin/"),
}
FLAGS = "-+ #0'"
WIDTHS = ["", "", "", "5", "12", "*", "-3", "03"]
PRECISIONS = ["", "", "", ".2", ".0", ".", ".*", ".10"]
KINDS = "ddiouxXsscbbeEfgGzk%,"
ESCAPES = [
    r"\n",
    r"\t",
    r"\101",
    r"\0101",
    r"\7",
    r"\x41",
    r"\x4",
    r"\xg",
    r"\c",
    r"\e",
    r"\\",
    r"\"",
    r"\'",
    r"\?",
    r"\u0041",
    r"\u00e9",
    r"\u",
    r"\z",
    r"\477",
    r"\08",
    r"\400",
]
TEXTS = ["a", "é", " ", "|", "%%", "%", "\\"]
ARGUMENTS = [
    *[r"1", r"-1", r"010", r"0x1f", r"08", r"1x", r"x", r"+3", r"1.5", r"-1.5e3", r"9999999999999999999999", r"18446744073709551615", r"abc", r"é", r"'a", r'"ab', r"'", r"\101", r"\0101", r"a\cb", r"\n", r"\x41", r"\xg", r"inf", r"0", r"-", r"0x", r"08x", r"1e", r"--", r"%s", r"0x1p3", r"-0", r"1,5"],
    "",
    " 5",
    "5 ",
    "a b",
]  # fmt: skip


def make_format(random: Random) -> str:
    parts: list[str] = []
    for _ in range(random.randint(1, 3)):
        kind = random.random()
        if kind < 0.65:
            flags = "".join(random.choice(FLAGS) for _ in range(random.choice([0, 0, 0, 1, 1, 2])))
            size = random.choice(["l", "ll", "h", "z"]) if random.random() < 0.2 else ""
            width, precision = random.choice(WIDTHS), random.choice(PRECISIONS)
            parts.append(f"%{flags}{width}{precision}{size}{random.choice(KINDS)}")
        else:
            parts.append(random.choice(ESCAPES if kind < 0.85 else TEXTS))
    return "".join(parts)


def make_cases(rules: Rules, seed: int) -> Iterator[tuple[list[str], tuple[bytes, list[str], int]]]:
    """Yield commands, and what comes of them here."""
    random = Random(seed)
    while True:
        form = make_format(random)
        arguments = [random.choice(ARGUMENTS) for _ in range(random.randint(0, 4))]
        if random.random() < 0.2:
            words = [*random.choices(["-n", "-e", "-ne", "-E", "-eE", "-x", "--"]), form]
            yield ["echo", *words], (echo(words, rules), [], 0)
            continue
        # BusyBox writes what lies in memory for %*c. The others compute with long double, and cut
        # what does not fit into an int each in its own way.
        is_odd = rules is ASH and "*" in form and "c" in form
        is_long = rules is not DASH and rules is not ASH and set("eEfgG") & set(form)
        is_wide = "*" in form and any(len(argument) > 15 for argument in arguments)
        if form.startswith("-") or is_odd or is_wide or (is_long and "99" in str(arguments)):
            continue
        try:
            ours = format_printf([form, *arguments], rules)
        except Killed:
            continue
        output, complaints, status = ours
        errors = [complaint.text for complaint in complaints]
        if not any("not simulated" in error for error in errors):
            yield ["printf", form, *arguments], (output, errors, status)


@pytest.mark.slow
@pytest.mark.parametrize("name", REAL)
def test_printf_does_what_the_real_one_does(name: str) -> None:
    rules, shell, prefix = REAL[name]
    if not Path(shell[0]).exists():
        pytest.skip(f"{shell[0]} is not installed")
    cases = [case for case, _ in zip(make_cases(rules, 1), range(CASES), strict=False)]
    lines: list[str] = []
    for words, _ in cases:
        lines.append(prefix + shlex.join(words))
        lines.append('echo "<$?>"; echo "<>" >&2')
    script = encode_name("\n".join(lines))
    ran = subprocess.run(
        [*shell, "-s"],
        input=script,
        capture_output=True,
        env={"LC_ALL": "C", "PATH": "/usr/bin"},
        cwd="/",
        user=65534 if os.geteuid() == 0 else None,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0
    at, errors = 0, decode_name(ran.stderr).split("<>\n")
    different: list[str] = []
    for (words, (output, messages, status)), complaints in zip(cases, errors, strict=False):
        expected = b"%b<%d>\n" % (output, status)
        found = ran.stdout[at : at + len(expected)]
        shown = complaints.splitlines()
        is_same = all(line.endswith(text) for line, text in zip(shown, messages, strict=False))
        if found != expected or len(shown) != len(messages) or not is_same:
            different.append(f"{words}\n  real {found!r} {shown}\n  ours {expected!r} {messages}")
            # Find where the next one begins.
            at = ran.stdout.find(b">\n", at) + 2
        else:
            at += len(expected)
    assert not different, "\n".join(different[:5])
