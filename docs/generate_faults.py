"""Print docs/faults.md, made of the faults' Structs and of docs/examples/faults.yaml."""

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import msgspec

from qgasim.faults import AnyFault, Fault, connection, content, stream, timing
from qgasim.scenario.decode import Decoder
from qgasim.scenario.document import compose

__all__ = ["EXAMPLES", "FAULTS", "make_page"]

TEXT = Path(__file__).with_name("examples").joinpath("faults.yaml").read_text()
_NODE = compose(TEXT, "faults.yaml")
assert _NODE
EXAMPLES: dict[str, dict[str, Any]] = Decoder().decode(_NODE, Any, "")
#: Each example's fault as it is written.
FAULTS: dict[str, str] = dict(re.findall(r"^(\w+):\n  fault: (.*)", TEXT, re.MULTILINE))
CHAPTERS = {
    "In time": timing,
    "In bytes": stream,
    "In content": content,
    "In the connection and the agent": connection,
}
INTRODUCTION = """\
# Faults

<!-- Made by docs/generate_faults.py (`make docs`); do not edit. -->

What goes wrong, on demand and the same way every time. Faults stand in a scenario under `faults`, and strike in the
order in which they are written; each changes what the one before has left.

```yaml
qgasim: 1
extends: debian-12
faults:
  - {kind: delay, on: guest-get-fsinfo, by: 30s, after: 2, times: 1}
  - {kind: error, on: {command: guest-exec, arguments: {path: {glob: "/opt/*"}}}, desc: "out of memory"}
  - {kind: truncate, on: "guest-file-*", keep: 100, probability: 0.01}
```

Of several faults that would answer in the command's place, the first does. In the examples `wait` says how long
nothing comes.

## Settings that all have
"""


def comments_of(cls: type) -> dict[str, str]:
    """Give the ``#:`` comments of a class, by field."""
    found = re.findall(r"((?:^ +#: .*\n)+)^ +(\w+):", inspect.getsource(cls), re.MULTILINE)
    return {name: " ".join(re.findall(r"#: (.*)", text)) for text, name in found}


def table(cls: type[msgspec.Struct], leave_out: set[str]) -> str:
    comments: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if issubclass(base, msgspec.Struct) and base is not msgspec.Struct:
            comments |= comments_of(base)
    rows = [
        f"| `{field.encode_name}` | {'required' if field.required else show(field.default)} "
        f"| {comments[field.name]} |"
        for field in msgspec.structs.fields(cls)
        if field.name not in leave_out
    ]
    return "\n".join(["| key | default | meaning |", "| --- | --- | --- |", *rows]) if rows else ""


def show(default: Any) -> str:
    return "" if default in (None, "", ()) or default is msgspec.NODEFAULT else f"`{default!r}`"


def make_page() -> str:
    common = {field.name for field in msgspec.structs.fields(Fault)}
    parts = [INTRODUCTION, table(Fault, set()), ""]
    kinds = {cls.__struct_config__.tag: cls for cls in get_args(AnyFault)}
    for title, module in CHAPTERS.items():
        parts += [f"## {title}", ""]
        for kind, cls in sorted(kinds.items()):
            if cls.__module__ != module.__name__:
                continue
            example = EXAMPLES[kind]
            parts += [f"### `{kind}`", "", inspect.cleandoc(cls.__doc__ or ""), ""]
            if settings := table(cls, common):
                parts += [settings, ""]
            parts += ["```yaml", f"faults:\n  - {FAULTS[kind]}", "```", ""]
            sent = [f"    > {text.strip()!s}" for text in example["send"]]
            seen = [f"    < {show_seen(item)}" for item in example["see"]]
            parts += [*sent, *seen, ""] if sent or seen else []
    return "\n".join(parts)


def show_seen(item: Any) -> str:
    if isinstance(item, dict):
        return f"(wait {item['wait']})"
    is_bytes = item.startswith(("{", "\xff", "\xef", "z", "D", "t", " "))
    return repr(item.encode("latin-1"))[2:-1] if is_bytes else f"({item})"


if __name__ == "__main__":
    print(make_page(), end="")
