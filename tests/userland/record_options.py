"""Record which options the real programs of Debian 12 know: ``python -m tests.userland.record_options``.

Asks each program that a guest has, and BusyBox's applet of that name, for its ``--help``, without rights and
in an empty directory (an applet is tried with all letters, too), and writes qgasim/userland/programs/known_options.py. What switches a machine off or
changes it is not run, not even for its help.
"""

import os
import re
import string
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from qgasim.userland import USERLANDS
from qgasim.userland.programs.getopt import known_options

NOBODY: Final = 65534
TARGET: Final = Path(__file__).parents[2] / "qgasim/userland/programs/known_options.py"
ENVIRONMENT: Final = {"PATH": "/usr/sbin:/usr/bin", "LC_ALL": "C", "HOME": "/nonexistent"}
#: They have no options, or are not to be run here (as an applet, mount and umount neither).
LEFT_OUT: Final = frozenset({
    "[", "bash", "busybox", "echo", "false", "fsfreeze", "halt", "hwclock", "poweroff",
    "printf", "reboot", "sh", "shutdown", "systemctl", "test", "true",
})  # fmt: skip
#: They take options that are no letters, or look at none before they begin.
UNTRIED: Final = frozenset(("chmod", "kill", "seq"))
#: How Debian's programs are asked for all options, where it is not by ``--help``.
QUESTIONS: Final = {"awk": ["-W", "help"], "ip": ["-help"]}
#: Letters that a program's help leaves out (sed/sed.c of sed 4.9: it has an effect on other systems only).
HIDDEN: Final = {"sed": "b"}
#: Words of a program's own syntax, in its help: find's predicates, ip's ``-s[tatistics]``.
SYNTAX: Final = {
    "find": r"(?<![\w-])-(?!and\b|or\b|not\b)([a-z][\w-]+)|\[-([HLPDO])",
    "ip": r"(?<![\w-])-(\w+)",
}
HEAD: Final = '''"""The options that the real programs know, in their own help: a name and its options, short ones first.

Recorded on Debian 12 by ``python -m tests.userland.record_options``; do not edit. What of these is not
simulated, `getopt` says when it is given.
"""

from typing import Final

__all__ = ["KNOWN"]

#: By userland and program.
KNOWN: Final[dict[str, dict[str, str]]] = {
'''


def ask(argv: list[str], directory: str) -> str:
    rights: dict[str, Any] = {}
    if os.geteuid() == 0:
        rights = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
    try:
        done = subprocess.run(
            argv,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=10,
            cwd=directory,
            env=ENVIRONMENT,
            **rights,
        )
    except FileNotFoundError:
        return ""
    text: bytes = done.stdout + done.stderr
    return text.decode("utf-8", "replace")


def options_of(name: str, text: str) -> str:
    """Find the options in a program's help: at the beginning of its lines, and by its `SYNTAX`."""
    short: set[str] = set()
    long: set[str] = set()
    for line in text.splitlines():
        # Two spaces or a tab end the options and begin their meaning.
        words = re.split(r"  |\t", line.strip())[0]
        if not line[:1].isspace() or not words.startswith("-"):
            continue
        short |= set(re.findall(r"(?:^|[, ])-([\w?])(?![\w-])", words))
        long |= set(re.findall(r"--([a-z0-9][\w-]*)", words))
    usage = re.search(r"Usage: \w+ \[-([\w]+)\]", text)
    short |= set(usage[1]) if usage and "BusyBox" in text else set()
    if name == "ip":
        # All but the syntax of the options is that of the objects.
        text = text.partition("OPTIONS :=")[2].partition("\n\n")[0]
        long |= set(re.findall(r"-\w+\[\w+\]", text))
        long = {re.sub(r"\W", "", option) for option in long}
    if name in SYNTAX:
        found = re.findall(SYNTAX[name], text, re.MULTILINE)
        words = {"".join(groups) if isinstance(groups, tuple) else groups for groups in found}
        short |= {word for word in words if len(word) == 1}
        long |= {word for word in words if len(word) > 1}
    short |= set(HIDDEN.get(name, "") if "BusyBox" not in text else "")
    return " ".join([*([f"-{''.join(sorted(short))}"] if short else []), *sorted(long)])


def probe(name: str, directory: str) -> str:
    """Return the options that an applet takes, which are more than its help has.

    Each is tried before an option that there is not, so that the applet never begins its work.
    """
    applet = ["/usr/bin/busybox", name]
    long = {option for option in known_options("gnu", name)[1] if option != "help"}
    long |= {option for option in known_options("busybox", name)[1] if option != "help"}
    # A digit is a number for some, and an option for those whose help says so.
    digits = "".join(c for c in known_options("busybox", name)[0] if c.isdigit())
    found_short = "".join(
        letter
        for letter in string.ascii_letters + digits
        if f"invalid option -- '{letter}'"
        not in ask([*applet, f"-{letter}", "1", "--no-such-option"], directory)
    )
    found_long: list[str] = []
    for option in sorted(long):
        answer = ask([*applet, f"--{option}", "--no-such-option"], directory)
        # An applet without long options takes them for the letter -.
        if not re.search(rf"unrecognized option '--{option}'|invalid option -- '-'", answer):
            found_long.append(option)
    letters = "".join(sorted(found_short))
    return " ".join([*([f"-{letters}"] if letters else []), *found_long])


def with_table(options: str, answer: str) -> str:
    """Return *options* with the long ones in the order of the program's table.

    An option without a name could be any, and getopt_long(3) lists them all.
    """
    table: list[str] = re.findall(r"'--([a-z0-9][\w-]*)'", answer.partition("possibilities:")[2])
    words = options.split()
    short = [word for word in words[:1] if word.startswith("-")]
    return " ".join([*short, *(table or words[len(short) :])])


def main() -> int:
    lines = [HEAD]
    with tempfile.TemporaryDirectory(prefix="record-options-") as directory:
        for userland, before in (("busybox", ["/usr/bin/busybox"]), ("gnu", [])):
            lines.append(f'    "{userland}": {{\n')
            for name in sorted(USERLANDS[userland].programs):
                if name in LEFT_OUT or (before and name in ("mount", "umount")):
                    continue
                question = ["--help"] if before else QUESTIONS.get(name, ["--help"])
                options = options_of(name, ask([*before, name, *question], directory))
                if options and before and name not in SYNTAX and name not in UNTRIED:
                    options = probe(name, directory)
                if options and name not in SYNTAX:
                    options = with_table(options, ask([*before, name, "--=x"], directory))
                if options:
                    lines.append(f'        "{name}": "{options}",\n')
            lines.append("    },\n")
    TARGET.write_text("".join([*lines, "}\n"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
