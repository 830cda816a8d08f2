"""Commands about the processors, devices and networks of a Windows guest."""

from typing import Annotated, Final, Literal

from msgspec import Struct
from msgspec.structs import astuple

from qgasim.agent import Agent
from qgasim.commands.hardware import (
    IpAddress,
    LoadAverage,
    LogicalProcessor,
    NetworkInterface,
    NetworkInterfaceStat,
    NetworkRoute,
)
from qgasim.guest.hardware.network import Nic, parse_address
from qgasim.guest.hardware.windows_routes import WindowsRoute, is_loopback, list_windows_routes
from qgasim.guest.units import SECOND
from qgasim.qapi.annotations import Exact
from qgasim.qapi.registry import WINDOWS, command

__all__: list[str] = []


@command(name="guest-get-vcpus", since=(1, 5), platforms=WINDOWS)
def windows_get_vcpus(agent: Agent) -> list[LogicalProcessor]:
    """List the logical processors that are in use, counted from 0. None can be taken out of use."""
    online = [cpu for cpu in agent.guest.vcpus if cpu.online]
    return [
        LogicalProcessor(number, online=True, can_offline=False) for number in range(len(online))
    ]


# -- networks --------------------------------------------------------------------------------------


@command(name="guest-network-get-interfaces", since=(1, 1), platforms=WINDOWS)
def windows_network_get_interfaces(agent: Agent) -> list[NetworkInterface]:
    """List the network interfaces that are not disabled.

    UNVERIFIED: their order, and the numbers in the zones of link-local addresses; they are counted, the
    loopback first.
    """
    uptime = agent.guest.clock.uptime()
    has_prefixes = agent.dialect.tells_prefixes
    nics = [nic for nic in agent.guest.nics if nic.up]
    index = {
        id(nic): number
        for number, nic in enumerate(sorted(nics, key=lambda nic: not is_loopback(nic)), 1)
    }
    return [
        NetworkInterface(
            nic.name,
            nic.mac and nic.mac.lower(),
            _ip_addresses(nic, index[id(nic)], has_prefixes=has_prefixes) or None,
            NetworkInterfaceStat(*astuple(nic.counters_at(uptime))),
        )
        for nic in nics
    ]


def _ip_addresses(nic: Nic, index: int, *, has_prefixes: bool) -> tuple[IpAddress, ...]:
    found: list[IpAddress] = []
    for address in nic.addresses:
        version, ip, prefix = parse_address(address)
        if ip.startswith("fe80:"):
            # WSAAddressToString() writes the zone.
            ip += "%" + (address.partition("/")[0].partition("%")[2] or str(index))
        prefix = prefix if has_prefixes else -1
        found.append(IpAddress(ip, "ipv4" if version == 4 else "ipv6", prefix))
    return tuple(found)


@command(
    name="guest-network-get-route",
    since=(9, 1),
    platforms={"windows": (11, 0)},
    is_conditional=True,
)
def windows_network_get_route(agent: Agent) -> list[NetworkRoute]:
    """List the routes, IPv4 first.

    From a patch of the time before 11.0 was released. UNVERIFIED: that it was merged as it is, and the
    order of the routes.
    """
    return [_describe_route(route) for route in list_windows_routes(agent.guest.nics)]


def _describe_route(route: WindowsRoute) -> NetworkRoute:
    network = route.network
    is_4 = network.version == 4
    return NetworkRoute(
        iface=route.nic,
        destination=str(network.network_address),
        metric=route.metric,
        gateway=route.gateway if is_4 else None,
        mask=str(network.netmask) if is_4 else None,
        flags=None,
        refcnt=None,
        use=None,
        # Read into a C int: the loopback's, 2^32 - 1, is -1.
        mtu=-1 if route.mtu >= 1 << 31 else route.mtu,
        desprefixlen=None if is_4 else str(network.prefixlen),
        nexthop=None if is_4 else route.gateway,
        version=network.version,
    )


# -- load ------------------------------------------------------------------------------------------

#: How much of an average is left when the queue of the processors is looked at again, after 5 s.
_FACTORS: Final = (0.9200444146293233, 0.9834714538216175, 0.9944598480048967)
_INTERVAL: Final = 5 * SECOND


@command(name="guest-get-load", since=(10, 0), platforms={"windows": (10, 1)}, is_conditional=True)
def windows_get_load(agent: Agent) -> LoadAverage:
    """Return averages that the agent itself has formed since it was first asked, from 0 on.

    The queue of the processors is taken to be as long all the time as the scenario's load says.
    """
    now = agent.guest.clock.uptime()
    if agent.state.load_since is None:
        agent.state.load_since = now
    looks = (now - agent.state.load_since) // _INTERVAL
    load = agent.guest.settings.load
    shares = [1.0 - factor**looks for factor in _FACTORS]
    return LoadAverage(*(each * share for each, share in zip(load, shares, strict=True)))


# -- devices ---------------------------------------------------------------------------------------


class DeviceId(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestDeviceId`` of a device on PCI."""

    type: Annotated[Literal["pci"], Exact()]
    vendor_id: Annotated[int, "uint16"]
    device_id: Annotated[int, "uint16"]


class DeviceInfo(Struct, frozen=True, rename="kebab"):
    """QAPI ``GuestDeviceInfo``."""

    driver_name: str
    driver_date: int | None
    driver_version: str | None
    id: DeviceId | None


#: DEVICE_PCI_RE: only these vendors, and a class of hexadecimal digits that ends at B.
_VENDORS: Final = frozenset({"1AF4", "1B36"})
_DIGITS: Final = frozenset("0123456789AB")


@command(name="guest-get-devices", since=(5, 2), platforms={"windows": (5, 2)})
def windows_get_devices(agent: Agent) -> list[DeviceInfo]:
    """List the virtual devices on PCI and their drivers.

    Devices whose number has one of the digits C to F are forgotten. Windows guests only.
    """
    found: list[DeviceInfo] = []
    for driver in agent.guest.settings.devices:
        vendor, _, device = driver.pci_id.upper().partition(":")
        if vendor in _VENDORS and set(device) <= _DIGITS:
            number = DeviceId("pci", int(vendor, 16), int(device, 16))
            found.append(DeviceInfo(driver.name, driver.date, driver.version, number))
    return found
