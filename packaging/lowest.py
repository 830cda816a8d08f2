"""Print constraints for `make lowest-test`: the oldest versions that pyproject.toml allows, and our tools."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = dict(each.split(">=") for each in project["dependencies"])
    lowest = {normal(name) for name in bounds}
    print(*(f"{name}=={version}" for name, version in bounds.items()), sep="\n")
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if not line.startswith("#") and normal(line.partition("==")[0]) not in lowest:
            print(line)


if __name__ == "__main__":
    main()
