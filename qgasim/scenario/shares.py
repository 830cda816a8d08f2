"""Folders of the host that a guest is given: the user who starts it names them, never a scenario."""

from collections.abc import Iterable

from msgspec import Struct

from qgasim.errors import ScenarioError
from qgasim.guest.files.share import SharedVolume

__all__ = ["Share", "open_shares", "parse_share"]


class Share(Struct, frozen=True):
    """A folder of the host, and where it is in the guest."""

    host: str
    guest: str

    def __str__(self) -> str:
        return f"{self.host}={self.guest}"


def parse_share(text: str) -> Share:
    """Read ``HOST_DIR=GUEST_DIR``.

    Raises:
        ScenarioError: it is none.
    """
    host, _, guest = text.rpartition("=/")
    names = [name for name in guest.split("/") if name]
    if not host or not names or "." in names or ".." in names:
        raise ScenarioError(
            f"not a shared folder: '{text}' (expected HOST_DIR=GUEST_DIR, as in out=/mnt/out)"
        )
    return Share(host, "/" + "/".join(names))


def open_shares(shares: Iterable[Share]) -> dict[str, SharedVolume]:
    """Open the folders, by where they are in the guest.

    Raises:
        ScenarioError: one cannot be shared.
    """
    opened: dict[str, SharedVolume] = {}
    for share in shares:
        if share.guest in opened:
            raise ScenarioError(f"share {share}: there is another folder at {share.guest} already")
        try:
            opened[share.guest] = SharedVolume(f"share{len(opened)}", share.host)
        except OSError as error:
            raise ScenarioError(f"share {share}: {share.host}: {error.strerror}") from None
    return opened
