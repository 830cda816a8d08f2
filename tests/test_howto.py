"""The README, the tutorial, the pages for users and the examples: what they show is run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.page_reader import PLUGIN, ROOT, Reader, blocks, files, install

DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("tutorial", "pytest", "python", "stand-in")),
    *sorted((DOCS / "howto").glob("*.md")),
]
#: Those whose blocks are run, or looked at by other tests.
LANGUAGES = {"python", "console", "javascript", "c", "rust", "go", "yaml", "xml"}


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


@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.stem
)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    parts = blocks(page, "python")
    tests = [text for text in parts if "def test_" in text]
    for name, text in files(page).items():
        (tmp_path / name).write_text(text)
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_has_typed_works_and_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    Reader(page, tmp_path).follow()


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
