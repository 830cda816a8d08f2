"""Problem details: the answer to a request that fails (RFC 9457)."""

from http import HTTPStatus

from msgspec import Struct

from qgasim.errors import QgaSimError

__all__ = ["PROBLEM", "HttpError", "Mistake", "Problem"]

#: The media type of a problem.
PROBLEM = "application/problem+json"


class Mistake(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One thing that is wrong with what was sent."""

    #: What is wrong, where, and what was probably meant.
    detail: str
    #: The line of the body, from 1; only of YAML.
    line: int | None = None
    #: The column in it, from 1.
    column: int | None = None


class Problem(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """Why a request cannot be answered (RFC 9457)."""

    #: What the status means.
    title: str
    #: The status of the answer.
    status: int
    #: What is wrong with this request.
    detail: str = ""
    #: Everything that is wrong with what was sent, if that is several things or has a place.
    errors: tuple[Mistake, ...] = ()


class HttpError(QgaSimError):
    """A request that is answered by a problem.

    Args:
        status: of the answer.
        detail: what is wrong with the request.
        errors: the same one by one, with places.
        headers: of the answer, besides those that each has.
        closes: end the connection after the answer: the rest of the request is not read.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        errors: list[Mistake] | None = None,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        closes: bool = False,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = headers
        self.closes = closes
        self.problem = Problem(
            title=HTTPStatus(status).phrase,
            status=status,
            detail=detail,
            errors=tuple(errors or ()),
        )
