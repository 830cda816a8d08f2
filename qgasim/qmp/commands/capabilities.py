"""Commands by which a management layer finds out what an emulator can do, before it starts a domain.

They are answered as QEMU 7.2.22 of Debian 12 was recorded (``-machine none``, TCG;
tests/emulator/record_probe.py), whatever the machine. UNVERIFIED: what other releases answer; they have
the machine types of their age.
"""

import gzip
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, cast

from msgspec import Struct, json

from qgasim.errors import CommandError, DeviceNotFound
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command
from qgasim.qmp.release import Release, turn_round

__all__ = [
    "ancestors",
    "cpu_properties",
    "cpu_value",
    "is_abstract",
    "properties_of",
    "settings_of",
    "shown_help",
]

#: Other names of features of processors (target/i386/cpu.c), besides ``_`` for ``-``.
_ALIASES: Final = {
    "xd": "nx", "i64": "lm", "sse3": "pni", "pclmuldq": "pclmulqdq", "ffxsr": "fxsr-opt",
    "svm_lock": "svm-lock", "nrip_save": "nrip-save", "tsc_scale": "tsc-scale",
}  # fmt: skip


class _Recorded(Struct, frozen=True):
    """What was recorded."""

    #: Replies by command, with the arguments as JSON after a blank.
    replies: dict[str, dict[str, Any]]
    #: The properties of each processor model, as a full expansion lists them.
    models: dict[str, dict[str, Any]]
    #: What qom-list says of a processor.
    cpu: list[dict[str, str]]
    #: What qom-get says of each property.
    cpu_values: dict[str, dict[str, Any]]


@cache
def _recorded() -> _Recorded:
    file = resources.files("qgasim.qmp").joinpath("data", "capabilities.json.gz")
    return json.decode(gzip.decompress(file.read_bytes()), type=_Recorded)


def _answer(key: str) -> Any:
    """Return what was answered, or raise what was refused."""
    reply = _recorded().replies[key]
    if "error" in reply:
        error = reply["error"]
        kind = DeviceNotFound if error["class"] == "DeviceNotFound" else CommandError
        raise kind(error["desc"])
    return turn_round(reply["return"])


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


@cache
def _machines(release: Release) -> list[dict[str, Any]]:
    """Return the types of machine of a release: none that is newer, and its own."""
    ours = _version(release.name)
    found: list[dict[str, Any]] = []
    for machine in _answer("query-machines"):
        number = re.fullmatch(r"(pc-(?:i440fx|q35)-)([\d.]+)", machine["name"])
        if number and number[2] == "7.2":
            found.append({**machine, "name": f"{number[1]}{release.name}"})
            if ours > (7, 2):
                plain = {key: machine[key] for key in machine if key not in ("alias", "is-default")}
                found.append(plain)
        elif number is None or _version(number[2]) < min(ours, (7, 2)):
            found.append(machine)
    return found


@command()
def query_machines(monitor: Monitor, compat_props: bool | None = None) -> Any:
    """List the types of machine. UNVERIFIED: what is asked for by ``compat-props`` is left out."""
    return _machines(monitor.release)


@command()
def query_cpu_definitions(monitor: Monitor) -> Any:
    """List the processor models."""
    return _answer("query-cpu-definitions")


@command()
def query_tpm_models(monitor: Monitor) -> Any:
    """List the models of TPM."""
    return _answer("query-tpm-models")


@command()
def query_tpm_types(monitor: Monitor) -> Any:
    """List the ways to a TPM."""
    return _answer("query-tpm-types")


@command()
def query_command_line_options(monitor: Monitor, option: str | None = None) -> Any:
    """Describe options of the command line."""
    own = monitor.release.answers["query-command-line-options"]
    known = own if option == "name" else _answer("query-command-line-options")
    found = [each for each in known if option in (None, each["option"])]
    if not found:
        raise CommandError(f"invalid option name: {option}")
    return found


@command()
def query_sev_capabilities(monitor: Monitor) -> Any:
    """Refuse to tell of AMD's encryption: there is no KVM."""
    return _answer("query-sev-capabilities")


@command()
def query_sgx_capabilities(monitor: Monitor) -> Any:
    """Refuse to tell of Intel's enclaves: there is no KVM."""
    return _answer("query-sgx-capabilities")


@cache
def _types() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in _answer('qom-list-types {"abstract": true}')}


def ancestors(name: str) -> Iterator[str]:
    """Yield a type and those that it is of; nothing for one that there is not."""
    types = _types()
    while name in types:
        yield name
        name = types[name].get("parent", "")


def is_abstract(name: str) -> bool:
    """Return whether there are only types of a type, and no objects."""
    return bool(_types()[name].get("abstract"))


@command()
def qom_list_types(
    monitor: Monitor, implements: str | None = None, abstract: bool | None = None
) -> Any:
    """List the types of objects."""
    chosen: Iterable[str] = _types()
    key = f'qom-list-types {{"abstract": true, "implements": "{implements}"}}'
    if key in _recorded().replies:
        chosen = [each["name"] for each in _answer(key)]
    elif implements is not None:
        chosen = [name for name in chosen if implements in ancestors(name)]
    return [_types()[name] for name in chosen if abstract or not is_abstract(name)]


def properties_of(name: str) -> dict[str, str] | None:
    """Return the types of the properties that objects of a type have, by name; None: they were not recorded."""
    key = f'qom-list-properties {{"typename": "{name}"}}'
    if key not in _recorded().replies:
        return None
    return {each["name"]: each["type"] for each in _answer(key)}


def settings_of(name: str) -> dict[str, Any]:
    """Return the settings of devices of a type, by name: the default, or None if unknown."""
    reply = _recorded().replies.get(f'device-list-properties {{"typename": "{name}"}}', {})
    return {each["name"]: each.get("default-value") for each in reply.get("return", [])}


@command()
def qom_list_properties(monitor: Monitor, typename: str) -> Any:
    """List the properties of a type. UNVERIFIED: those of types that cannot be plugged in; none is listed."""
    key = f'qom-list-properties {{"typename": "{typename}"}}'
    if key in _recorded().replies:
        return _answer(key)
    if typename in _types():
        return []
    raise DeviceNotFound(f"Class '{typename}' not found")


@command()
def device_list_properties(monitor: Monitor, typename: str) -> Any:
    """List the properties of a device. UNVERIFIED: those of devices that cannot be plugged in; none is listed."""
    key = f'device-list-properties {{"typename": "{typename}"}}'
    if key in _recorded().replies:
        return _answer(key)
    if typename not in _types():
        raise DeviceNotFound(f"Device '{typename}' not found")
    if "device" not in ancestors(typename) or is_abstract(typename):
        raise CommandError("Parameter 'typename' expects a non-abstract device type")
    return []


def shown_help(line: str) -> str:
    """Return what the monitor for people shows to ``help`` or ``info``."""
    text: str = _answer(f'human-monitor-command {{"command-line": "{line}"}}')
    return text


# -- processors ----------------------------------------------------------------------------------


@command()
def query_cpu_model_expansion(
    monitor: Monitor,
    type: Literal["static", "full"],  # noqa: A002
    model: Any,
) -> Any:
    """Return the properties of a processor model with some changed.

    UNVERIFIED: the levels of CPUID that follow from changed properties; they are the greatest there are.
    """
    models, name = _recorded().models, model["name"]
    given: Any = model.get("props")
    changes = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if name not in models:
        raise CommandError(f"CPU model '{name}' not found")
    props = dict(models[name])
    for each, value in changes.items():
        if each not in props and each not in ("migratable", "hv-passthrough"):
            raise CommandError(f"Property '{name}-x86_64-cpu.{each}' not found")
        props[_canonical(each, props)] = value
    if changes and name == "base":
        props |= {level: models["max"][level] for level in ("level", "xlevel")}
    props = {each: props[_canonical(each, props)] for each in props}
    if type == "static":
        return {"model": {"name": "base", "props": _static(props)}}
    return {"model": {"name": name, "props": turn_round(props)}}


def _canonical(name: str, props: dict[str, Any]) -> str:
    """Return the property of a processor of which *name* is another name, or itself."""
    other = _ALIASES.get(name, name.replace("_", "-"))
    return other if other in props else name


def _static(props: dict[str, Any]) -> Any:
    kept = _recorded().replies[
        'query-cpu-model-expansion {"model": {"name": "max"}, "type": "static"}'
    ]
    return turn_round({each: props[each] for each in kept["return"]["model"]["props"]})


def cpu_properties() -> list[dict[str, str]]:
    """Return what qom-list says of a processor."""
    found: list[dict[str, str]] = turn_round(_recorded().cpu)
    return found


def cpu_value(model: str, name: str) -> Any:
    """Return what qom-get says of a property of a processor; CommandError if it cannot be read.

    A processor of a model has the properties of its full expansion (compared with 7.2's qemu64 and max).
    """
    reply = _recorded().cpu_values.get(name)
    if reply is None:
        raise CommandError(f"Property '{model}-x86_64-cpu.{name}' not found")
    if "error" in reply:
        raise CommandError(reply["error"]["desc"].replace("qemu64", model))
    if name == "type":
        return f"{model}-x86_64-cpu"
    recorded = turn_round(reply["return"])
    if name in ("realized", "hotplugged", "hotpluggable"):
        return recorded
    return _recorded().models.get(model, {}).get(name, recorded)
