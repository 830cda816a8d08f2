"""The routes of the control API, and what they share."""

from collections.abc import Generator
from contextlib import contextmanager
from errno import EACCES, EFBIG, ENOENT, ENOTDIR, EPERM, EROFS
from functools import partial
from typing import Final

from qgasim.control.language import explain
from qgasim.errors import KernelError, ScenarioError
from qgasim.guest.files.nodes import WouldBlock
from qgasim.http.problems import HttpError
from qgasim.http.routes import Route
from qgasim.http.routes import route as http_route

__all__ = ["ROUTES", "refusing", "route"]

ROUTES: Final[list[Route]] = []
"""All routes, in the order of the documentation."""

#: Registers a function as a route of the control API.
route = partial(http_route, into=ROUTES)

#: The statuses of errors of the guest's kernel; all others are a conflict with what there is.
_STATUSES: Final = {
    ENOENT: 404,
    ENOTDIR: 404,
    EACCES: 403,
    EPERM: 403,
    EROFS: 403,
    EFBIG: 413,
}


@contextmanager
def refusing(missing: int = 422) -> Generator[None]:
    """Answer by a problem what a client has asked for and cannot be.

    *missing*: the status if what was named is not there.
    """
    try:
        yield
    except ScenarioError as error:
        raise explain(error) from None
    except KernelError as error:
        name = f": '{error.filename}'" if error.filename else ""
        status = _STATUSES.get(error.errno or 0, 409)
        raise HttpError(status, f"{error.strerror}{name}") from None
    except WouldBlock:
        raise HttpError(409, "its file system is frozen") from None
    except LookupError as error:
        raise HttpError(missing, str(error.args[0]) if error.args else str(error)) from None
    except OSError as error:
        raise HttpError(409, error.strerror or str(error)) from None
    except (TypeError, ValueError) as error:
        raise HttpError(422, str(error)) from None
