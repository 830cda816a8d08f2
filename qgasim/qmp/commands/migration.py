"""Commands about migration."""

from typing import Any

from qgasim.errors import CommandError
from qgasim.qapi.registry import Arguments
from qgasim.qmp.migration_rules import check_capabilities, check_parameters
from qgasim.qmp.monitor import Monitor
from qgasim.qmp.registry import command, free_command

__all__: list[str] = []


@command()
def migrate_set_capabilities(monitor: Monitor, capabilities: list[Any]) -> None:
    """Switch capabilities of migration on or off. Only ``events`` has an effect."""
    migration = monitor.hypervisor.migration
    migration.check_idle()
    changed = {each["capability"]: each["state"] for each in capabilities}
    kept = migration.capabilities - changed.keys()
    on = kept | {name for name, state in changed.items() if state}
    check_capabilities(on, migration.parameters)
    migration.capabilities = on


@command()
def query_migrate_capabilities(monitor: Monitor) -> Any:
    """List the capabilities of migration, and which are on."""
    on = monitor.hypervisor.migration.capabilities
    return [
        {"capability": each["capability"], "state": each["state"] or each["capability"] in on}
        for each in monitor.release.answers["query-migrate-capabilities"]
    ]


@command()
def query_migrate(monitor: Monitor) -> Any:
    """Return how far a migration is."""
    return monitor.hypervisor.migration.info()


@command()
def migrate(
    monitor: Monitor,
    uri: str | None = None,
    channels: Any = None,
    blk: bool | None = None,
    inc: bool | None = None,
    detach: bool | None = None,
    resume: bool | None = None,
) -> None:
    """Move the machine to another host: it stops here. Nothing is sent to *uri*."""
    monitor.hypervisor.migration.start(uri)


@command()
def migrate_pause(monitor: Monitor) -> None:
    """Refuse to pause a migration: none is in its second phase (postcopy)."""
    # UNVERIFIED: the words of 10.0 and 11.1.
    states = "postcopy-active state"
    raise CommandError(f"migrate-pause is currently only supported during {states}")


@command()
def migrate_recover(monitor: Monitor, uri: str) -> None:
    """Refuse to go on with a migration: none is paused."""
    raise CommandError("Migrate recover can only be run when postcopy is paused.")


@command("migrate_cancel")
def migrate_cancel(monitor: Monitor) -> None:
    """Cancel a migration."""
    monitor.hypervisor.migration.cancel()


@command()
def migrate_incoming(
    monitor: Monitor,
    uri: str | None = None,
    channels: Any = None,
    exit_on_error: bool | None = None,
) -> None:
    """Let the machine come from another host: it is the guest of the scenario.

    `qgasim-qemu` waits for a connection at *uri*, if that is a socket; nothing is read from it.
    """
    monitor.hypervisor.migration.receive(uri)


@free_command("migrate-set-parameters")
def migrate_set_parameters(monitor: Monitor, arguments: Arguments) -> None:
    """Change parameters of migration: they are kept, and have no effect."""
    migration = monitor.hypervisor.migration
    changed = {
        name: "" if value is None else value
        for name, value in arguments.items()
        if name not in monitor.release.ignored_parameters
    }
    check_parameters(migration.parameters | changed)
    migration.parameters |= changed


@command()
def query_migrate_parameters(monitor: Monitor) -> Any:
    """Return the parameters of migration. UNVERIFIED: what they are at first in releases other than 7.2."""
    return monitor.hypervisor.migration.parameters
