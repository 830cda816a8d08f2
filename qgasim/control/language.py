"""How control reads what clients send: in the scenario language, with its words for what is wrong."""

import re
from typing import Annotated, Any, Final, get_args, get_origin

import msgspec
from msgspec import Struct

from qgasim.errors import ScenarioError
from qgasim.http.problems import HttpError, Mistake
from qgasim.scenario.reading import read_value, read_words, read_yaml

__all__ = ["JSON_TYPES", "YAML_TYPES", "Language", "Said", "explain"]

#: Media types of bodies; the second JSON is curl's default.
JSON_TYPES: Final = (
    "application/json",
    "application/x-www-form-urlencoded",
    "application/merge-patch+json",
)
YAML_TYPES: Final = ("application/yaml", "application/x-yaml", "text/yaml", "text/x-yaml")
#: A line of an error with its place in YAML.
_PLACE: Final = re.compile(r"body:([0-9]+):([0-9]+): (.*)", re.DOTALL)
#: How many mistakes are listed one by one.
MISTAKES: Final = 100


class Said(Struct, frozen=True):
    """Marks a value that is read later: what it is then; *is_partial*: or a part of it."""

    what: Any
    is_partial: bool = False


class Language:
    """Reads bodies and queries; what is wrong with them is a problem."""

    def body(self, data: bytes, media_type: str, wanted: Any) -> Any:
        """Return a body as a *wanted*; an empty one says nothing.

        Raises:
            HttpError: it is none (422), or nothing that can be read (400, 415).
        """
        wanted = get_args(wanted)[0] if get_origin(wanted) is Annotated else wanted
        kind = media_type.partition(";")[0].strip().lower()
        try:
            if kind in YAML_TYPES:
                return read_yaml(data.decode(), wanted, "body")
            if kind and kind not in JSON_TYPES:
                raise HttpError(415, f"expected JSON or YAML, found {kind[:100]!r}")
            return read_value(msgspec.json.decode(data) if data else {}, wanted, "body")
        except ScenarioError as error:
            raise explain(error) from None
        except msgspec.DecodeError as error:
            raise HttpError(400, f"this is no JSON: {error}") from None
        except UnicodeDecodeError:
            raise HttpError(400, "this is not UTF-8") from None
        except RecursionError:
            raise HttpError(400, "nested too deeply") from None

    def query(self, pairs: dict[str, str], wanted: type[Struct]) -> Any:
        """Return what stood behind the question mark as a *wanted*; HttpError: it is none (422)."""
        try:
            return read_words(pairs, wanted, "query")
        except ScenarioError as error:
            raise explain(error) from None


def explain(error: ScenarioError, status: int = 422) -> HttpError:
    """Return the problem that tells what is wrong with what was said, line by line."""
    lines = str(error).split("\n")
    mistakes: list[Mistake] = []
    for line in lines[:MISTAKES]:
        if found := _PLACE.fullmatch(line):
            place = int(found[1]), int(found[2])
            mistakes.append(Mistake(detail=found[3], line=place[0], column=place[1]))
        else:
            mistakes.append(Mistake(detail=line.removeprefix("body: ").removeprefix("query: ")))
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return HttpError(status, mistakes[0].detail + more, mistakes)
