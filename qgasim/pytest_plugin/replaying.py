"""Recorded conversations as guests of tests."""

import contextlib
import os
from collections.abc import Callable, Generator
from typing import Literal

import pytest

from qgasim.conversation import read_conversation
from qgasim.errors import ConversationError
from qgasim.pytest_plugin.markers import MARKER
from qgasim.scenario import Blueprint, loads
from qgasim.testing.live import LiveGuest
from qgasim.upstream.recording import Manner, RecordingLink, Then, make_replay

__all__ = ["lend_replays"]


@contextlib.contextmanager
def lend_replays(
    request: pytest.FixtureRequest, make: Callable[..., LiveGuest]
) -> Generator[Callable[..., LiveGuest]]:
    """Yield what replays recordings for a test; fail it if a strict replay was not followed."""
    followed: list[LiveGuest] = []

    def qga_replay(
        path: str | os.PathLike[str],
        *,
        strict: bool = False,
        pace: Literal["real", "none"] = "none",
        then: Then = "error",
        agent: str | None = None,
    ) -> LiveGuest:
        """Return a guest that answers from a recording.

        Args:
            path: of the recording, relative to the test's file.
            strict: requests must come as they were recorded; if not, the test fails at its end.
            pace: ``real``: replies take as long as they took.
            then: what answers a request that the recording has no reply to: the marker's guest
                (``model``), or an ``error``.
            agent: the release; None: the one that the recording says.

        Raises:
            ConversationError: it cannot be read, or is no recording.
        """
        if pace not in ("real", "none"):
            raise ConversationError(f"pace: expected real or none, found {pace!r}")
        if then not in ("model", "error"):
            raise ConversationError(f"then: expected model or error, found {then!r}")
        conversation = read_conversation(os.path.join(request.path.parent, path))
        manner = Manner(is_strict=strict, has_pace=pace == "real", then=then)

        def make_blueprint(text: str) -> Blueprint:
            return make_replay(loads(text, MARKER), conversation, manner, release=agent)

        live = make(make_blueprint)
        if strict:
            followed.append(live)
        return live

    yield qga_replay
    for live in followed:
        link = getattr(live.simulation.channel, "link", None)
        if isinstance(link, RecordingLink) and link.player.mismatches:
            pytest.fail("\n".join(link.player.mismatches), pytrace=False)
