"""Replies that the schema allows and that clients seldom meet."""

import random
from typing import Any

from qgasim.effects import Effect
from qgasim.faults.base import Exchange, Fault, rewrite_value
from qgasim.faults.content import Edit
from qgasim.qapi.names import kinds_listed, rename
from qgasim.qapi.variations import Variation, VariationKind, list_variations
from qgasim.wire import is_array, is_object

__all__ = ["LegalVariation", "find_edit"]


class LegalVariation(Fault, frozen=True, kw_only=True, tag="legal_variation"):
    """The reply is one that the release's schema allows and clients seldom see, or that a later release may give.

    Each request gets another variation of what the guest answers: optional members are absent or present,
    lists are empty or long, in another order or with duplicates, numbers are at the limits of their types,
    names are hard to quote, members and values of later releases are there. The reply stays true: what
    answers the request itself (contents, exit codes, handles) and what clients give back in requests is as
    it was, and a thing that has another name, or is left out, is so in all later replies.
    The journal shows each variation as the `edit` that repeats it.
    """

    #: At how many places a reply differs.
    changes: int = 1
    #: Which kinds of variations; absent: all. `new_member` and `new_value` are of no release yet.
    kinds: tuple[VariationKind, ...] = ()
    #: The reply breaks the schema instead: a wrong type, a member that is missing or null, a number out of range.
    illegal: bool = False
    #: What the variations follow from; absent: the scenario's seed.
    seed: int | None = None

    def apply(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Vary what is returned; the same for the same seed, command and count of its requests."""
        if exchange.schema is None:
            return effects
        return rewrite_value(effects, lambda value: self._vary(exchange, value))

    def follow(self, exchange: Exchange, effects: list[Effect]) -> list[Effect]:
        """Call things as earlier replies have done."""
        schema = exchange.schema
        if schema is None:
            return effects

        def call_alike(value: Any) -> Any:
            return _pin(exchange, value, rename(value, *schema, exchange.aliases))

        return rewrite_value(effects, call_alike)

    def _vary(self, exchange: Exchange, value: Any) -> Any:
        assert exchange.schema is not None
        annotation, dialect = exchange.schema
        seed = exchange.seed if self.seed is None else self.seed
        chance = random.Random(f"variation {seed} {exchange.command} {exchange.count_of_command}")
        # A list of things says anew which there are, and what they are called.
        listed = kinds_listed(annotation, dialect)
        for key in [key for key in exchange.aliases if key[0] in listed]:
            del exchange.aliases[key]
        varied = rename(value, annotation, dialect, exchange.aliases)
        is_renamed = False
        for _ in range(self.changes):
            found = [
                variation
                for variation in list_variations(varied, annotation, dialect, illegal=self.illegal)
                if not (is_renamed and variation.aliases)
                and (not self.kinds or variation.kind in self.kinds)
            ]
            if not found:
                break
            variation = _choose(found, chance)
            varied = variation.vary(varied, annotation, dialect)
            exchange.aliases.update(variation.aliases)
            is_renamed |= bool(variation.aliases)
        return _pin(exchange, value, varied)


def _choose(found: list[Variation], chance: random.Random) -> Variation:
    """Return one of the variations, each kind being as likely as any other."""
    kind = chance.choice(list(dict.fromkeys(variation.kind for variation in found)))
    return chance.choice([variation for variation in found if variation.kind == kind])


def _pin(exchange: Exchange, before: Any, after: Any) -> Any:
    """Note the fault that changes the value in the same way; return the new value."""
    edit = find_edit(before, after, on=exchange.command)
    if edit is not None:
        exchange.pins.append(edit)
    return after


def find_edit(before: Any, after: Any, on: str = "*") -> Edit | None:
    """Return the edit that makes one JSON value of another; None if they are the same."""
    edit = Edit(on=on)
    removed: list[str] = []
    _compare(before, after, "", edit.set, removed)
    if not edit.set and not removed:
        return None
    return Edit(on=on, set=edit.set, remove=tuple(removed))


def _compare(
    before: Any, after: Any, pointer: str, changed: dict[str, Any], removed: list[str]
) -> None:
    if is_object(before) and is_object(after):
        for name in before | after:
            place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
            if name not in after:
                removed.append(place)
            elif name not in before:
                changed[place] = after[name]
            else:
                _compare(before[name], after[name], place, changed, removed)
    elif is_array(before) and is_array(after) and _is_alike(before, after):
        pairs = zip(before, after, strict=True)
        for index, (old_item, new_item) in enumerate(pairs):
            _compare(old_item, new_item, f"{pointer}/{index}", changed, removed)
    elif type(before) is not type(after) or before != after:
        changed[pointer] = after


def _is_alike(before: list[Any], after: list[Any]) -> bool:
    """Return whether two lists are best compared item by item: neither moved, nor more or fewer."""
    return len(before) == len(after) and (
        before == after or not all(item in after for item in before)
    )
