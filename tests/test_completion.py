"""Completion in real shells, and the manual page."""

import os
import pty
import select
import shutil
import subprocess
from pathlib import Path

import pytest

from qgasim.cli.parser import COMMANDS
from tests.command_line import ROOT, run
from tests.page_reader import install
from tests.serving import PATIENCE

MANUAL = ROOT / "packaging" / "man" / "qgasim.1"
#: How a shell is asked what it would offer for the words of a line, the last one unfinished.
ASK = {
    "bash": """\
eval "$(qgasim completion bash)"
COMP_WORDS=({line}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_shtab_qgasim
printf '%s\\n' "${{COMPREPLY[@]}}"
""",
    "fish": "qgasim completion fish | source; complete -C '{line}'",
}
#: What is typed, and some of what is offered.
TYPED = {
    "qgasim c": {"call", "check", "compare", "completion", "ctl"},
    "qgasim --fsf": {"--fsfreeze-hook"},
    "qgasim --scenario debian-1": {"debian-12"},
    "qgasim ctl inj": {"inject"},
    "qgasim completion z": {"zsh"},
}


@pytest.mark.slow
@pytest.mark.parametrize("shell", ASK)
def test_a_shell_completes(shell: str, tmp_path: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    for line, wanted in TYPED.items():
        done = subprocess.run(
            [shell, "-c", ASK[shell].format(line=line)],
            cwd=tmp_path,
            env={**install(tmp_path), "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
        offered = {offer.split("\t")[0] for offer in done.stdout.splitlines()}
        assert wanted <= offered, (line, done)


#: zsh completes only what is typed, when it waits for it; ^T lists what it would offer.
ZSH = """\
stty cols 300 rows 200; autoload -Uz compinit; compinit -u -D
eval "$(qgasim completion zsh)"; bindkey '^T' list-choices; print rea''dy
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("zsh") is None, reason="no zsh here")
def test_zsh_completes_what_is_typed(tmp_path: Path) -> None:
    environment = {**install(tmp_path), "HOME": str(tmp_path), "TERM": "dumb"}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(tmp_path)
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment)
    os.write(terminal, ZSH.encode())
    read_until(terminal, {"ready"})
    for line, wanted in TYPED.items():
        os.write(terminal, line.encode() + b"\x14")
        read_until(terminal, wanted)
        os.write(terminal, b"\x15")
    os.write(terminal, b"exit\n")
    os.waitpid(child, 0)
    os.close(terminal)


def read_until(terminal: int, wanted: set[str]) -> None:
    shown = ""
    while not wanted <= {*shown.split()}:
        assert select.select([terminal], [], [], PATIENCE)[0], (wanted, shown)
        shown += os.read(terminal, 65536).decode(errors="replace")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_read_its_script(
    shell: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(["completion", shell]) == 0
    script = tmp_path / "script"
    script.write_text(capfd.readouterr().out)
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell} here")
    done = subprocess.run([shell, "-n", str(script)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_manual_page_has_every_command() -> None:
    text = MANUAL.read_text()
    for name in COMMANDS:
        assert rf".SH COMMAND \fI\,'qgasim {name}'\/\fR" in text


@pytest.mark.skipif(shutil.which("man") is None, reason="no man here")
def test_the_manual_page_is_formatted_without_a_warning() -> None:
    done = subprocess.run(
        ["man", "--warnings", "-E", "UTF-8", "-l", str(MANUAL)],
        env={"MANWIDTH": "80", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "a simulated QEMU guest agent" in done.stdout
