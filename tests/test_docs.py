"""The documentation: what is made of the code is fresh, and its scenarios can be built."""

import re
from pathlib import Path

import pytest

from qgasim.scenario import loads
from tests.generated import ROOT, load_generator
from tests.serving import HandClock

MADE = load_generator().MADE
SCENARIOS = [
    (path.name, number, block)
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(), re.DOTALL))
]


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_made_of_the_code_is_fresh(path: Path) -> None:
    assert path.read_text() == MADE[path](), "run `make docs`"


@pytest.mark.parametrize(("name", "number", "text"), SCENARIOS)
def test_a_scenario_in_the_documentation_can_be_built(
    name: str, number: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for guest in loads(text, f"{name}, block {number}").guests().values():
        guest.build(HandClock())


def test_every_link_to_a_section_leads_to_one() -> None:
    # github.com: a heading's letters, digits, hyphens and underscores in lower case, a space a hyphen.
    titles = re.findall(r"^#+ (.*)", (ROOT / "docs" / "scenario.md").read_text(), re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
    assert len(set(anchors)) == len(anchors)
    for path in (ROOT / "docs").glob("*.md"):
        assert set(re.findall(r"\(scenario\.md#(.*?)\)", path.read_text())) <= set(anchors)


def test_there_are_scenarios_in_the_documentation() -> None:
    assert len(SCENARIOS) > 30
