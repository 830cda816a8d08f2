"""The packages for other languages in examples/: their own tests pass, and they are formatted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.page_reader import ROOT, install

EXAMPLES = ROOT / "examples"


def run(example: str, directory: Path, *command: str) -> str:
    """Run a command in a copy of an example; return what it prints."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    place = directory / example
    if not place.exists():
        shutil.copytree(EXAMPLES / example, place)
    environment = {**install(directory), "GOFLAGS": "-mod=mod", "GOPROXY": "off"}
    # `go test` keeps what it has compiled; a home is not everywhere.
    environment.setdefault("GOCACHE", os.path.expanduser("~/.cache/go-build"))
    done = subprocess.run(
        command,
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_go_package_controls_a_guest(tmp_path: Path) -> None:
    assert run("go", tmp_path, "gofmt", "-l", ".") == ""
    run("go", tmp_path, "go", "vet", ".")
    printed = run("go", tmp_path, "go", "test", "-count=1", "-v", ".")
    assert printed.count("--- PASS") == 4


@pytest.mark.slow
def test_the_node_module_controls_a_guest(tmp_path: Path) -> None:
    printed = run("node", tmp_path, "node", "--test")
    assert "\n# pass 4\n" in printed
