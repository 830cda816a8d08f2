"""Many cases of one rule in one test: all that break it are told, each by its name."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

#: More are counted only.
SHOWN = 20


class Offenders:
    """Collects the cases that failed, and raises one group of them at the end."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []

    def __enter__(self) -> Self:
        return self

    @contextmanager
    def case(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever goes wrong with a case is told at the end
            error.add_note(f"in the case {name}")
            self.errors.append(error)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if error is None and self.errors:
            raise ExceptionGroup(f"{len(self.errors)} cases differ", self.errors[:SHOWN])
