"""The page: files that a browser gets, and what it may do with them."""

import os
import re
from functools import lru_cache
from typing import Final

from qgasim.control.control import Control
from qgasim.control.registry import route
from qgasim.http.problems import HttpError
from qgasim.http.routes import Answer

__all__ = ["index", "page_file"]

CHAPTER = "Page"
DIRECTORY: Final = os.path.join(os.path.dirname(os.path.dirname(__file__)), "page")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]*(/[a-z0-9][a-z0-9_.-]*)*")
_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
}
_HEADERS: Final = [
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("Referrer-Policy", "no-referrer"),
]


@lru_cache(maxsize=256)
def _read(name: str) -> tuple[bytes, str]:
    media_type = _TYPES.get(os.path.splitext(name)[1])
    if media_type is None or not _NAME.fullmatch(name):
        raise HttpError(404, f"the page has no file '{name[:100]}'")
    try:
        with open(os.path.join(DIRECTORY, name), "rb") as file:
            return file.read(), media_type
    except OSError:
        raise HttpError(404, f"the page has no file '{name[:100]}'") from None


def _answer(name: str) -> Answer:
    body, media_type = _read(name)
    return Answer(body=body, media_type=media_type, headers=list(_HEADERS))


@route("GET /", chapter=CHAPTER, produces="text/html; charset=utf-8", is_public=True)
def index(control: Control) -> Answer:
    """Return the page for people."""
    return _answer("index.html")


@route("GET /page/{file:path}", chapter=CHAPTER, produces="*/*", is_public=True)
def page_file(control: Control, file: str) -> Answer:
    """Return a file of the page: a style, a script, a picture."""
    return _answer(file)
