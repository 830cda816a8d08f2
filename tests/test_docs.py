"""The documentation: what is made of the code is fresh, and its scenarios can be built."""

import re
from pathlib import Path

import pytest

from qgasim.scenario import loads
from tests.generated import ROOT, load_generator
from tests.golden_cases import RECORDED, families, read_family
from tests.serving import HandClock

MADE = load_generator().MADE
DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
#: A block is a scenario, with the name of its file before it or not, or has another file's.
SCENARIOS = [
    (path.name, number, text)
    for path in PAGES
    for number, (language, text) in enumerate(BLOCK.findall(path.read_text()))
    if language == "yaml" and not re.match(r"# \S+\.ya?ml\n(?!qgasim:)", text)
]


@pytest.mark.slow
@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_made_of_the_code_is_fresh(path: Path) -> None:
    assert path.read_text() == MADE[path](), "run `make docs`"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "number", "text"), SCENARIOS)
def test_a_scenario_in_the_documentation_can_be_built(
    name: str, number: int, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for guest in loads(text, f"{name}, block {number}").guests().values():
        guest.build(HandClock())


#: Faults, events and settings in the midst of a sentence or a table.
FRAGMENTS = [
    (path.name, text)
    for path in PAGES
    for text in re.findall(
        r"`(\{(?:kind|do): [^`]*\}|(?:agent|guest|nemesis|timeline): [\[{][^`]*)`", path.read_text()
    )
]


@pytest.mark.parametrize(("name", "text"), FRAGMENTS)
def test_a_fault_or_an_event_in_the_documentation_is_right(name: str, text: str) -> None:
    if not text.startswith("{"):
        scenario = f"{{qgasim: 1, {text}}}"
    elif text.startswith("{kind"):
        scenario = f"{{qgasim: 1, faults: [{text}]}}"
    else:
        when = "" if re.search(r"\b(at|after|on): ", text) else ", at: 1s"
        scenario = f"{{qgasim: 1, timeline: [{text[:-1]}{when}}}]}}"
    loads(scenario, name).build(HandClock())


def prose(path: Path) -> str:
    return BLOCK.sub("", path.read_text())


def anchors(path: Path) -> list[str]:
    # github.com: a heading's letters, digits, hyphens and underscores in lower case, a space a hyphen.
    titles = re.findall(r"^#+ (.*)", prose(path), re.MULTILINE)
    return [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]


def links(path: Path) -> list[str]:
    targets = re.findall(r"\]\(([^)\s]+)\)", prose(path))
    return [target for target in targets if not target.startswith("https://")]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_to_a_page_and_a_section_that_is_there(path: Path) -> None:
    for target in links(path):
        name, _, anchor = target.partition("#")
        page = (path.parent / name).resolve() if name else path
        assert page.exists(), target
        assert not anchor or anchors(page).count(anchor) == 1, target


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_rows_of_a_table_have_the_cells_of_its_head(path: Path) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", prose(path), re.MULTILINE)
    for text in tables:
        counts = {len(re.findall(r"(?<!\\)\|", row)) for row in text.splitlines()}
        assert len(counts) == 1, text


def test_the_index_names_every_page() -> None:
    index = DOCS / "index.md"
    pages = {str(path.relative_to(DOCS)) for path in PAGES if DOCS in path.parents}
    assert set(links(index)) >= pages - {"index.md"}


@pytest.mark.slow
def test_the_readme_says_how_many_cases_were_recorded() -> None:
    count = sum(
        len(read_family(release, family)) for release in RECORDED for family in families(release)
    )
    assert f" {count} recorded cases of eight real agents" in (ROOT / "README.md").read_text()


def test_there_are_scenarios_in_the_documentation() -> None:
    assert len(SCENARIOS) > 30
    assert len(FRAGMENTS) > 10
