"""Commands within commands, without the host's stack: functions, ``eval`` and sourced files call each other deep."""

from typing import Final

from qgasim.guest.processes.process import Blocked, Steps

__all__ = ["LEVEL_SIZE", "MAX_LEVELS", "Nested", "unwind"]

#: How deep they may nest. BusyBox's ash uses up its 8 MiB of stack after 7,000 to 8,000 functions, bash after 8,000.
MAX_LEVELS: Final = 8000
#: What a level takes of the process's memory, in bytes.
LEVEL_SIZE: Final = 4096


class Nested(Blocked, frozen=True, kw_only=True):
    """Steps to run before those go on that yield this; then *returned* has what they returned."""

    steps: Steps
    returned: list[int]


def unwind(steps: Steps) -> Steps:
    """Run *steps*, and what they nest, which is kept on a stack here and not on the host's."""
    stack, calls = [steps], list[Nested]()
    error: BaseException | None = None
    try:
        while True:
            try:
                found = next(stack[-1]) if error is None else stack[-1].throw(error)
            except StopIteration as end:
                stack.pop()
                if not stack:
                    return int(end.value)
                calls.pop().returned.append(end.value)
                error = None
            except BaseException as raised:
                stack.pop()
                if not stack:
                    raise
                calls.pop()
                error = raised
            else:
                error = None
                if isinstance(found, Nested):
                    stack.append(found.steps)
                    calls.append(found)
                else:
                    yield found
    finally:
        while stack:
            stack.pop().close()
