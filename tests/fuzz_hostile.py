"""Scripts and options that mean to hang qgasim or to fill its memory, at random, in guests that are served.

Run by `make fuzz-hostile`. After each script a ping is answered within two seconds; every few scripts the
server gets SIGTERM while one still runs, and ends within a second; it never has more than 1.5 GiB. What
breaks one of these is written with its seed, and the status is 1 then.
"""

import argparse
import base64
import contextlib
import json
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from qgasim.userland.catalogue import USERLANDS

__all__ = ["main"]

ANSWER_LIMIT: Final = 2.0
TERM_LIMIT: Final = 1.0
#: When a server that does not end is killed.
END_PATIENCE: Final = 20.0
MEMORY_LIMIT: Final = 1536 << 20
#: What the server can have at all, so that a bug cannot take the machine.
ADDRESS_LIMIT: Final = 4 << 30
#: So many scripts are given to a server, each for so long (seconds), before it is ended.
SCRIPTS: Final = 12
PATIENCE: Final = 0.4
#: The first has longer, so that what grows slowly is seen.
LONG_PATIENCE: Final = 4.0
SCENARIOS: Final = ("debian-12", "alpine-3.20")
#: bash is in the first only.
SHELLS: Final = ("/bin/sh", "/bin/sh", "/bin/bash")
COMMAND: Final = (sys.executable, "-W", "always", "-m", "qgasim", "--quiet")
NUMBERS: Final = (
    "0", "-1", "1", "2", "007", "4096", "65536", "99999", "999999999", "2147483647", "2147483648",
    "4294967296", "9223372036854775807", "9223372036854775808", "-9223372036854775808", "1e9", "1e999999999",
    "0x7fffffff", "1T", "8E", "99999999999E", "1.5", "nan", "inf", "9" * 50, "9" * 5000, "-" + "9" * 5000, "1" * 100_000,
)  # fmt: skip
REGEXES: Final = (
    "a*", "(a+)+$", "(a|aa)+$", "a?" * 32 + "a" * 32, "(a*)*b", r"\(a*\)*b", r"(.*)(.*)(.*)\1\2\3x", "x*b{30000}{30000}",
    r"x\{1,99999999999\}", "x{32767}", "(x{200}){200}", "[a-z]*" * 50 + "0", ".*" * 200 + "x", "a|" * 5000 + "b",
    "(" * 3000 + "a" + ")" * 3000, "[[:alpha:]]{1,1000}{1,1000}", "a" * 60000, "^" * 9999, "[" * 999, "\\" * 999,
)  # fmt: skip
GLOBS: Final = (
    "*", "/*/../*/../*/../*/../*/../*", "*" + "a" * 30000, "*a" * 5000, "?" * 30000, "[!a]*" * 3000, "[" * 9999,
    "/*/*/*/*/*", "/proc/*/../*/../*", "*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*[a-z]*0",
)  # fmt: skip
#: Words that are built in the guest, so that a script may be small.
TEXTS: Final = (
    "$(seq 1 20000)", "$(printf %060000d 0)", "$(head -c 1000000 /dev/zero | tr '\\0' a)", "$(cat /bin/*)", '"$(seq 1 9999)"',
    "$BIG", '"$BIG"', "$0", "/dev/zero", "/tmp/sparse", "/tmp/f", "-", "", "/", "..", "x", "/proc/self/../../tmp",
)  # fmt: skip
LETTERS: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
#: All but those after which the guest does not answer.
PROGRAMS: Final = sorted(
    {*USERLANDS["gnu"].programs} - {"fsfreeze", "halt", "poweroff", "reboot", "shutdown"}
)
#: Long options that take values.
LONG_OPTIONS: Final = (
    "bytes", "lines", "width", "block-size", "max-count", "context", "size", "date", "format",
    "separator", "key", "delimiter", "max-args", "max-procs", "max-depth", "repeat", "input",
    "output", "reference", "mode", "owner", "skip-fields", "check-chars", "signal", "kill-after",
    "suffix", "wrap", "time", "adjust", "io-size", "buffer-size", "parallel", "batch-size",
    "replace",
)  # fmt: skip
#: What programs and shells open, and what closes it.
NESTS: Final = (
    ("find / ", r"\\( ", "-name x", r" \\)"), ("find / ", "! ", "-name x", ""), ("sed -n '", "{", "p", "}"),
    ("test ", r"\\( ", "1", r" \\)"), ("test ", "! ", "1", ""),
    ("echo $((", "(", "1", ")"), ("echo $((", "-", "1", ""), ("echo $((", "1?", "1", ":0"), ("echo ", "$(echo ", "1", ")"),
    ("echo ", "${x:-", "1", "}"), ("awk 'BEGIN{print ", "(", "1", ")"), ("awk 'BEGIN", "{", "print", "}"),
    ("awk 'BEGIN{print ", "-", "1", ""), ("awk 'BEGIN{x", "[x", "=1", "]"), ("grep -E '", "(", "a", ")*"),
    ("grep '", r"\\(", "a", r"\\)*"), ("", "env ", "true", ""),
    ("", "! ", "true", ""), ("", "{ ", ":;", " }"), ("", "while :; do ", ":", "; done"), ("", "case a in a) ", ":", ";; esac"),
    ("", "f() ", "(:)", ""), ("[[ ", "( ", "a", " )"), ("[[ ", "! ", "a", ""), ("date -d '", "1 day ", "", "ago "),
    ("printf '", "%*", "d", ""), ("printf '", "%.*", "s", ""), ("tr ", "[:alpha:]", "", ""), ("echo ", "{a,", "b", "}"),
    ("mkdir -p ", "a/", "b", ""), ("ls ", "/", "", "/.."), ("chmod ", "u=rwx,", "u=r", " /tmp/f"),
)  # fmt: skip
SETUP: Final = "seq 1 30000 > /tmp/f; BIG=$(head -c 200000 /dev/zero | tr '\\0' a); "


class Writer:
    """Writes scripts."""

    def __init__(self, seed: str) -> None:
        self.random = random.Random(seed)

    def pick(self, choices: Sequence[str]) -> str:
        return str(self.random.choice(choices))

    def word(self) -> str:
        quoted = "'" + self.pick((*NUMBERS, *REGEXES)).replace("'", "") + "'"
        return self.random.choice((quoted, self.pick(GLOBS), self.pick(TEXTS), self.pick(NUMBERS)))

    def options(self) -> str:
        """Write a program with options that it may have, and arguments."""
        words = [self.pick(PROGRAMS)]
        for _ in range(self.random.randrange(4)):
            letters = "".join(self.pick(LETTERS) for _ in range(self.random.randrange(1, 3)))
            form = self.pick(
                ["-{letters}", "-{letters} {word}", "-{letters}{word}", "--{long}={word}"]
            )
            words.append(
                form.format(letters=letters, word=self.word(), long=self.pick(LONG_OPTIONS))
            )
        words += [self.word() for _ in range(self.random.randrange(4))]
        return " ".join(words)

    def texts(self) -> str:
        """Write a program that works on patterns, formats or sizes."""
        number, other = self.pick(NUMBERS), self.pick(NUMBERS)
        regex = self.pick(REGEXES)
        return self.pick(
            [
                f"echo $BIG | grep -E '{regex}'",
                f"grep -{self.pick('icvnowx')}E '{regex}' /tmp/f",
                f"echo $BIG | sed -E 's/{regex}/&&&&/g'",
                f"sed ':a;s/^/{regex}/;ta' /tmp/f",
                "echo a | sed ':a;s/.*/&&/;ba'",
                "echo a | sed ':a;G;H;x;ba'",
                f"echo $BIG | awk '/{regex}/'",
                f"awk 'BEGIN {{ printf \"%{number}d\", {other} }}'",
                f"find / -name '{self.pick(GLOBS)}' -size {number} -mtime {other}",
                f"find / -regex '{regex}'",
                f"printf '%{number}s %.{other}d %{number}.{other}f' 1 2 3 4 5 6 7 8 9",
                "printf %1000000s " + "a " * 5000,
                f"seq -f %{number}f {other}",
                f"seq {number} {other} {self.pick(NUMBERS)}",
                f"seq -w {number}",
                f'seq -s "$BIG" {number}',
                f"date +%{number}d%{other}Y",
                f"date -d @{number}",
                f"date -d '{number} days ago'",
                f"head -c {number} /dev/zero | tail -n {other}",
                f"tail -c {number} /tmp/sparse",
                f"tail -n {number} /dev/zero",
                f"sort -k {number},{other} /tmp/f",
                f"sort -t '{self.pick(LETTERS)}' -{self.pick('nrufbhVgdM')} /tmp/sparse",
                f"sort -k {number}.{other} -k {self.pick(NUMBERS)} /tmp/f",
                f"cut -c {number}-{other} /tmp/f",
                f"tr '\\0' '[a*{number}]' < /tmp/f",
                f"grep -m {number} -A {other} -B {self.pick(NUMBERS)} 1 /tmp/f",
                f"sleep {number}",
                f"kill -{number} {other}",
                f"mkdir -p $(printf 'a/%.0s' $(seq 1 {self.random.choice((100, 5000))}))",
                f"chmod {number} /tmp/f; touch -d @{other} /tmp/f",
                "mv / x; cp -r / /tmp/y; ln -s / /tmp/z; rm -r /tmp/y",
                "while :; do ln -s $(printf %04000d $i) /tmp/l$((i=i+1)); done",
                f"ls -w {number} -T {other}",
            ]
        )

    def nest(self) -> str:
        """Write something that is in itself many times."""
        before, opened, inner, closed = self.random.choice(NESTS)
        depth = self.random.choice((30, 900, 9000, 60_000))
        end = (
            "'" * (before.count("'") % 2) + "))" * before.count("$((") + " ]]" * before.count("[[")
        )
        if self.random.random() < 0.2:
            return before + opened * depth + inner
        return before + opened * depth + inner + closed * depth + end

    def shell(self) -> str:
        """Write what only the shell works on."""
        number, glob, text = self.pick(NUMBERS), self.pick(GLOBS), self.pick(TEXTS)
        return self.pick(
            [
                "while :; do :; done",
                "f() { f; }; f",
                "f() { f | f & }; f",
                "x=a; while :; do x=$x$x; done",
                "x=aaaaaaaaaaaaaaaa; while :; do eval v$((i=i+1))=$BIG; done",
                'while :; do eval "f$((i=i+1))() { echo $BIG; }"; done',
                "while :; do eval \"alias a$((i=i+1))='$BIG'\"; done",
                'while :; do set -- "$@" $BIG; done',
                'while :; do trap "$BIG$((i=i+1))" $((i%30)); done',
                "while :; do cd /tmp; mkdir -p d; cd d; done",
                "".join(f"x{i}=x{i + 1}+x{i + 1};" for i in range(1, 38)) + "x38=1; echo $((x1))",
                f"echo $(({number}*{number}**{number}))",
                f"echo $(({'(' * 5000}1{')' * 5000}))",
                f"x=$(( {'1+' * 20000}1 )); echo $x",
                f"case $BIG in {glob}) echo y;; esac",
                f'case "$(seq 1 9999)" in {glob}) echo y;; esac',
                f"x=$BIG; echo ${{x#{glob}}} ${{x##{glob}}} ${{x%{glob}}} ${{x%%{glob}}}",
                "x=$BIG; echo ${x//a/$BIG}",
                f"x=$BIG; echo ${{x:{number}:{self.pick(NUMBERS)}}}",
                f"echo {glob}",
                f"for i in {text} {glob}; do echo $i; done",
                f"set -- {text}; shift {number}; echo $#",
                f"exit {number}",
                f"return {number}; break {number}; continue {number}",
                f"umask {number}; ulimit -n {number}",
                f"read -n {number} x < /dev/zero; echo ${{#x}}",
                f"sleep 999999 | read -t {number} x",
                f"exec {number[:6]}>/tmp/x",
                f"wait {number}; kill -9 {number}; fg %{number}",
                f"getopts ab: x {text}",
                f"test {number} -gt {self.pick(NUMBERS)}; [ {text} = {glob} ]",
                "head -c 4000000 /dev/zero | tr '\\0' a | sh",
                "(echo 'cat <<E'; yes a) | sh",
                "(" * 3000 + ":" + ")" * 3000,
                "if :; then " * 2000 + ":" + "; fi" * 2000,
                "{ " * 9000,
                "$(" * 2000,
                "`" * 3001,
                "a=${a:-" * 3000,
                "eval " * 9000,
                ": | " * 5000 + ":",
                ": & " * 5000,
                'sh -c \'sh -c "$0" "$0"\' \'sh -c "$0" "$0"\'',
                "cat <<E\n" + "$BIG" * 2000 + "\nE",
                "echo " + "$BIG" * 900,
                "exec sh -c 'trap \"\" TERM INT HUP; while :; do :; done'",
                "(trap '' TERM; sleep 999999) & sleep 999999",
                f"printf '{self.pick(REGEXES)}%b' '\\0{number}' \"$BIG\"",
            ]
        )

    def bash(self) -> str:
        """Write what only bash takes."""
        number, glob, regex = self.pick(NUMBERS), self.pick(GLOBS), self.pick(REGEXES)
        return self.pick(
            [
                f"[[ $BIG =~ {regex} ]]; echo ${{BASH_REMATCH[0]}}",
                f"[[ $BIG == {glob} ]]",
                f"[[ {number} -gt {self.pick(NUMBERS)} && -n $BIG ]]",
                "while :; do printf -v x %s%s $x $BIG; done",
                f"printf -v x %{number}s a",
                f"read -N {number} x < /dev/zero",
                "read -d '' x < /dev/urandom",
                f"for ((i={number};;i++)); do :; done",
                f"echo $(({number}**{self.pick(NUMBERS)}))",
                f"let x={number}; ((x<<={number}))",
                "declare -i x='x+1'; while :; do x=x+x; done",
                "x=a; while :; do x+=$x; done",
                "x='x[x]'; echo $((x)) ${x[1/0]}",
                f"echo {{1..{number}}} {{a,b}}{{a,b}} ${{x[{number}]}}",
                "cat <(cat <(cat <(yes)))",
                "while :; do cat <(yes) & done",
                f"x=${{BIG:{number}}} y=${{BIG: -{self.pick(NUMBERS)}}}",
                "trap ': $BIG' DEBUG ERR EXIT; while :; do false; done",
                "trap 'kill -TERM $$' TERM; kill -TERM $$",
                "set -o pipefail; yes | yes | yes",
                "PS4='$(yes)'; set -x; :",
                "time while :; do :; done",
                f"cat <<<$BIG{regex!r}",
                'f() { f "$@" "$@"; }; f a',
            ]
        )

    def script(self, shell: str = "/bin/sh") -> str:
        kinds = [self.options, self.options, self.texts, self.shell, self.nest]
        parts = [
            self.random.choice([*kinds, self.bash, self.bash] if "bash" in shell else kinds)()
            for _ in range(self.random.choice((1, 1, 2, 3)))
        ]
        joined = self.random.choice(("; ", " | ", " & ", " && ")).join(parts)
        if self.random.random() < 0.15:
            joined = f"while :; do {joined}; done"
        return joined


class Served:
    """A server in a process of its own, and a client of it."""

    def __init__(self, folder: str, scenario: str) -> None:
        self.path = f"{folder}/socket"
        self.errors = Path(folder) / "errors"
        #: How long it has waited for a processor, in seconds.
        self.waited = 0.0
        #: How long the slowest answer took since that was last looked at, in seconds.
        self.slowest = 0.0
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*COMMAND, "--scenario", scenario, "--listen", f"unix:{self.path}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                preexec_fn=_limit,  # noqa: PLW1509
            )
        self.client = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + 60
        while True:
            try:
                self.client.connect(self.path)
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.05)
            else:
                break
        self.client.settimeout(30)
        self.reader = self.client.makefile("rb")
        handle = self.ask("guest-file-open", path="/tmp/sparse", mode="w")["return"]
        self.ask("guest-file-seek", handle=handle, offset=10 << 40, whence="set")
        self.ask("guest-file-write", handle=handle, **{"buf-b64": "AA=="})
        self.ask("guest-file-close", handle=handle)

    def ask(self, command: str, **arguments: Any) -> Any:
        request = (
            {"execute": command, "arguments": arguments} if arguments else {"execute": command}
        )
        asked = self.clock()
        self.client.sendall(json.dumps(request).encode() + b"\n")
        reply = self.reader.readline()
        self.slowest = max(self.slowest, self.clock() - asked)
        return json.loads(reply)

    def run(self, script: str, shell: str = "/bin/sh") -> int:
        """Start a script; return its process id, 0 if it could not be started."""
        said = self.ask("guest-exec", path=shell, arg=["-s"], **_input(script))
        return int(said.get("return", {}).get("pid", 0))

    def clock(self) -> float:
        """Return a time in seconds that stands still while the server waits for a processor.

        So what else the machine does is not held against it.
        """
        with contextlib.suppress(OSError, IndexError):
            task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/schedstat")
            self.waited = int(task.read_text().split()[1]) / 1e9
        return time.monotonic() - self.waited

    def memory(self) -> int:
        """Return the most memory that it has had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) << 10

    def end(self) -> float:
        """Send SIGTERM; return how long it takes to end, in seconds."""
        began = self.clock()
        self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None and self.clock() - began < END_PATIENCE:
            time.sleep(0.005)
        took = self.clock() - began
        self.process.kill()
        self.process.wait()
        self.reader.close()
        self.client.close()
        return took


def _input(script: str) -> dict[str, Any]:
    return {
        "input-data": base64.b64encode((SETUP + script).encode()).decode(),
        "capture-output": True,
    }


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_LIMIT, ADDRESS_LIMIT))


class Report:
    """What was seen."""

    def __init__(self) -> None:
        self.scripts = self.servers = 0
        self.slowest = self.slowest_end = 0.0
        #: The script during which the slowest answer came, by its seed.
        self.slowest_seed = ""
        self.memory = 0
        self.wrong = 0

    def complain(self, seed: str, what: str, script: str) -> None:
        self.wrong += 1
        shown = script if len(script) < 300 else f"{script[:200]} ... {script[-90:]}"
        print(f"seed {seed}: {what}\n    {shown!r}", flush=True)


def _serve(seed: str, report: Report, scripts: int) -> None:
    """Start a server, give it scripts, and end it."""
    with tempfile.TemporaryDirectory() as folder:
        served = Served(folder, random.Random(seed).choice(SCENARIOS))
        report.servers += 1
        script, memory = "", 0
        try:
            for number in range(scripts):
                name = f"{seed}.{number}"
                shell, script = _write(name)
                report.scripts += 1
                memory = _try(served, name, (shell, script), report, memory)
        except (OSError, ValueError) as error:
            report.complain(seed, f"no answer: {error!r}", script)
        took = served.end()
        report.slowest_end = max(report.slowest_end, took)
        if took > TERM_LIMIT:
            report.complain(seed, f"SIGTERM was obeyed after {took:.1f} s", script)
        for line in served.errors.read_text(errors="replace").splitlines():
            if "RuntimeWarning" in line or "Traceback" in line or "bug" in line:
                report.complain(seed, line[-400:], script)


def _write(seed: str) -> tuple[str, str]:
    """Write a script; return the shell that is to run it, and the script."""
    writer = Writer(seed)
    shell = writer.pick(SHELLS)
    return shell, writer.script(shell)


def _try(served: Served, seed: str, work: tuple[str, str], report: Report, memory: int) -> int:
    """Run one script; return the most memory that the server has had."""
    served.slowest = 0
    shell, script = work
    pid = served.run(script, shell)
    deadline = time.monotonic() + (LONG_PATIENCE if seed.endswith(".0") else PATIENCE)
    while time.monotonic() < deadline:
        served.ask("guest-ping")
        said = served.ask("guest-exec-status", pid=pid) if pid else {"return": {"exited": True}}
        if said.get("return", {}).get("exited"):
            break
        time.sleep(0.02)
    else:
        served.ask("guest-exec", path="/bin/kill", arg=["-9", str(pid)])
    if served.slowest > report.slowest:
        report.slowest, report.slowest_seed = served.slowest, seed
    if served.slowest > ANSWER_LIMIT:
        report.complain(seed, f"a request was answered after {served.slowest:.1f} s", script)
    now = served.memory()
    report.memory = max(report.memory, now)
    if now > MEMORY_LIMIT >= memory:
        report.complain(seed, f"memory: {now >> 20} MiB", script)
    return now


def main() -> int:
    """Run for as long as the options say; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", default="0")
    parser.add_argument("--only", help="a seed that was reported, as in 0.17.3")
    options = parser.parse_args()
    report = Report()
    if options.only:
        print(*_write(options.only), sep="\n")
    deadline = time.monotonic() + options.seconds
    number = 0
    while time.monotonic() < deadline:
        _serve(f"{options.seed}.{number}", report, SCRIPTS)
        number += 1
    print(
        f"{report.scripts} scripts, {report.servers} servers: slowest answer {report.slowest:.2f} s ({report.slowest_seed}), "
        f"slowest end {report.slowest_end:.2f} s, memory {report.memory >> 20} MiB, {report.wrong} wrong"
    )
    return int(report.wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
