"""The README, the tutorial, the pages for users and the examples: what they show is run."""

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
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from qgasim import ServerThread, SyncClient, load
from tests.serving import PATIENCE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("tutorial", "pytest", "python", "stand-in")),
    *sorted((DOCS / "howto").glob("*.md")),
]
#: Pages without any Python, and languages whose blocks are run, or looked at by other tests.
WITHOUT_PYTHON = {"libvirt", "stand-in"}
LANGUAGES = {"python", "console", "javascript", "c", "rust", "go", "yaml", "xml"}
IS_INSTALLED = any(point.name == "qgasim" for point in entry_points(group="pytest11"))
PLUGIN = () if IS_INSTALLED else ("-p", "qgasim.pytest_plugin")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=directory,
        env=install(directory),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_pytest(directory: Path) -> subprocess.CompletedProcess[str]:
    return run(directory, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *PLUGIN, ".")


def install(directory: Path) -> dict[str, str]:
    """Give an environment in which `qgasim` is found as if it were installed."""
    for name, module in (("qgasim", "qgasim.cli"), ("qgasim-ga", "qgasim.standin")):
        program = directory / "bin" / name
        program.parent.mkdir(exist_ok=True)
        text = f"import sys\nfrom {module} import main\nsys.exit(main())\n"
        program.write_text(f"#!{sys.executable}\n{text}")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{directory / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    parts = blocks(page, "python")
    assert bool(parts) == (page.stem not in WITHOUT_PYTHON)
    tests = [text for text in parts if "def test_" in text]
    for number, text in enumerate(tests):
        (tmp_path / f"test_{page.stem.replace('-', '_')}_{number}.py").write_text(text)
    if tests:
        done = run_pytest(tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    for number, text in enumerate(text for text in parts if text not in tests):
        directory = tmp_path / f"script{number}"
        directory.mkdir()
        done = run(directory, sys.executable, "-W", "error", "-c", text)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_has_no_block_that_nobody_runs(page: Path) -> None:
    found = re.findall(r"^```(\w*)\n.*?^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert set(found) <= LANGUAGES


def commands(page: Path) -> list[str]:
    lines = "".join(blocks(page, "console")).splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


#: What a command on a page does; the first that fits. Sub-commands of qgasim end by themselves.
ENDS = r"qgasim (scenarios|check|show|init|schema)\b.*"
COMMANDS = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(
    ("page", "command"), COMMANDS, ids=[f"{page.stem}: {command}" for page, command in COMMANDS]
)
def test_a_command_of_a_page_works(page: Path, command: str, tmp_path: Path) -> None:
    # What a page puts into /tmp is put where the test may.
    text = re.sub("/(tmp|run)/", f"{tmp_path}/", command)
    words = shlex.split(text)
    (tmp_path / "out").mkdir()
    (tmp_path / "my-guest.yaml").write_text("qgasim: 1\nextends: debian-12\n")
    (tmp_path / "test_mine.py").write_text("def test_mine(qga):\n    assert qga.state == 'up'\n")
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[:2] == ["pip", "install"]:
        assert set(words[2:]) <= {"pytest", "qgasim"}
    elif words[0] == "pytest":
        done = run(tmp_path, sys.executable, "-m", *words[:1], "-q", *PLUGIN, *words[1:])
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 passed" in done.stdout
    elif words[0] == "qgasim" and words[1] in ("call", "compare"):
        path = Path(words[2])
        path.parent.mkdir(exist_ok=True)
        with ServerThread(load("debian-12").build(), str(path)):
            done = run(tmp_path, *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout
    elif words[:3] == ["qgasim-ga", "-m", "virtio-serial"]:
        # A terminal in place of the port.
        host, port = os.openpty()
        tty.setraw(port)
        words[-1] = os.ttyname(port)
        with started(tmp_path, *words, "-t", str(tmp_path)):
            os.write(host, b'{"execute": "guest-get-host-name"}\n')
            assert os.read(host, 100) == b'{"return": {"host-name": "debian"}}\n'
        os.close(host)
        os.close(port)
    elif words[0] == "qgasim-ga":
        path = Path(words[words.index("-p") + 1])
        path.parent.mkdir(exist_ok=True)
        with started(tmp_path, *words):
            wait_for(path)
            with SyncClient(str(path)) as client:
                assert client.call("guest-ping") == {}
    elif re.fullmatch(ENDS, command):
        done = run(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout
    else:
        assert words[0] == "qgasim", f"nobody runs `{command}`"
        with started(tmp_path, *words, "--quiet", "--ready-fd=1") as process:
            assert process.stdout
            ready = json.loads(process.stdout.readline())
            with SyncClient(ready["path"]) as client:
                assert client.call("guest-ping") == {}


@contextmanager
def started(directory: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(
        command, cwd=directory, env=install(directory), stdout=subprocess.PIPE
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_links_to_pages_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize(
    ("language", "source", "compile_it", "run_it"),
    [
        ("javascript", "client.js", None, ["node", "client.js"]),
        ("c", "client.c", ["cc", "-Wall", "-Werror", "-o", "client", "client.c"], ["./client"]),
        ("rust", "client.rs", ["rustc", "-o", "client", "client.rs"], ["./client"]),
        ("go", "client.go", None, ["go", "run", "client.go"]),
    ],
)
def test_a_client_in_another_language_runs(
    language: str, source: str, compile_it: list[str] | None, run_it: list[str], tmp_path: Path
) -> None:
    tool = (compile_it or run_it)[0]
    if shutil.which(tool) is None:
        pytest.skip(f"no {tool} here")
    (text,) = blocks(ROOT / "docs" / "howto" / "other-languages.md", language)
    (tmp_path / source).write_text(text)
    if compile_it:
        built = subprocess.run(
            compile_it, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert built.returncode == 0, built.stderr
    done = run(tmp_path, *run_it)
    assert done.stdout.strip() == '{"return": {}}', done.stderr


def test_the_examples_find_every_bug_of_the_naive_client(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__*"))
    directory = tmp_path / "examples"
    done = run_pytest(directory)
    assert "5 xfailed" in done.stdout, done.stdout
    assert "passed" not in done.stdout
