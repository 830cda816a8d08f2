"""What all routes are given: the guests and the feed."""

import trio

from qgasim.control.feed import Feed
from qgasim.control.guests import ControlledGuest, Guests
from qgasim.control.remotes import Remotes

__all__ = ["Control"]


class Control:
    """The guests of a process, under control.

    Args:
        guests: all guests.
        token: what other processes ask for that announce their guests.
    """

    def __init__(self, guests: Guests, token: str | None = None) -> None:
        self.guests = guests
        #: What happens to them.
        self.feed: Feed = guests.feed
        #: The guests that other processes serve.
        self.remotes = Remotes(guests, token)

    def guest(self, name: str) -> ControlledGuest:
        """Return the guest called *name*; HttpError: there is none."""
        return self.guests.get(name)

    def stop(self) -> None:
        """End the process, as SIGTERM would, when the answer to this request is on its way."""
        # A task that is run now sends its answer before anything else is run.
        trio.lowlevel.current_trio_token().run_sync_soon(self.guests.on_end)
