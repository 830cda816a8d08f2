"""Runs of pytest on projects of their own, with the plugin."""

from importlib.metadata import entry_points
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Where qgasim is installed, pytest finds the plugin by itself.
IS_INSTALLED = any(point.name == "qgasim" for point in entry_points(group="pytest11"))
CLIENT = "from qgasim import SyncClient\n"


class Run:
    """Runs pytest on a text, strictly; the time-out is what ends a run that hangs."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        self.pytester = pytester

    def __call__(self, text: str, *options: str, ini: str = "") -> pytest.RunResult:
        self.pytester.makepyfile(text)
        self.pytester.makeini(
            f"[pytest]\naddopts = -p no:cacheprovider\nfilterwarnings = error\nstrict_markers = true\n{ini}"
        )
        plugin = () if IS_INSTALLED else ("-p", "qgasim.pytest_plugin")
        return self.pytester.runpytest_subprocess(*plugin, *options, timeout=60)
