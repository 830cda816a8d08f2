"""Every recorded conversation of QEMU's monitor, with the agent's beside it."""

from pathlib import Path

import pytest

from tests.qmp_replay import RECORDINGS, Replay, read

#: What differs, and why.
EXCEPTIONS: dict[str, str] = {}
FILES = sorted(RECORDINGS.glob("*/*.jsonl"))


@pytest.mark.parametrize("path", FILES, ids=[f"{p.parent.name}-{p.stem}" for p in FILES])
def test_a_recording_replays(path: Path) -> None:
    recording = read(path)
    if recording.name in EXCEPTIONS:
        pytest.skip(EXCEPTIONS[recording.name])
    replay = Replay(recording)
    replay.run()
    assert replay.compared
