"""The clients of examples/ against all scenarios: it is known which of them fail where."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import trio

from qgasim.drill import Drill, Result, Rules, Run, Selection, plan
from qgasim.drill.leftovers import adopting_orphans
from tests.test_examples import EXAMPLES
from tests.test_examples import run as run_in

PYTHON = (sys.executable, "-I", "-S")
CLIENTS = {
    "naive": (*PYTHON, str(EXAMPLES / "naive_client.py"), "{socket}"),
    "careful": (*PYTHON, str(EXAMPLES / "careful_client.py"), "{socket}"),
    "shell": (str(EXAMPLES / "careful.sh"), "{socket}"),
}
#: How many seconds a client waits for an answer: where it is to fail, it need not wait for long; where it is
#: not, it has the patience that a busy machine may need.
SHORT, LONG = "2", "20"


def read_expected(name: str) -> tuple[str, ...]:
    lines = (EXAMPLES / "drill" / f"{name}.txt").read_text().splitlines()
    return tuple(line for line in lines if not line.startswith("# "))


def drill_all(clients: dict[str, tuple[str, ...]], directory: str) -> dict[str, list[Result]]:
    """Run each client against all scenarios, all clients at the same time."""
    results: dict[str, list[Result]] = {name: [] for name in clients}
    runs = plan(Selection(is_all=True))

    async def drill(name: str, runs: list[Run], seconds: str, jobs: int, rules: Rules) -> None:
        place = f"{directory}/{name}-{seconds}"
        os.mkdir(place)
        drill = Drill((*clients[name], seconds), place, rules, jobs=jobs)
        await drill.attempt_all(runs, lambda result, _: results[name].append(result))

    async def drill_each() -> None:
        async with trio.open_nursery() as nursery:
            for name in clients:
                known = read_expected("careful" if name == "go" else name)
                failing = [run for run in runs if run.name in known]
                others = [run for run in runs if run.name not in known]
                rules = Rules(expect=() if name == "naive" else known)
                nursery.start_soon(drill, name, failing, SHORT, 20, rules)
                nursery.start_soon(drill, name, others, LONG, 2, rules)

    with adopting_orphans():
        trio.run(drill_each)
    return results


@pytest.mark.slow
def test_the_examples_fail_exactly_where_they_are_known_to(tmp_path: Path) -> None:
    clients = dict(CLIENTS)
    if shutil.which("go"):
        run_in("go", tmp_path, "go", "build", "-o", str(tmp_path / "client"), "./careful")
        clients["go"] = (str(tmp_path / "client"), "{socket}")
    if not shutil.which("socat"):
        del clients["shell"]
    # The path of a socket is short.
    with tempfile.TemporaryDirectory(prefix="qga-") as directory:
        results = drill_all(clients, directory)
    naive = {result.run.name for result in results.pop("naive") if result.is_wrong}
    assert naive == set(read_expected("naive"))
    for name, found in results.items():
        wrong = {each.run.name: each for each in found if each.is_wrong}
        assert wrong == {}, name
        expected = {each.run.name for each in found if each.verdict == "expected"}
        assert expected == set(read_expected("careful" if name == "go" else name))


def test_the_go_clients_are_formatted(tmp_path: Path) -> None:
    if not shutil.which("gofmt"):
        pytest.skip("no gofmt here")
    done = subprocess.run(
        ["gofmt", "-l", str(EXAMPLES / "go")], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


def test_the_shell_client_is_executable() -> None:
    assert os.access(EXAMPLES / "careful.sh", os.X_OK)
