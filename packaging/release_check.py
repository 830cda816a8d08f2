"""End with what is still in the way of a release: `make release-check`, docs/releasing.md."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def find_obstacles(tag: str, changes: str, changelog: str, project: str) -> list[str]:
    """Return what keeps a commit from being released.

    Args:
        tag: of the commit; empty if it has none.
        changes: what `git status --short` prints.
        changelog: docs/changelog.md.
        project: pyproject.toml.
    """
    found: list[str] = []
    version = re.fullmatch(r"v(\d+\.\d+\.\d+)", tag)
    if version is None:
        found.append(f"the commit has no tag vX.Y.Z (found {tag or 'none'})")
    elif not re.search(rf"^## {re.escape(version[1])}\b", changelog, re.MULTILINE):
        found.append(f"docs/changelog.md has no section '## {version[1]}'")
    if changes:
        found.append(f"not everything is committed:\n{changes}")
    for name, url in tomllib.loads(project)["project"]["urls"].items():
        if ".example" in url:
            found.append(f"project.urls.{name} is no place: {url}")
    if re.search(r"https://[\w.]*\.example", project.partition("fancy-pypi-readme")[2]):
        found.append("the links of the README in a package lead nowhere (fancy-pypi-readme)")
    return found


def main() -> None:
    found = find_obstacles(
        git("tag", "--points-at", "HEAD"),
        git("status", "--short"),
        (ROOT / "docs" / "changelog.md").read_text(),
        (ROOT / "pyproject.toml").read_text(),
    )
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
