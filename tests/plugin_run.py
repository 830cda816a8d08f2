"""Runs of pytest on projects of their own, with the plugin."""

import tempfile
from collections.abc import Iterable
from importlib.metadata import entry_points
from pathlib import Path

import pytest

# All that the plugin imports when it is needed: pytester takes out of `sys.modules` what a run in this
# process brings in, and the next run would have other classes of the same name.
import qgasim.pytest_plugin.guests
import qgasim.pytest_plugin.reports
import qgasim.userland.programs
import qgasim.userland.shell  # noqa: F401

ROOT = Path(__file__).parent.parent
#: Where qgasim is installed, pytest finds the plugin by itself.
IS_INSTALLED = any(point.name == "qgasim" for point in entry_points(group="pytest11"))
#: Plugins of tools of development are not what a user has, and cost each run a second.
PLUGIN = (
    *("-p", "no:anyio", "-p", "no:schemathesis"),
    *(() if IS_INSTALLED else ("-p", "qgasim.pytest_plugin")),
)
#: For a process of pytest: only the plugins that `needed_plugins` names. All of those that are installed here
#: take half of its time, and a user has few of them.
NO_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
CLIENT = "from qgasim import SyncClient\n"


def needed_plugins(text: str, options: Iterable[str] = ()) -> list[str]:
    """Return the options that load what the tests in *text* need, in an environment with `NO_PLUGINS`."""
    named = ["qgasim.pytest_plugin"]
    if "trio" in text:
        named.append("pytest_trio.plugin")
    if "-n" in options:
        named.append("xdist")
    return [f"-p{name}" for name in named]


class Run:
    """Runs pytest on a text, strictly, in this process.

    With *process* in one of its own: what leaves something behind, forks, limits the process or starts
    workers. The time-out is what ends a run that hangs.
    """

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        self.pytester = pytester

    def __call__(
        self, text: str, *options: str, ini: str = "", process: bool = False
    ) -> pytest.RunResult:
        self.pytester.makepyfile(text)
        self.pytester.makeini(
            f"[pytest]\naddopts = -p no:cacheprovider\nfilterwarnings = error\nstrict_markers = true\n{ini}"
        )
        if process:
            with pytest.MonkeyPatch.context() as patch:
                for name, value in NO_PLUGINS.items():
                    patch.setenv(name, value)
                plugins = needed_plugins(text, options)
                return self.pytester.runpytest_subprocess(*plugins, *options, timeout=60)
        return self.pytester.runpytest_inprocess(*PLUGIN, *options)


def run_here(pytester: pytest.Pytester, directory: Path) -> pytest.RunResult:
    """Run the tests in a directory in this process, with pytest's own settings."""
    with (
        pytest.MonkeyPatch.context() as patch,
        # The path of a socket is short.
        tempfile.TemporaryDirectory(prefix="qga-") as temporary,
    ):
        patch.chdir(directory)
        # Its modules are next to the tests, and are not those of another page.
        patch.syspath_prepend(directory)
        options = ("-W", "default", "-p", "no:cacheprovider", f"--basetemp={temporary}/t")
        return pytester.runpytest_inprocess(*options, *PLUGIN, str(directory))
