"""What was counted, in Prometheus' text format (version 0.0.4)."""

from collections.abc import Iterable
from typing import Final

from qgasim.control.guests import ControlledGuest
from qgasim.guest.units import SECOND

__all__ = ["write_metrics"]

_COUNTERS: Final = {
    "requests": "Requests that the agent has read.",
    "errors": "Requests that were answered by an error.",
    "connections": "Clients that have connected.",
}


def write_metrics(guests: Iterable[ControlledGuest]) -> str:
    """Return the counts of all guests."""
    guests = list(guests)
    lines = ["# HELP qgasim_guests Guests that are served.", "# TYPE qgasim_guests gauge"]
    lines.append(f"qgasim_guests {len(guests)}")
    for name, text in _COUNTERS.items():
        lines += [f"# HELP qgasim_{name}_total {text}", f"# TYPE qgasim_{name}_total counter"]
        lines += [
            f"qgasim_{name}_total{_labels(guest=g.name)} {getattr(g.recorder.counts, name)}"
            for g in guests
        ]
    lines.append("# HELP qgasim_faults_fired_total How often faults fired.")
    lines.append("# TYPE qgasim_faults_fired_total counter")
    for guest in guests:
        for fault, count in guest.recorder.counts.faults.items():
            labels = _labels(guest=guest.name, fault=fault)
            lines.append(f"qgasim_faults_fired_total{labels} {count}")
    lines.append("# HELP qgasim_guest_state The state that the guest is in has the value 1.")
    lines.append("# TYPE qgasim_guest_state gauge")
    for guest in guests:
        lines.append(f"qgasim_guest_state{_labels(guest=guest.name, state=guest.state)} 1")
    lines.append("# HELP qgasim_guest_uptime_seconds The guest's time since its scenario began.")
    lines.append("# TYPE qgasim_guest_uptime_seconds gauge")
    for guest in guests:
        labels = _labels(guest=guest.name)
        lines.append(
            f"qgasim_guest_uptime_seconds{labels} {guest.simulation.guest.clock.uptime() / SECOND:.3f}"
        )
    return "\n".join(lines) + "\n"


def _labels(**values: str) -> str:
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in values.items()) + "}"


def _escape(value: str) -> str:
    value = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value.encode("utf-8", "backslashreplace").decode()
