"""The tutorial, the how-to pages and the examples: what they show is run."""

import os
import re
import shutil
import stat
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
IS_INSTALLED = any(point.name == "qgasim" for point in entry_points(group="pytest11"))
PLUGIN = () if IS_INSTALLED else ("-p", "qgasim.pytest_plugin")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def run(directory: Path, *command: str) -> subprocess.CompletedProcess[str]:
    # `qgasim` is found as if it were installed.
    program = directory / "bin" / "qgasim"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m qgasim "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    path = f"{program.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def run_pytest(directory: Path) -> subprocess.CompletedProcess[str]:
    return run(directory, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *PLUGIN, ".")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    parts = blocks(page, "python")
    for number, text in enumerate(parts):
        (tmp_path / f"test_{page.stem.replace('-', '_')}_{number}.py").write_text(text)
    if page.stem != "libvirt":
        assert parts
        done = run_pytest(tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr


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
