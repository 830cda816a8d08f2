"""Read the recordings: cases, their variants, and what of a reply is not reproducible."""

import fnmatch
import re
from pathlib import Path
from typing import Any

import yaml

from qgasim.conversation import Step, read_conversation

GOLDEN = Path(__file__).parent / "golden"
ROOT = GOLDEN.parent.parent
VARIANTS: dict[str, dict[str, Any]] = yaml.safe_load((GOLDEN / "variants.yaml").read_text())
#: Cases that cannot match, and why.
EXCEPTIONS: dict[str, str] = {
    "3.1/system/host-name-changed": "the agent told the name that it had been asked for in an earlier case",
}


def read_family(release: str, family: str) -> dict[str, list[Step]]:
    """Return the cases of a file, by name."""
    return read_conversation(str(GOLDEN / release / f"{family}.jsonl")).cases()


#: The releases that were recorded.
RECORDED = ("3.1", "5.2", "6.2", "7.2", "8.2", "10.0", "10.2", "11.1")
#: What `--agent` says to be the one that was recorded, if it is not the name of its directory.
FULL_VERSION = {"10.2": "10.2.2"}


def families(release: str) -> list[str]:
    return sorted(path.stem for path in (GOLDEN / release).glob("*.jsonl"))


def variant_of(case: str) -> tuple[Path, list[str]]:
    """Return the scenario of a case, and the command-line options."""
    release, _, name = case.partition("/")
    options = [f"--agent={FULL_VERSION.get(release, release)}"]
    for glob, variant in VARIANTS.items():
        if fnmatch.fnmatchcase(name, glob):
            return ROOT / variant["scenario"], [*options, *variant["options"]]
    return ROOT / "scenarios" / "lab-vm.yaml", options


_ALWAYS = [
    (re.compile(rb'"pid": \d+'), b'"pid": N'),
    (re.compile(rb'"used-bytes": \d+'), b'"used-bytes": N'),
    (re.compile(rb'"trimmed": \d+'), b'"trimmed": N'),
    (re.compile(rb'"([rt]x)-(\w+)": \d+'), rb'"\1-\2": N'),
]
_STATISTICS = (re.compile(rb'"([a-z-]+)": \d+(?<!"minor": )'), rb'"\1": N')
_BLOCK = re.compile(
    rb'"response": "success", "phys-index": (32|33)\b'
    rb'|"response": "operation-failed", "error-code": 16, "phys-index": (32|33)\b'
)


def mask(request: bytes, reply: bytes) -> bytes:
    """Replace what README.md calls not reproducible by its place."""
    for pattern, place in _ALWAYS:
        reply = pattern.sub(place, reply)
    if b"guest-get-time" in request:
        reply = re.sub(rb'"return": \d+000\b', b'"return": TIME', reply)
    if b"guest-file-open" in request:
        reply = re.sub(rb'"return": \d{4,}\b', b'"return": HANDLE', reply)
    if b"guest-get-cpustats" in request or b"guest-get-diskstats" in request:
        reply = re.sub(rb'"(?!minor|major|cpu)([a-z-]+)": \d+', rb'"\1": N', reply)
    if b"guest-get-load" in request:
        reply = re.sub(rb'"load(\d+)m": [\d.]+', rb'"load\1m": N', reply)
    if b"guest-set-memory-blocks" in request:
        reply = _BLOCK.sub(rb'"response": BLOCK, "phys-index": \1\2', reply)
    return reply
