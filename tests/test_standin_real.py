"""The real qemu-ga 7.2 and ``qgasim-ga``, called the same way: what they print and how they end.

The real one gets a state directory of its own, and is to refuse all that would change the machine.
"""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest

from qgasim.standin import main
from tests.real_agent import BLOCKED, PROGRAM, needs_qemu_ga
from tests.serving import PATIENCE

pytestmark = needs_qemu_ga
Ask: TypeAlias = Callable[..., str]


@pytest.fixture
def same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Ask:
    """Run both with arguments and variables; what they say must be equal. Give it."""
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: str, **variables: str) -> str:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        assert PROGRAM
        # The one ends by itself, as the other does.
        done = subprocess.run(
            [PROGRAM, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=False,
        )
        monkeypatch.setattr(sys, "argv", [PROGRAM, *arguments])
        capfdbinary.readouterr()
        status = main()
        ours = normal(status, *capfdbinary.readouterr())
        assert ours == normal(done.returncode, done.stdout, done.stderr)
        return ours

    return ask


def normal(status: int, out: bytes, err: bytes) -> str:
    """Take out what differs each time: times, numbers of processes, random names."""
    said = f"status {status}\n--- stdout\n{out.decode(errors='backslashreplace')}"
    said += f"--- stderr\n{err.decode(errors='backslashreplace')}"
    said = re.sub(r"process:\d+", "process:N", said)
    said = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "TIME", said)
    said = re.sub(r"(?m)^\d{10}\.\d{6}", "TIME", said)
    said = re.sub(r"7\.2\.22 \(.*\)", "7.2.22", said)
    return re.sub(r"qga\.state\.\w+”", "qga.state.RANDOM”", said)


@pytest.mark.parametrize(
    "arguments",
    [
        "-V",
        "--vers",
        "-V extra",
        "-D -V",
        "-V -x",
        "-x",
        "-m",
        "-xD",
        "-Dx",
        "--bogus",
        "--m",
        "--version=3",
        "-a guest-ping",
        "-c x -D",
        "-s",
        "-s x -D",
        "--service x -D",
        "--de",
        "-D",
        "-D extra -v",
        "-D -- -v",
        "-D - -v",
        "-Dv",
        "-Dlfoo",
        "-D -F",
        "-D -F/x/y",
        "-D -F /x/y",
        "-D --fsfreeze-hook",
        "-D --fsfreeze-hook=/z",
        "-D --fsfreeze-hook=",
        "-D -v -r -d -l /a -f /b -t /c -m unix-listen -p /d",
        "-D -m foo",
        "-D -m foo -p /x",
        "-D -m isa-serial",
        "-D -m vsock-listen",
        "-D -m unix-listen",
        "-D -p x -p y",
        "-D -b a -b b,c --blacklist d",
        "-D -b a,,b",
        "-D -b a,",
        "-D --black x",
        "-b help",
        "-b ?",
        "-b help,x -D",
        "-D -b help",
        "-b x --block-rpcs=help",
        "-m foo",
    ],
)
def test_options(same: Ask, arguments: str) -> None:
    same(*arguments.split())


@pytest.mark.parametrize(
    "value", ["", " a", "a  b ", "\ta", "a\tb", "a\\b", " \t a", "a\nb", "a\rb", "é", "\udcff", "#"]
)
def test_values_that_are_dumped(same: Ask, value: str) -> None:
    same("-D", "-l", value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"junk\n",
        b"a=b\n",
        b"[general]\nverbose=maybe\n",
        b"[general]\n  path  =  /x y  \n",
        b"  [general]  \npath=/x\n",
        b"[general] # c\npath=/x\n",
        b"[general\npath=/x\n",
        b"[gen]eral]\npath=/x\n",
        b"[]\n",
        b"[general]\npath=\\sa\\tb\\nc\\rd\\\\e\n",
        b"[general]\npath=\\\\\\\\\n",
        b"[general]\npath=\\\\s\n",
        b"[general]\npath=a\\qb\n",
        b"[general]\npath=a\\\n",
        b"[general]\npath=\xff\n",
        b"[general]\nxxx=\xff\n",
        b"[general]\njunk\xff\n",
        b"[general]\npath=/x\npath=/y\n",
        b"[general]\npath=/x\n[other]\npath=/z\n[general]\nlogfile=/l\n",
        b"[general]\n=x\n",
        b"[general]\nverbose=TRUE\n",
        b"[general]\nverbose=1\nretry-path=true \ndaemon=1\n",
        b"[general]\nverbose=true\\s\n",
        b"[general]\nverbose=\n",
        b"[general]\nverbose=0\n",
        b"[general]\npath=\n",
        b"[general]\npath=/x",
        b"[general]\r\npath=/x\r\n",
        b"[general]\npath=/x\ry\n",
        b"[general]\nblock-rpcs=a,b;c\nblacklist=d,e\n",
        b"[general]\nblock-rpcs=a,b\\,c\n",
        b"[general]\nblock-rpcs=a,b\n",
        b"[general]\nblacklist=d,e\nverbose=x\n",
        b"[general]\nallow-rpcs=a\n",
        b"[general]\npath[de]=/x\n",
        b"[general]\npath key=/x\n",
        b"# c\n\n   \n;x\n",
        b"[general]\n\tpath=\t/x\n",
        b"[general]\npath=/x # y\n",
        b"\xef\xbb\xbf[general]\n",
        b"[general]\npath=a\0b\n",
        b"[general]\nmethod=unix-listen\n",
    ],
)
def test_config_files(same: Ask, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "conf").write_bytes(content)
    same("-D", "-b", "z", QGA_CONF="conf")


@pytest.mark.parametrize("path", ["", "/nonexistent/conf", "."])
def test_config_files_that_are_none(same: Ask, path: str) -> None:
    same("-D", QGA_CONF=path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("foo", "x"),
        ("unix-listen", "{}/no/s"),
        ("unix-listen", "{}/directory"),
        ("unix-listen", "{}/file/s"),
        ("unix-listen", "{}/" + "a" * 108),
        ("virtio-serial", "{}/no"),
        ("virtio-serial", "{}/directory"),
        ("virtio-serial", "{}/file/s"),
        ("isa-serial", "{}/no"),
        ("virtio-serial", ""),
        ("vsock-listen", "x"),
        ("vsock-listen", ""),
        ("vsock-listen", ":1"),
        ("vsock-listen", "1:"),
        ("vsock-listen", "1:2:3"),
        ("vsock-listen", "-1:5"),
        ("vsock-listen", "3:0x400"),
        ("vsock-listen", "3:99999999999"),
    ],
)
@pytest.mark.parametrize("more", ["", "-v"])
def test_channels_that_cannot_be_opened(
    same: Ask, tmp_path: Path, method: str, path: str, more: str
) -> None:
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").touch()
    arguments = ["-m", method, "-p", path.format(tmp_path), "-t", str(tmp_path), "-b", BLOCKED]
    said = same(*arguments, *more.split())
    assert said.startswith("status 1\n")


@pytest.mark.parametrize(
    ("prepare", "more"),
    [
        ("", "-t {}/no"),
        ("", "-t {}/file"),
        ("", "-t {} -l {}/no/log"),
        ("junk\n", "-t {}"),
        ("[global]\nfd_counter\n", "-t {}"),
        ("", "-v -t {}/no"),
        ("", "-v -t {}/no -l {}/log"),
        ("", "-t {}/no -r"),
    ],
)
def test_what_cannot_be_initialized(same: Ask, tmp_path: Path, prepare: str, more: str) -> None:
    (tmp_path / "file").touch()
    if prepare:
        (tmp_path / "qga.state").write_text(prepare)
    arguments = [word.replace("{}", str(tmp_path)) for word in more.split()]
    arguments += ["-m", "unix-listen", "-p", f"{tmp_path}/s", "-b", BLOCKED]
    said = same(*arguments)
    # So it is: ret is still EXIT_SUCCESS.
    assert said.startswith("status 0\n")
    assert not (tmp_path / "s").exists()
