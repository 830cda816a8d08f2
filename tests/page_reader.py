"""A reader of a page: goes from top to bottom, and does what it says."""

import io
import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
import time
import tty
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

import pytest

from qgasim import ServerThread, SyncClient, load
from tests.command_line import run
from tests.plugin_run import NO_PLUGINS, needed_plugins
from tests.serving import PATIENCE

ROOT = Path(__file__).parent.parent
#: Sub-commands of qgasim that end by themselves, and ask no agent.
ENDS = {"check", "completion", "drill", "init", "scenarios", "schema", "show", "--version"}
#: What a page calls the directory that qgasim makes.
MADE = "/tmp/qgasim-x1"


def blocks(page: Path, language: str = r"\w+") -> list[str]:
    found = re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)
    return [str(text) for text in found]


def files(page: Path) -> dict[str, str]:
    """Return the blocks that say in their first two lines as what they are to be saved."""
    pattern = r"(?:#!.*\n)?(?:#|//) ([\w./-]+\.\w+|Dockerfile)\n"
    found = [(re.match(pattern, text), text) for text in blocks(page)]
    return {match[1]: text for match, text in found if match}


def save(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def commands(page: Path) -> list[tuple[str, str]]:
    """Return what is typed, each with what is shown below it."""
    found: list[tuple[str, str]] = []
    for block in blocks(page, "console"):
        _, *parts = re.split(r"^\$ ", block, flags=re.MULTILINE)
        for part in parts:
            command, _, shown = part.partition("\n")
            found.append((command, shown))
    return found


def is_shown(shown: str, printed: str) -> bool:
    """Return whether *printed* is what a page shows: ``...`` is any text, or any lines."""
    pattern = re.escape(shown.strip()).replace(re.escape("..."), "(?s:.*)")
    return bool(re.fullmatch(pattern, printed.strip()))


#: Sub-commands that ask an agent, or the control API.
_ASKS = {"call", "compare", "ctl", "exec", "record", "shell", *ENDS}


def is_server(words: list[str]) -> bool:
    is_asked = {*words[1:2]} & _ASKS and "--conversation" not in words
    return words[0] == "qgasim" and not is_asked


#: Sub-commands that are called in the process of the test.
_PLAIN = {"call", "check", "ctl", "exec", "init", "scenarios", "schema", "show", "--version"}


def is_plain(command: str) -> bool:
    """Return whether a command is a plain call of qgasim: there is nothing in it that a shell would do."""
    lexer = shlex.shlex(command, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    program, *words = lexer
    operators = any(set(word) <= set("();<>|&") for word in words)
    return program == "qgasim" and words[0] in _PLAIN and not operators and "$" not in command


class Reader:
    """One directory, one guest at a time."""

    def __init__(self, page: Path, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.status = 0
        self.environment = install(directory)
        self.server: subprocess.Popen[str] | None = None
        #: The agent that the server stands before, if it does.
        self.behind = ExitStack()
        #: What it is to print, and the directory that it made if the page names none.
        self.shown = self.chosen = ""
        self.made = str(directory / "made")
        (directory / "out").mkdir()
        (directory / "my-guest.yaml").write_text("qgasim: 1\nextends: debian-12\n")
        (directory / "test_mine.py").write_text(
            "def test_mine(qga):\n    qga.never('guest-ping')\n"
        )
        for name, text in files(page).items():
            save(directory / name, self.place(text))

    def place(self, text: str) -> str:
        """What a page puts into /tmp is put where the test may."""
        return re.sub(
            f"{MADE}|/(?:tmp|run)/",
            lambda found: self.made if found[0] == MADE else f"{self.directory}/",
            text,
        )

    def follow(self) -> None:
        try:
            for command, shown in commands(self.page):
                self.type(self.place(command), self.place(shown))
        finally:
            self.stop()

    def type(self, command: str, shown: str) -> None:
        """Do what a page says, and look whether it prints what the page shows, if it shows anything."""
        words = shlex.split(command, comments=True)
        if is_server(words):
            self.serve(words[1:], shown)
        elif words[:2] == ["make", "run"]:
            # As make does: qgasim is not on the user's path.
            path = {**self.environment, "PATH": "/usr/bin:/bin"}
            self.serve(["--scenario", "debian-12"], shown, ".venv/bin/qgasim", path)
        elif self.needs_socat(words) and shutil.which("socat") is None:
            return
        else:
            printed = self.do(command, words)
            assert is_shown(shown, printed) if shown else self.status == 0, f"{command}\n{printed}"

    def needs_socat(self, words: list[str]) -> bool:
        """Return whether a command is, or runs a script of the page with, a program that not every machine has."""
        scripts = files(self.page)
        return any("socat" in (word, *scripts.get(word, "").split()) for word in words)

    def do(self, command: str, words: list[str]) -> str:
        """Do what comes to an end; give what is printed."""
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            self.environment[name] = value
            return ""
        if words[0] in ("make", "pip", "git", "cd", "docker", ".") or words[1:3] == ["-m", "venv"]:
            return self.set_up(words)
        if words[0] == "pytest":
            plugins = needed_plugins(self.page.read_text())
            with_them = ("env", *(f"{name}={value}" for name, value in NO_PLUGINS.items()))
            return self.run(*with_them, sys.executable, "-m", "pytest", *plugins, *words[1:])
        if words[0] == "qgasim-ga":
            return self.stand_in(words)
        if words[0] == "qgasim" and words[1] in ("compare", "record") and words[2][0] != "-":
            Path(words[2]).parent.mkdir(exist_ok=True)
            with ServerThread(load("debian-12").build(), words[2]):
                return self.run(*words)
        return self.call(words) if is_plain(command) else self.run("bash", "-c", command)

    def call(self, words: list[str]) -> str:
        """Call the command line in this process, which takes a tenth of a new one."""
        printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
        with pytest.MonkeyPatch.context() as patch, open(os.devnull) as nothing:
            patch.chdir(self.directory)
            patch.setattr(os, "environ", self.environment)
            patch.setattr(sys, "stdin", nothing)
            patch.setattr(sys, "stdout", printed)
            patch.setattr(sys, "stderr", printed)
            status = run(words[1:])
        self.status = status if isinstance(status, int) else 0
        printed.seek(0)
        return printed.read()

    def set_up(self, words: list[str]) -> str:
        """Look at what is not done here: the machine is as it is."""
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
        elif words[0] == "pip":
            assert words[1] == "install"
            assert set(words[2:]) <= {"pytest", "pytest-trio", "./qgasim"}
        elif words[0] == ".":
            assert words[1:] == [".venv/bin/activate"]
        elif words[0] == "docker":
            assert words[1] == "compose"
            assert "compose.yaml" in files(self.page)
        self.status = 0
        return ""

    def run(self, *words: str) -> str:
        done = subprocess.run(
            words,
            cwd=self.directory,
            env=self.environment,
            # `qgasim exec` would take another for the input of its program.
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        self.status = done.returncode
        return done.stdout

    def serve(
        self,
        options: list[str],
        shown: str,
        program: str = "qgasim",
        environment: dict[str, str] | None = None,
    ) -> None:
        """Serve a guest until the next one is served, or the page ends."""
        self.stop()
        upstream = _upstream(options)
        if upstream is not None:
            upstream.parent.mkdir(exist_ok=True)
            self.behind.enter_context(ServerThread(load("debian-12").build(), upstream))
        is_recorder = options[0] == "record"
        self.server = subprocess.Popen(
            [program, *options, "--quiet", *([] if is_recorder else ["--ready-fd=1"])],
            cwd=self.directory,
            env=environment or self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.shown = shown
        assert self.server.stdout
        if is_recorder:
            wait_for(Path(options[options.index("--listen") + 1].removeprefix("unix:")))
            return
        ready = json.loads(self.server.stdout.readline())
        if "--listen" not in options:
            self.chosen = str(Path(ready["path"]).parent)
            os.symlink(self.chosen, self.made)

    def stop(self) -> None:
        if self.server:
            with self.server as server:
                assert server.stdout
                server.terminate()
                printed = server.stdout.read()
            self.server = None
            self.behind.close()
            if os.path.islink(self.made):
                os.unlink(self.made)
                printed = printed.replace(self.chosen, self.made)
            assert is_shown(self.shown or "...", printed), printed

    def stand_in(self, words: list[str]) -> str:
        """Start the stand-in, and ask it."""
        if "virtio-serial" in words:
            # A terminal in place of the port.
            host, port = os.openpty()
            tty.setraw(port)
            words[-1] = os.ttyname(port)
            with started(self, *words, "-t", str(self.directory)):
                os.write(host, b'{"execute": "guest-get-host-name"}\n')
                assert os.read(host, 100) == b'{"return": {"host-name": "debian"}}\n'
            os.close(host)
            os.close(port)
        else:
            path = Path(words[words.index("-p") + 1])
            path.parent.mkdir(exist_ok=True)
            with started(self, *words):
                wait_for(path)
                with SyncClient(str(path)) as client:
                    assert client.call("guest-ping") == {}
        self.status = 0
        return ""


def _upstream(options: list[str]) -> Path | None:
    """Return where a server expects a real agent; None: it needs none."""
    if "--upstream" in options:
        return Path(options[options.index("--upstream") + 1])
    return Path(options[1]) if options[0] == "record" else None


def install(directory: Path) -> dict[str, str]:
    """Return an environment in which `qgasim` is found as if it were installed."""
    for name, module in (("qgasim", "qgasim.cli"), ("qgasim-ga", "qgasim.standin")):
        program = directory / ".venv" / "bin" / name
        program.parent.mkdir(parents=True, exist_ok=True)
        text = f"import sys\nfrom {module} import main\nsys.exit(main())\n"
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    tools = Path(sys.executable).parent
    path = f"{directory / '.venv' / 'bin'}{os.pathsep}{tools}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


@contextmanager
def started(reader: Reader, *command: str) -> Iterator[IO[bytes] | None]:
    with subprocess.Popen(
        command, cwd=reader.directory, env=reader.environment, stdout=subprocess.PIPE
    ) as process:
        try:
            yield process.stdout
        finally:
            process.terminate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
