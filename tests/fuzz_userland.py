"""Compare the guest's shells and programs with real ones: ``python -m tests.fuzz_userland``.

A seeded generator with a closed vocabulary makes short scripts. Each runs in a simulated guest and under
the real shell, as uid 65534, in a directory of its own and under limits; standard output, messages and
status must be the same. The vocabulary acts on nothing but that directory: it has no program that sends
signals, and no path outside of it but names that do not exist and /dev/null.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from random import Random
from typing import Final, NamedTuple, Self

from qgasim.guest import Guest, GuestSettings
from qgasim.guest.files.open_files import Sink
from qgasim.guest.settings import OsSettings
from qgasim.userland import USERLANDS
from tests.userland.scripts import Generator

__all__ = ["FILES", "SHELLS", "Outcome", "RealShell", "Simulated", "Verdict", "compare"]

RUNNER: Final = str(Path(__file__).with_name("userland") / "script_runner.py")
#: How often a script runs again that came out differently: what two processes write may be in any order. Every other
#: time all processes share one processor, which makes other orders likely.
TRIES: Final = 16
#: What lies in a script's directory.
FILES: Final = {
    "a": "one two\nthree\n\ntwo:2:x\n",
    "b.txt": "10\n9\n2 b\n2 a\n",
    "d/c": "deep\n",
    "lib": "y=sourced\necho in lib $1\n",
}
#: Which programs the scripts name; the real BusyBox has links for these only.
PROGRAMS: Final = [
    "basename",
    "cat",
    "cut",
    "dirname",
    "echo",
    "env",
    "grep",
    "sed",
    "head",
    "ls",
    "mkdir",
    "seq",
    "sort",
    "tail",
    "tr",
    "wc",
]


#: What is not compared if it differs: what the script says, and what the real shell says to it.
INCOMPARABLE: Final = (
    # Process ids, random numbers, the processor's time, what lies in the root directory.
    (r"\$\$", b""),
    (r"", rb"PPID=|0m0\."),
    (r"\$RANDOM", rb"(?m)^\++ echo \d"),
    (r"\s/\*", b""),
    # The real one's limit; the guest's files may be larger. The guest's shell is root's.
    (r"", rb"File size limit exceeded|(create|line \d+:) /.*: Permission denied"),
    # Pages of usage, which are cut short here.
    (r"", rb"BusyBox v|Usage: sed"),
    # Bugs of bash: getopts reads on in words of another call, an error exit from a function leaves its variables out of
    # order, and the line after a quote that eval found open begins with no keyword.
    (r"(?s)-ab.*getopts|getopts.*-ab.*getopts", b""),
    (r"eval", rb"pop_var_context"),
    (r"trap", rb"wait_for: No record"),
    (r"eval", rb"(?s)syntax error near.*eval: [^\n]*EOF while"),
    # A bug of ash: the name of a user ends at a slash in arithmetic.
    (r"", rb"Segmentation fault"),
    (r"~\S*\$\(\([^)]*/", b""),
    # Bugs of dash: its test reads behind the end of its arguments, and its umask behind that of a mode.
    (r"", rb"(test|\[): (test|\[): unexpected"),
    (r"umask \S*[ugoa]\s", rb"Illegal mode"),
)


class Flavour(NamedTuple):
    """A shell to compare: its program, the guest's userland, and how the guest's shell is called."""

    path: str
    userland: str
    name: str


SHELLS: Final = {
    "dash": Flavour("/usr/bin/dash", "gnu", "sh"),
    "bash": Flavour("/usr/bin/bash", "gnu", "bash"),
    "ash": Flavour("/usr/bin/busybox", "busybox", "sh"),
}


class Outcome(NamedTuple):
    """What came of a script."""

    stdout: bytes
    #: Sorted: lines that two processes write have no order.
    messages: tuple[bytes, ...]
    status: int | None

    def is_shuffled(self, other: "Outcome") -> bool:
        """Return whether *other* is this in another order: dash's processes mix even within the lines of `set -x`."""
        return all(
            sorted(ours) == sorted(theirs)
            for ours, theirs in (
                (self.stdout, other.stdout),
                (b"\n".join(self.messages), b"\n".join(other.messages)),
            )
        )


class Verdict(Enum):
    """What comparing a script has shown."""

    SAME = "are the same"
    DIFFERENT = "differ"
    #: The real shell's processes race: its own runs differ.
    RACING = "race"
    #: A construct or an option is refused by name.
    REFUSED = "are refused"
    #: What the script shows depends on more than the shell.
    UNCOMPARED = "cannot be compared"


class RealShell:
    """Runs scripts with a shell of this machine, as the user `nobody`; a context."""

    def __init__(self, flavour: Flavour, root: Path) -> None:
        self.flavour = flavour
        self.root = root / "run"
        self.directory = self.root / "w"
        self.root.mkdir()
        # The runner, which has no rights, makes the files.
        self.root.chmod(0o777)
        # No program but these can be called, whatever a mutation makes of a name.
        programs = root / "bin"
        programs.mkdir()
        for name in PROGRAMS:
            is_applet = flavour.userland == "busybox"
            (programs / name).symlink_to(flavour.path if is_applet else f"/usr/bin/{name}")
        self.path = str(programs)
        self._runner = subprocess.Popen(
            [sys.executable, "-I", "-S", RUNNER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.communicate(timeout=60)

    def run(self, script: str, *, on_one_processor: bool = False) -> Outcome | None:
        """Run *script*; None if it took too long or wrote too much."""
        return self.call(["-c", script], on_one_processor=on_one_processor)

    def call(
        self,
        arguments: list[str],
        stdin: str | None = None,
        present: Mapping[str, str] = FILES,
        *,
        on_one_processor: bool = False,
    ) -> Outcome | None:
        """Call the shell, with nothing on its input if *stdin* is None, and the files *present*; None if it took too long or wrote too much."""
        request = {
            "on_one_processor": on_one_processor,
            "root": str(self.root),
            "files": dict(present),
            "argv": [self.flavour.name, *arguments],
            "stdin": stdin,
            "executable": self.flavour.path,
            "path": self.path,
        }
        assert self._runner.stdin is not None
        assert self._runner.stdout is not None
        self._runner.stdin.write(json.dumps(request) + "\n")
        self._runner.stdin.flush()
        found = json.loads(self._runner.stdout.readline())
        if found is None:
            return None
        stdout, stderr, status = found[0].encode("latin-1"), found[1].encode("latin-1"), found[2]
        # A script may pass what it shows through `tr a b`.
        for path in (self.path, self.path.replace("a", "b")):
            stdout = stdout.replace(path.encode(), b"/usr/bin")
            stderr = stderr.replace(path.encode(), b"/usr/bin")
        return Outcome(stdout, tuple(sorted(stderr.splitlines())), status if status >= 0 else None)


class Simulated:
    """Runs scripts in a simulated guest."""

    def __init__(self, flavour: Flavour, directory: str) -> None:
        self.flavour = flavour
        self.directory = directory
        settings = GuestSettings(os=OsSettings(userland=flavour.userland))  # type: ignore[arg-type]
        self.guest = Guest(settings, USERLANDS[flavour.userland], source=lambda: 0)
        files = self.guest.files
        for place in ("/dev", "/tmp"):
            files.makedirs(place)
        # Like the real one, the shell is not on PATH.
        files.makedirs("/shell")
        self.program = f"/shell/{flavour.name}"
        files.write(self.program, files.read(f"/usr/bin/{flavour.name}"), 0o755)
        for name in files.listdir("/usr/bin"):
            if name not in (*PROGRAMS, "busybox"):
                files.unlink(f"/usr/bin/{name}")
        if not files.exists("/dev/null"):
            files.add_device("/dev/null", 1, 3)

    def run(self, script: str) -> Outcome | None:
        """Run *script*; None if it does not end within a minute of the guest's time."""
        return self.call(["-c", script])

    def call(
        self, arguments: list[str], stdin: str | None = None, present: Mapping[str, str] = FILES
    ) -> Outcome | None:
        """Call the shell, with nothing on its input if *stdin* is None, and the files *present*; None if it does not end within a minute of the guest's time."""
        files, processes = self.guest.files, self.guest.processes
        # The guest's shell is root's, and can make more than the real one.
        for place in (self.directory, "/nonexistent"):
            if files.exists(place):
                files.remove_tree(place)
        for name, text in present.items():
            path = f"{self.directory}/{name}"
            files.makedirs(path.rsplit("/", 1)[0])
            files.write(path, text.encode())
        out, errors = Sink(1 << 24), Sink(1 << 24)
        if stdin is not None:
            files.write("/tmp/stdin", stdin.encode())
        source = files.open("/dev/null" if stdin is None else "/tmp/stdin", os.O_RDONLY)
        process = processes.spawn(
            [self.flavour.name, *arguments],
            env=["PATH=/usr/bin", "LC_ALL=C", "HOME=/nonexistent"],
            cwd=self.directory,
            files={0: source, 1: out, 2: errors},
            program=self.program,
        )
        source.close()
        process.on_exit = lambda _how: None
        processes.run(process, self.guest.clock.uptime() + 60 * 10**9)
        how = process.exit
        if how is None:
            processes.kill(process.pid, signal.SIGKILL)
            return None
        processes.settle(10**9)
        processes.reap(process)
        return Outcome(
            bytes(out.data),
            tuple(sorted(bytes(errors.data).splitlines())),
            how.code if how.signal is None else None,
        )


def compare(
    shell: str, scripts: Iterator[str], root: Path
) -> Iterator[tuple[Verdict, str, Outcome | None, Outcome | None]]:
    """Run *scripts* on both sides; yield for each what that has shown, and what is real and simulated."""
    flavour = SHELLS[shell]
    with RealShell(flavour, root) as real:
        simulated = Simulated(flavour, str(real.directory))
        for script in scripts:
            try:
                ours = simulated.run(script)
            except Exception:
                sys.stderr.write(f"failed on: {script}\n")
                raise
            theirs = real.run(script)
            yield _judge(script, ours, theirs, real), script, theirs, ours


def _judge(script: str, ours: Outcome | None, theirs: Outcome | None, real: RealShell) -> Verdict:
    if theirs is not None and theirs == ours:
        return Verdict.SAME
    if theirs is None or is_incomparable(script, theirs):
        return Verdict.UNCOMPARED
    if is_refused(ours):
        return Verdict.REFUSED
    outcomes = {theirs}
    for index in range(TRIES):
        again = real.run(script, on_one_processor=index % 2 == 0)
        if again is None:
            continue
        if again == ours:
            return Verdict.RACING
        outcomes.add(again)
        if ours is None or ours.status != again.status or not ours.is_shuffled(again):
            continue
        # What runs in the background writes at some time, and dash writes the lines of `set -x` in pieces.
        is_race = has_background(script) or (has_processes(script) and "set -" in script)
        if is_race or len(outcomes) > 1:
            return Verdict.RACING
    return Verdict.DIFFERENT


def has_processes(script: str) -> bool:
    """Return whether *script* may run several processes at once."""
    return has_background(script) or re.search(r"(?<![|>])\|(?!\|)", script) is not None


def has_background(script: str) -> bool:
    """Return whether *script* may run something in the background."""
    return re.search(r"(?<![&<>])&(?![&>])", script) is not None


def is_incomparable(script: str, outcome: Outcome) -> bool:
    """Return whether what *script* shows depends on more than the shell: see `INCOMPARABLE`."""
    shown = outcome.stdout + b"\n" + b"\n".join(outcome.messages)
    return outcome.status is None or any(
        re.search(named, script) and re.search(said, shown) for named, said in INCOMPARABLE
    )


def is_refused(outcome: Outcome | None) -> bool:
    """Return whether a construct or option was refused by name."""
    if outcome is None:
        return False
    return any(b"qgasim" in text for text in (outcome.stdout, *outcome.messages))


def main() -> int:
    """Compare as many scripts as asked for, and print the differences."""
    parser = argparse.ArgumentParser(prog="fuzz_userland")
    parser.add_argument("--scripts", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shell", choices=[*SHELLS, "all"], default="all")
    parser.add_argument("--show", type=int, default=20)
    parser.add_argument("--also", choices=["racing", "refused", "uncompared"])
    options = parser.parse_args()
    failures = 0
    # A file system in memory is ten times as fast.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    for shell in SHELLS if options.shell == "all" else [options.shell]:
        if not Path(SHELLS[shell].path).exists():
            sys.stdout.write(f"{shell}: skipped, {SHELLS[shell].path} is not installed\n")
            continue
        random = Random(options.seed)
        scripts = (Generator(random, shell).script() for _ in range(options.scripts))
        counts = Counter[Verdict]()
        with tempfile.TemporaryDirectory(prefix="fuzz-userland-", dir=memory) as name:
            root = Path(name)
            root.chmod(0o755)
            for verdict, script, theirs, ours in compare(shell, scripts, root):
                counts[verdict] += 1
                is_shown = verdict is Verdict.DIFFERENT or verdict.name.lower() == options.also
                if is_shown and counts[verdict] <= options.show:
                    text = (
                        f"--- {shell} {verdict.name}\n{script}\n  real: {theirs}\n  ours: {ours}\n"
                    )
                    sys.stdout.write(text)
                    sys.stdout.flush()
        shown = ", ".join(
            f"{counts[verdict]} {verdict.value}"
            for verdict in Verdict
            if verdict is not Verdict.SAME
        )
        sys.stdout.write(f"{shell}: of {options.scripts} scripts {shown}\n")
        failures += counts[Verdict.DIFFERENT]
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
