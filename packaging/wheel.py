"""Build the sdist, the wheel from the sdist, and test the wheel as a user has it: `make wheel-test`.

For each Python that is here and that qgasim is for, the wheel goes into a fresh environment, with pytest only.
There the tutorial is followed, a sample project is run, and checked with mypy --strict and pyright. No
file of the checkout is on the path.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
DIST = ROOT / "dist"
TOOLS = Path(sys.executable).parent
SAMPLE = "packaging/sample"
PYENV = Path.home() / ".pyenv" / "versions"


def main() -> None:
    shutil.rmtree(DIST, ignore_errors=True)
    run(str(TOOLS / "python"), "-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT))
    (wheel,) = DIST.glob("*.whl")
    (sdist,) = DIST.glob("*.tar.gz")
    check_contents(wheel)
    pythons = find_pythons()
    with tempfile.TemporaryDirectory(prefix="qgasim-wheel-") as directory:
        place = Path(directory)
        source = unpack(sdist, place)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            told = list(pool.map(lambda python: check(python, wheel, source, place), pythons))
    print(f"{wheel.name} works with Python {', '.join(told)}")


def run(*command: str, cwd: Path | None = None) -> str:
    """Run a program; end with what it printed if it fails."""
    environment = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}")
    return done.stdout


def find_pythons() -> list[str]:
    """Return the newest interpreter of each minor version that the classifiers name, as far as it is here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    versions = [
        each.rpartition(" ")[2] for each in project["classifiers"] if "Python :: 3." in each
    ]
    found: list[str] = []
    for version in versions:
        installed = sorted(PYENV.glob(f"{version}.*/bin/python")) if PYENV.is_dir() else []
        python = shutil.which(f"python{version}") if not installed else str(installed[-1])
        if python is None:
            print(f"(no Python {version} here)")
        else:
            found.append(python)
    return found


def check_contents(wheel: Path) -> None:
    """End if something that is not made of Python is missing: the wheel was built from the sdist."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
    inside = {f"qgasim/{path.relative_to(ROOT / 'qgasim')}" for path in package_files()}
    inside |= {f"qgasim/{path.relative_to(ROOT)}" for path in (ROOT / "scenarios").rglob("*.yaml")}
    if missing := sorted(inside - names):
        sys.exit(f"missing in {wheel.name}: {', '.join(missing)}")
    relative = [line for line in metadata.splitlines() if "](docs/" in line]
    if relative:
        sys.exit(f"links that lead nowhere from an index of packages: {relative}")


def package_files() -> list[Path]:
    tracked = run("git", "ls-files", "qgasim", cwd=ROOT).split()
    return [ROOT / name for name in tracked]


def unpack(sdist: Path, place: Path) -> Path:
    """Unpack the sdist, and take the package out: what is imported is the wheel's."""
    with tarfile.open(sdist) as archive:
        archive.extractall(place, filter="data")
    (source,) = place.iterdir()
    for name in ("qgasim", "scenarios"):
        shutil.rmtree(source / name)
    return source


def check(python: str, wheel: Path, source: Path, place: Path) -> str:
    """Install the wheel for an interpreter and use it; return the version of Python."""
    version = run(python, "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])").strip()
    venv = place / version
    run(python, "-m", "venv", "--without-pip", str(venv))
    inside = str(venv / "bin" / "python")
    options = ("--quiet", "--no-compile", "--disable-pip-version-check")
    pip = (str(TOOLS / "python"), "-m", "pip", "--python", inside)
    run(*pip, "install", *options, str(wheel), "pytest")
    told = run(str(venv / "bin" / "qgasim"), "--version").strip()
    if told != f"qgasim {wheel.name.split('-')[1]}":
        sys.exit(f"{wheel.name} says that it is {told}")
    pytest = (inside, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    run(*pytest, "--noconftest", "tests/test_howto.py", "-k", "tutorial", cwd=source)
    sample = source / SAMPLE
    run(*pytest, "-W", "error", "--rootdir", ".", "-c", os.devnull, ".", cwd=sample)
    run(str(TOOLS / "mypy"), "--strict", "--python-executable", inside, ".", cwd=sample)
    strict = sample / f"pyright-{version}.json"
    strict.write_text('{"typeCheckingMode": "strict", "include": ["*.py"]}')
    run(str(TOOLS / "pyright"), "--pythonpath", inside, "--project", str(strict), cwd=sample)
    return version


if __name__ == "__main__":
    main()
