"""What `make` says before it builds anything."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize(("version", "status"), [((3, 10, 13), 2), ((3, 11, 0), 0)])
def test_an_old_python_is_refused_in_a_line(
    version: tuple[int, ...], status: int, tmp_path: Path
) -> None:
    python = tmp_path / "python3.x"
    python.write_text(
        f"""#!/bin/sh
exec {sys.executable} -c 'import sys; sys.version_info = {version}; exec(sys.argv[2])' "$@"
"""
    )
    python.chmod(0o755)
    made = subprocess.run(
        ["make", "--no-print-directory", "python", f"PYTHON={python}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == status
    if status:
        first = made.stderr.splitlines()[0]
        assert first == (
            f"qgasim needs Python 3.11 or newer; {python} is 3.10. "
            "Choose another: make PYTHON=python3.11"
        )
    else:
        assert made.stderr == ""
