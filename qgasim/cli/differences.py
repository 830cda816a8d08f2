"""Where a real agent and a simulated one answer differently, as it is printed."""

from typing import TYPE_CHECKING, Final

from qgasim.cli.text import readable_bytes

if TYPE_CHECKING:
    from qgasim.compare import Difference

__all__ = ["difference_lines"]

#: How many bytes of a request or an answer are shown.
_WIDTH: Final = 300


def difference_lines(title: str, difference: "Difference") -> list[str]:
    """Return the lines that show a difference; the first begins with *title*."""
    return [
        f"{title} {difference.topic}: {difference.what}",
        f"   sent      {_show(difference.request)}",
        f"   real      {_show(difference.real)}",
        f"   simulated {_show(difference.simulated)}",
    ]


def _show(data: bytes) -> str:
    text = readable_bytes(data[:_WIDTH].removesuffix(b"\n")).decode()
    return f"{text}... ({len(data)} bytes)" if len(data) > _WIDTH else text or "(nothing)"
