"""What is handed to other programs: the scripts behind the action and the template, the container's command."""

import importlib.util
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from qgasim import SyncClient
from tests.command_line import ROOT
from tests.page_reader import install, wait_for
from tests.serving import PATIENCE

SERVE = ROOT / "packaging" / "serve.sh"
CONTAINER = (ROOT / "Containerfile").read_text()


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        **install(tmp_path),
        "PACKAGE": "none",
        "OPTIONS": "--agent 10.0",
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_ENV": str(tmp_path / "env"),
    }


def settings(path: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in path.read_text().splitlines())


@pytest.fixture
def served(environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, str]]:
    done = subprocess.run(
        ["bash", str(SERVE)], env=environment, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True
    )
    assert done.returncode == 0
    told = settings(tmp_path / "output") | settings(tmp_path / "env")
    yield told
    os.kill(int(told["QGASIM_PID"]), signal.SIGTERM)


@pytest.mark.slow
def test_the_action_serves_a_guest_to_the_steps_that_follow(served: dict[str, str]) -> None:
    with SyncClient(served["address"]) as client:
        assert client.call("guest-info")["version"] == "10.0.13"
    assert " guest-info " in Path(served["log"]).read_text()
    assert served["control"] == served["QGASIM_CONTROL"]
    wait_for(Path(served["control"].removeprefix("unix:")))
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert {"address", "control", "log"} == set(action["outputs"])
    (step,) = action["runs"]["steps"]
    assert {"OPTIONS", "LISTEN", "PACKAGE", "ACTION"} == set(step["env"])


@pytest.mark.slow
def test_the_action_fails_with_what_qgasim_says(
    environment: dict[str, str], tmp_path: Path
) -> None:
    done = subprocess.run(
        ["bash", str(SERVE)],
        env=environment | {"OPTIONS": "--agent 1.0"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("qgasim: --agent: agent.release: no such release: '1.0'")


@pytest.mark.slow
def test_the_template_of_gitlab_serves_a_guest(tmp_path: Path) -> None:
    text = (ROOT / "packaging" / "gitlab" / "qgasim.yml").read_text()
    job = yaml.safe_load(text.replace("/tmp/", f"{tmp_path}/"))[".qgasim"]
    assert job["before_script"][0].startswith("pip install ")
    # The runner joins the lines to one script.
    script = "\n".join([*job["before_script"][1:], "qgasim call $QGA_SOCKET guest-ping", "kill %1"])
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        env={**install(tmp_path), **job["variables"]},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("\n{}\n")


def instruction(name: str) -> list[str]:
    (words,) = re.findall(rf"^{name} (\[.*\])$", CONTAINER, re.MULTILINE)
    parsed: list[str] = json.loads(words)
    return parsed


@pytest.mark.slow
def test_the_container_serves_tells_its_health_and_ends(tmp_path: Path) -> None:
    def place(words: list[str]) -> list[str]:
        return [word.replace("/run/qgasim", str(tmp_path)) for word in words]

    (control,) = re.findall(r"^ENV QGASIM_CONTROL=(.*)$", CONTAINER, re.MULTILINE)
    environment = {**install(tmp_path), "QGASIM_CONTROL": place([control])[0]}
    with subprocess.Popen(
        place([*instruction("ENTRYPOINT"), *instruction("CMD")]),
        env=environment,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout
        assert program.stdout.readline().startswith(b"qemu-ga ")
        health = re.search(r"^HEALTHCHECK .*? CMD (\[.*\])$", CONTAINER, re.MULTILINE)
        assert health
        subprocess.run(json.loads(health[1]), env=environment, capture_output=True, check=True)
        with SyncClient(str(tmp_path / "qga.sock")) as client:
            assert client.call("guest-ping") == {}
        program.terminate()
        assert program.wait(PATIENCE) == 0


def test_what_is_in_the_way_of_a_release_is_told() -> None:
    spec = importlib.util.spec_from_file_location(
        "release_check", ROOT / "packaging" / "release_check.py"
    )
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    project = '[project.urls]\nHomepage = "https://{}"\n'
    ready = project.format("qgasim.invalid")
    assert module.find_obstacles("v0.2.0", "", "## 0.2.0\n", ready) == []
    assert module.find_obstacles("", " M a", "## 0.2.0\n", ready) == [
        "the commit has no tag vX.Y.Z (found none)",
        "not everything is committed:\n M a",
    ]
    assert module.find_obstacles("v0.2.1", "", "## 0.2.0\n", project.format("a.example")) == [
        "docs/changelog.md has no section '## 0.2.1'",
        "project.urls.Homepage is no place: https://a.example",
    ]
