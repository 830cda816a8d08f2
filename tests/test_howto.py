"""All pages and the examples: what they show is run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from qgasim import SyncClient
from qgasim.dialect import find_dialect
from tests.command_line import run as run_command
from tests.page_reader import ROOT, Reader, blocks, files, install, save
from tests.plugin_run import run_here

pytest_plugins = ["pytester"]

DOCS = ROOT / "docs"
PAGES = [page for page in [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))] if blocks(page)]
#: Those whose blocks are run, or looked at by other tests.
LANGUAGES = {
    "mermaid",  # drawn, not run
    *("python", "console", "javascript", "c", "rust", "go", "perl"),
    *("yaml", "xml", "sh", "dockerfile"),
}
CC = ["cc", "-Wall", "-Werror", "-o"]
PONG = '{"return": {}}\n'


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT).with_suffix(""))


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


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=name_of)
def test_the_python_of_a_page_runs(page: Path, pytester: pytest.Pytester, tmp_path: Path) -> None:
    # Those with the name of a file are for the commands of their page.
    parts = [text for text in blocks(page, "python") if text not in files(page).values()]
    tests = [text for text in parts if "def test_" in text]
    for name, text in files(page).items():
        if not name.endswith(".py"):
            save(tmp_path / name, text)
    for number, text in enumerate(tests):
        (tmp_path / f"test_{page.stem.replace('-', '_')}_{number}.py").write_text(text)
    if tests:
        assert run_here(pytester, tmp_path).ret == 0
    for number, text in enumerate(text for text in parts if text not in tests):
        directory = tmp_path / f"script{number}"
        directory.mkdir()
        done = run(directory, sys.executable, "-W", "error", "-c", text)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_of_a_page_is_run(page: Path) -> None:
    found = re.findall(r"^```(\w*)\n.*?^```", page.read_text(), re.DOTALL | re.MULTILINE)
    assert set(found) <= LANGUAGES
    told = "".join(blocks(page, "console") + blocks(page, "python"))
    for name in files(page):
        stem, _, kind = name.partition(".")
        assert kind != "py" or told.count(stem) > 1, f"no block uses {name}"


#: What is in a sentence and no command: the beginning of a message, and one of its reasons.
NOT_COMMANDS = {"qgasim exec:", "qgasim does not simulate", "qgasim does not simulate ..."}


def test_commands_in_sentences_exist_with_their_options(capfd: pytest.CaptureFixture[str]) -> None:
    wrong: list[str] = []
    for command in sentences() - NOT_COMMANDS:
        _, *words = command.split()
        name = words.pop(0) if words[0][0] != "-" else "serve"
        assert run_command([name, "--help"]) == 0, command
        known = set(re.findall(r"(?<![\w-])--[\w-]+", capfd.readouterr().out)) | {"--version"}
        own = words[: words.index("--")] if "--" in words else words
        wrong += [command for word in own if word.startswith("--") and word not in known]
    assert wrong == []


def sentences() -> set[str]:
    """Return what the pages have as a command of qgasim outside their blocks."""
    pages = {*ROOT.glob("*.md"), *DOCS.rglob("*.md")} - {DOCS / "changelog.md"}
    texts = [
        re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
        for page in pages
    ]
    return {
        " ".join(found.split()) for text in texts for found in re.findall(r"`(qgasim [^`]+)`", text)
    }


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_a_page_has_typed_works_and_prints_what_it_shows(page: Path, tmp_path: Path) -> None:
    Reader(page, tmp_path).follow()


#: The programs of the page, in its order: how each is saved, compiled and run, and what it prints.
CLIENTS = {
    "go": ("go", "guest_test.go", None, ["go", "test", "-v", "guest_test.go"], "\nPASS\n"),
    "rust": ("rust", "guest.rs", ["rustc", "--test", "guest.rs"], ["./guest"], "ok. 2 passed"),
    "node": ("javascript", "guest.test.mjs", None, ["node", "--test", "guest.test.mjs"], "pass 1"),
    "c": ("c", "guest.c", [*CC, "guest", "guest.c"], ["./guest"], PONG),
    "rust-control": (
        "rust",
        "control.rs",
        ["rustc", "--test", "control.rs"],
        ["./control"],
        "ok. 1 passed",
    ),
    "perl-control": ("perl", "control.t", None, ["perl", "control.t"], "\n1..6\n"),
    "c-control": (
        "c",
        "control.c",
        [*CC, "control", "control.c"],
        ["./control"],
        'second freeze: GenericError: no\n{"verified":true,"message":""}\nfindings: []\n',
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_in_another_language_runs(name: str, tmp_path: Path) -> None:
    language, source, compile_it, run_it, result = CLIENTS[name]
    tools = [(compile_it or run_it)[0], *(["curl"] if name.endswith("-control") else [])]
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"no {tool} here")
    texts = blocks(DOCS / "howto" / "other-languages.md", language)
    named = [n for n, client in CLIENTS.items() if client[0] == language]
    assert len(texts) == len(named)
    (tmp_path / source).write_text(texts[named.index(name)])
    if compile_it:
        built = run(tmp_path, *compile_it)
        assert built.returncode == 0, built.stderr
    done = run(tmp_path, *run_it)
    assert done.returncode == 0, done.stdout + done.stderr
    assert result in done.stdout


def test_the_jobs_in_ci_run_what_the_page_has() -> None:
    texts = files(DOCS / "howto" / "ci.md")
    github = yaml.safe_load(texts[".github/workflows/test.yml"])
    gitlab = yaml.safe_load(texts[".gitlab-ci.yml"])
    steps = github["jobs"]["test"]["steps"]
    for lines in (
        [step["run"] for step in steps if "run" in step],
        gitlab["test"]["before_script"] + gitlab["test"]["script"],
    ):
        assert lines == ['pip install "qgasim @ git+$QGASIM"', "./with-guest.sh make test"]
    assert steps[-1]["with"]["path"] in texts["with-guest.sh"]
    assert gitlab["test"]["artifacts"]["paths"][0] in texts["with-guest.sh"]
    agents = github["jobs"]["test"]["strategy"]["matrix"]["agent"]
    (matrix,) = gitlab["test"]["parallel"]["matrix"]
    assert matrix["QGASIM_OPTIONS"] == [f"--agent {agent}" for agent in agents]
    assert all(find_dialect(agent) for agent in agents)


@pytest.mark.slow
def test_the_service_of_docker_compose_is_served(tmp_path: Path) -> None:
    service = yaml.safe_load(files(DOCS / "howto" / "compose.md")["compose.yaml"])["services"]
    reader = Reader(DOCS / "howto" / "compose.md", tmp_path)
    path = service["client"]["environment"]["QGA_SOCKET"]
    assert path == service["guest"]["healthcheck"]["test"][-1]
    assert service["client"]["volumes"] == service["guest"]["volumes"]
    (tmp_path / "qga").mkdir()
    reader.serve(reader.place(service["guest"]["command"]).split(), "")
    with SyncClient(reader.place(path)) as client:
        assert client.call("guest-ping") == {}
    reader.stop()


@pytest.mark.slow
def test_the_examples_find_every_bug_of_the_naive_client(
    pytester: pytest.Pytester, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", ignore=shutil.ignore_patterns("__*"))
    directory = tmp_path / "examples"
    run_here(pytester, directory).assert_outcomes(xfailed=5)
