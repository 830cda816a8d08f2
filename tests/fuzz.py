"""A differential fuzzer: the same mutated messages for the real qemu-ga 7.2 and for qgasim.

The replies must be equal, byte for byte; only the time is masked. The real agent acts on the machine
that it runs on, so it is started with all that changes one blocked, in a directory of its own, and a
message is sent only if everything in it is harmless. Paths are relative: the real agent's working
directory is the temporary one, the simulated agent's is ``/``.

`make fuzz` runs it for long; tests/test_fuzz.py for a moment.
"""

import argparse
import base64
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from tests.mutation import FILES, LINKS, PROGRAMS, Generator
from tests.real_agent import BLOCKED, RESYNC, RealAgent
from tests.serving import Course, request


class Difference(Exception):
    """The two agents answered differently."""

    def __init__(self, number: int, pieces: list[bytes], real: bytes, ours: bytes) -> None:
        super().__init__(
            f"message {number}:\n  sent {pieces!r}\n  real {_shown(real)}\n  ours {_shown(ours)}"
        )


def _shown(reply: bytes) -> str:
    return repr(reply if len(reply) < 2000 else reply[:1000] + b"..." + reply[-1000:])


@contextmanager
def pair() -> Iterator[tuple[RealAgent, Course]]:
    """Return a real agent and a simulated one, each with the same files."""
    with tempfile.TemporaryDirectory(prefix="qgasim-fuzz-") as name:
        directory = Path(name)
        (directory / "d").mkdir()
        (directory / "x").mkdir()
        contents: dict[str, Any] = {"/d": {"entries": {}}, "/x": {"entries": {}}}
        for file, data in FILES.items():
            (directory / "d" / file).write_bytes(data)
            contents["/d"]["entries"][file] = {"base64": base64.b64encode(data).decode()}
        for link, target in LINKS.items():
            (directory / "d" / link).symlink_to(target)
            contents["/d"]["entries"][link] = {"symlink": target}
        for file, data in PROGRAMS.items():
            (directory / "x" / file).write_bytes(data)
            (directory / "x" / file).chmod(0o755)
            text = base64.b64encode(data).decode()
            contents["/x"]["entries"][file] = {"base64": text, "mode": "755"}
        with RealAgent(directory) as real:
            yield real, _make_ours(contents)


def _make_ours(contents: dict[str, Any]) -> Course:
    agent = {"release": "7.2", "block_rpcs": BLOCKED.split(",")}
    scenario = {"qgasim": 1, "extends": "debian-12", "agent": agent, "guest": {"files": contents}}
    return Course(json.dumps(scenario))


_PID = re.compile(rb'"return": {"pid": (\d+)}')


def _mask(reply: bytes) -> bytes:
    return _PID.sub(b'"return": PID', re.sub(rb'"return": \d{19}\b', b'"return": TIME', reply))


def _outcomes(reply: bytes, ask: Callable[[bytes], bytes]) -> Iterator[bytes]:
    """Return how each program ended that *reply* tells the start of."""
    for pid in map(int, _PID.findall(reply)):
        status = request("guest-exec-status", pid=pid)
        for _ in range(1000):
            ended = ask(status)
            if b'"exited": true' in ended:
                yield ended
                break
        else:
            raise TimeoutError(reply)


def differences(real: RealAgent, ours: Course, messages: int, seed: int) -> Iterator[Difference]:
    """Send both the same *messages*; give where they differ."""
    generator = Generator(seed)
    for number in range(messages):
        pieces = generator.cuts(generator.message(list(ours.agent.state.handles)))
        from_real = real.ask(pieces)
        from_ours = b"".join(map(ours.send, [*pieces, RESYNC]))
        if _mask(from_real) != _mask(from_ours):
            yield Difference(number, pieces, from_real, from_ours)
            continue
        ends = zip(
            _outcomes(from_real, partial(_ask_again, real)),
            _outcomes(from_ours, partial(_ask_later, ours)),
            strict=True,
        )
        for real_end, our_end in ends:
            if real_end != our_end:
                yield Difference(number, pieces, real_end, our_end)


def _ask_again(real: RealAgent, status: bytes) -> bytes:
    time.sleep(0.002)
    return real.ask([status])


def _ask_later(ours: Course, status: bytes) -> bytes:
    ours.advance(0.01)
    return ours.send(status) + ours.send(RESYNC)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = 0
    with pair() as (real, ours):
        for difference in differences(real, ours, options.messages, options.seed):
            found += 1
            print(difference)
            if found == 20:
                print("... and no further")
                break
    print(f"{options.messages} messages, seed {options.seed}: {found} differences")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
