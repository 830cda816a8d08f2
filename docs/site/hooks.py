"""What the site has besides the pages in docs/: MkDocs calls these functions (mkdocs.yml).

The navigation and the titles of pages are those of docs/index.md. A link that leads out of docs/, as to a
scenario, leads to a page that shows the file. Diagrams are drawn by a copy of Mermaid, where `make docs`
could fetch one.
"""

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
#: Where the files outside docs/ stand on the site.
OUTSIDE = "repository"
MERMAID = ROOT / ".venv-docs" / "mermaid.min.js"
LINK = re.compile(r"(\]\()([^)\s#:]+)((?:#[^)\s]*)?\))")
#: A link whose text is the name of its page's file, which helps readers of the files only.
NAMED = re.compile(r"\[[\w-]+\.md\](?=\(([^)\s#]+))")
FENCE = re.compile(r"^(```.*?^```)", re.DOTALL | re.MULTILINE)
#: What a file's suffix is called by a highlighter.
LANGUAGES = {
    ".sh": "bash",
    ".json": "json",
    ".py": "python",
    ".yaml": "yaml",
    ".go": "go",
    ".js": "javascript",
    ".mjs": "javascript",
}
NOT_SEARCHED = "---\nsearch:\n  exclude: true\n---\n\n"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"]["Repository"]
    if ".example" not in repository:
        config.repo_url, config.repo_name, config.edit_uri = repository, "qgasim", ""
    config.nav = read_navigation((DOCS / "index.md").read_text())
    if MERMAID.is_file():
        config.extra_javascript += ["site/mermaid.min.js", "site/diagrams.js"]
    return config


def read_navigation(index: str) -> list[Any]:
    """Return the navigation that the index lays out.

    A heading is a section, one below it a section in it, an item of a list a page.
    """
    navigation: list[Any] = [{"Start": "index.md"}]
    for part in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        title, _, text = part.partition("\n")
        section: list[Any] = []
        navigation.append({title: section})
        target = section
        for line in text.splitlines():
            if item := re.match(r"- \[(.+?)\]\((.+?)\)", line):
                target.append({item[1]: place_of(DOCS / item[2])})
            elif line.startswith("### "):
                target = []
                section.append({line[4:]: target})
        if title == "To look up":
            section.append({"The Python API": "api.md"})
    return navigation


def read_titles(index: str) -> dict[Path, str]:
    """Return what the index calls each page."""
    items = re.finditer(r"^- \[(.+?)\]\((.+?)\)", index, re.MULTILINE)
    return {Path(os.path.normpath(DOCS / item[2])): item[1] for item in items}


def place_of(path: Path) -> str:
    """Return which page of the site shows a file or a directory."""
    real = Path(os.path.normpath(path))
    if real.is_relative_to(DOCS):
        return str(real.relative_to(DOCS))
    inner = str(real.relative_to(ROOT))
    if real.is_dir():
        return f"{OUTSIDE}/{inner}/index.md"
    return f"{OUTSIDE}/{inner}" if real.suffix == ".md" else f"{OUTSIDE}/{inner}.md"


def links_of(text: str) -> Iterator[str]:
    for match in LINK.finditer(FENCE.sub("", text)):
        yield match[2]


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    todo = [Path(file.abs_src_path) for file in files.documentation_pages() if file.abs_src_path]
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        if path.suffix != ".md":
            continue
        for target in links_of(path.read_text()):
            found = Path(os.path.normpath(path.parent / target))
            if found in seen or found.is_relative_to(DOCS) or not found.is_relative_to(ROOT):
                continue
            if not found.exists():
                continue
            seen.add(found)
            todo.append(found)
            page = File.generated(config, place_of(found), content=show(found))
            page.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(page)
    files.append(File.generated(config, "api.md", content=make_api()))
    if MERMAID.is_file():
        name = "site/mermaid.min.js"
        files.append(File.generated(config, name, abs_src_path=str(MERMAID)))
    return files


def show(path: Path) -> str:
    """Return a page that shows a file, or the files of a directory."""
    name = read_titles((DOCS / "index.md").read_text()).get(path, path.relative_to(ROOT))
    title = f"{NOT_SEARCHED}# {name}\n\n"
    if path.is_dir():
        inside = [one for one in sorted(path.rglob("*")) if one.is_file() and is_text(one)]
        return title + "\n".join(f"## {one.relative_to(path)}\n\n{fence(one)}" for one in inside)
    if path.suffix == ".md":
        return NOT_SEARCHED + path.read_text()
    return title + fence(path)


def is_text(path: Path) -> bool:
    return "__pycache__" not in path.parts and path.suffix not in (".pyc", ".sum")


def fence(path: Path) -> str:
    return f"````{LANGUAGES.get(path.suffix, 'text')}\n{path.read_text()}\n````\n"


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links out of docs/ to the pages that show those files, and call a page by its title."""
    place = page.file.src_uri
    inner = place.removeprefix(f"{OUTSIDE}/")
    source = ROOT / inner if inner != place else DOCS / place
    start = os.path.dirname(place)

    titles = read_titles((DOCS / "index.md").read_text())

    def name(match: re.Match[str]) -> str:
        found = Path(os.path.normpath(source.parent / match[1]))
        return f"[{titles[found]}]" if found in titles else match[0]

    def lead(match: re.Match[str]) -> str:
        found = Path(os.path.normpath(source.parent / match[2]))
        if not found.is_relative_to(ROOT):
            return match[0]
        return f"{match[1]}{os.path.relpath(place_of(found), start or '.')}{match[3]}"

    parts = FENCE.split(markdown)
    # What is between fences stands at the even places.
    return "".join(
        LINK.sub(lead, NAMED.sub(name, part)) if at % 2 == 0 else part
        for at, part in enumerate(parts)
    )


def make_api() -> str:
    """Return the page of the public names: those that qgasim/__init__.py lists."""
    text = (ROOT / "qgasim" / "__init__.py").read_text()
    names = re.findall(r"^    from (qgasim\S*) import (\w+) as", text, re.MULTILINE)
    parts = [
        "# The Python API\n",
        "What `qgasim` offers, made of its docstrings. [Python](python.md) shows how the parts fit",
        "together, [the pytest plugin](pytest.md) what tests have.",
        "",
    ]
    parts += [f"::: {module}.{name}\n" for module, name in names]
    return "\n".join(parts)
