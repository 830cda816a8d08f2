"""Redaction: nothing private is left, and what belongs together still does."""

from ipaddress import IPv4Address, ip_address, ip_interface
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qgasim.errors import RedactionError
from qgasim.record.redaction import Redactor, strings_of

KEY = b"a key of the tests"
MAC = "9c:b6:d0:12:34:56"
INTERFACES = [
    {
        "name": "enx9cb6d0123456",
        "hardware-address": MAC,
        "ip-addresses": [
            {"ip-address": "10.20.30.40", "ip-address-type": "ipv4", "prefix": 24},
            {"ip-address": "fe80::9eb6:d0ff:fe12:3456", "ip-address-type": "ipv6", "prefix": 64},
            {"ip-address": "2a01:4f8:1:2::1", "ip-address-type": "ipv6", "prefix": 64},
        ],
    },
    {"name": "wg-acme", "ip-addresses": [{"ip-address": "10.20.30.41", "prefix": 24}]},
]


def redactor(*keep: Any) -> Redactor:
    return Redactor(KEY, keep)


def addresses(value: Any) -> list[str]:
    return [a["ip-address"] for nic in value for a in nic.get("ip-addresses", [])]


def test_an_address_keeps_its_place_in_its_network_and_follows_its_hardware_address() -> None:
    redacted = redactor().redact("guest-network-get-interfaces", INTERFACES)
    first, local, site, second = addresses(redacted)
    assert ip_interface(f"{first}/24").network == ip_interface(f"{second}/24").network
    assert first.endswith(".40")
    assert ip_address(first) in ip_interface("192.0.2.0/24").network
    assert ip_address(site) in ip_interface("2001:db8::/32").network
    assert site.endswith(":2::1")
    mac = redacted[0]["hardware-address"]
    assert mac.startswith("52:54:00:")
    digits = mac.replace(":", "")
    # RFC 4291, appendix A: the universal bit is turned, ff:fe put between.
    assert int(ip_address(local)) & (1 << 64) - 1 == int(f"5054{digits[4:6]}fffe{digits[6:]}", 16)
    assert redacted[0]["name"] == f"enx{digits}"


def test_the_same_value_has_the_same_replacement_in_every_reply_and_text() -> None:
    r = redactor()
    host = r.redact("guest-get-host-name", {"host-name": "db1.acme.corp"})["host-name"]
    user = r.redact("guest-get-users", [{"user": "jdoe", "login-time": 1.5}])[0]["user"]
    fs = r.redact("guest-get-fsinfo", [{"mountpoint": "/home/jdoe/acme data", "name": "vda1"}])
    first, domain = host.split(".", 1)
    assert domain.endswith(".example")
    assert fs[0]["mountpoint"].startswith(f"/home/{user}/dir-")
    text = r.redact_text(
        "open('/home/jdoe/x'): DB1 and acme.corp, 10.9.8.7 refused jdoe@db1.acme.corp"
    )
    assert f"/home/{user}/dir-" in text
    assert first.upper() in text
    assert f"{user}@{host}" in text
    assert not r.leaks(text)


def test_the_key_decides_and_is_random_if_there_is_none() -> None:
    def made(key: bytes | None) -> Any:
        return Redactor(key).redact("guest-get-host-name", {"host-name": "db1"})

    assert made(KEY) == made(KEY) != made(b"another")
    assert made(None) != made(None)


STAYS = {
    "guest-network-get-interfaces": [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00",
         "ip-addresses": [{"ip-address": "127.0.0.1"}, {"ip-address": "::1"}]},
        {"name": "enp1s0", "ip-addresses": [{"ip-address": "192.0.2.7"}, {"ip-address": "2001:db8::7"}]},
        *({"name": name} for name in ("eth0", "ens18", "eno1np0", "wlp3s0", "docker0", "br-0a1b2c3d4e5f",
                                      "veth1a2b3c4", "vmbr0.10", "bond0", "virbr0-nic", "Ethernet 2",
                                      "Local Area Connection* 1", "cali0123456789a", "flannel.1", "vtnet0")),
    ],
    "guest-get-users": [{"user": "root"}, {"user": "Administrator", "domain": "WORKGROUP"}],
    "guest-get-disks": [{"name": "/dev/sda", "address": {"serial": "drive-scsi0", "dev": "/dev/sda"}},
                        {"name": "/dev/sr0", "address": {"serial": "QM00003"}}],
    "guest-get-devices": [{"driver-name": "VirtIO", "driver-version": "62.91.104.1"}],
    "guest-network-get-route": [{"destination": "0.0.0.0", "mask": "255.255.255.0", "nexthop": "ff00::"}],
    "guest-get-fsinfo": [{"name": "dm-0", "mountpoint": "/srv/acme", "type": "ext4"},
                         {"name": "sda8", "mountpoint": "/mnt/data", "type": "ext4"}],
}  # fmt: skip


@pytest.mark.parametrize("command", STAYS)
def test_what_identifies_nothing_stays(command: str) -> None:
    r = redactor()
    assert r.redact(command, STAYS[command]) == STAYS[command]
    assert r.replacements == {}


def test_a_name_that_the_system_goes_by_stays() -> None:
    r = redactor()
    r.learn("guest-get-osinfo", {"id": "debian", "name": "Debian GNU/Linux"})
    assert r.redact("guest-get-host-name", {"host-name": "debian"}) == {"host-name": "debian"}
    assert r.redact("guest-get-host-name", {"host-name": "db"}) != {"host-name": "db"}


def test_the_volume_that_stands_for_a_cdrom_is_redacted_as_a_volume() -> None:
    volume = "\\\\?\\Volume{2c8c9a4e-1111-2222-3333-602200000000}"
    told = [
        {"name": volume + "\\", "mountpoint": "D:\\", "type": "CDFS", "disk": [{"dev": volume}]}
    ]
    r = redactor()
    r.learn("guest-get-fsinfo", told)
    (entry,) = r.redact("guest-get-fsinfo", told)
    assert "2c8c9a4e" not in str(entry)
    assert entry["disk"][0]["dev"] + "\\" == entry["name"]


@pytest.mark.parametrize("name", ["user", "host", "dir", "label"])
def test_a_name_like_those_of_replacements_stays(name: str) -> None:
    r = redactor()
    assert r.redact("guest-get-users", [{"user": name}, {"user": "jdoe"}])[0] == {"user": name}
    assert r.leaks(r.redact_text("jdoe")) == []


def test_no_replacement_is_a_value_that_there_is() -> None:
    r = redactor()
    there = [{"ip-addresses": [{"ip-address": "192.0.2.40"}, {"ip-address": "10.0.0.40"}]}]
    r.learn("guest-network-get-interfaces", there)
    documented, other = addresses(r.redact("guest-network-get-interfaces", there))
    assert (documented, other) == ("192.0.2.40", "198.51.100.40")


PRIVATE = [
    ("serials", "guest-get-disks", "serial", "S3Z9NB0K123456A"),
    ("wwns", "guest-get-disks", "serial", "36001405a1b2c3d4e5f60718293a4b5c6"),
    ("uuids", "guest-get-fsinfo", "name", "\\\\?\\Volume{2c8c9a4e-1111-2222-3333-602200000000}\\"),
    ("labels", "guest-get-disks", "alias", "vg_acme-root"),
    ("macs", "guest-network-get-interfaces", "hardware-address", MAC),
    ("addresses", "guest-network-get-route", "gateway", "10.1.2.3"),
    ("paths", "guest-get-fsinfo", "mountpoint", "/mnt/acme"),
    ("users", "guest-get-users", "user", "jdoe"),
    ("hosts", "guest-get-users", "domain", "ACME"),
    ("outputs", "guest-exec-status", "out-data", "c2VjcmV0Cg=="),
    ("keys", "guest-ssh-get-authorized-keys", "keys", "ssh-ed25519 AAAAC3Nz jdoe@acme"),
]


@pytest.mark.parametrize(
    ("kind", "command", "member", "value"), PRIVATE, ids=[p[0] for p in PRIVATE]
)
def test_a_kind_is_replaced_unless_it_is_kept(
    kind: str, command: str, member: str, value: str
) -> None:
    told = {member: value}
    assert redactor(kind).redact(command, told) == told
    r = redactor()
    changed = r.redact(command, told)[member]
    assert changed != value
    assert {replacement.kind for replacement in r.replacements.values()} == {kind}
    assert r.redact(command, told)[member] == changed


def test_contents_are_as_long_as_they_were() -> None:
    assert redactor().redact("guest-file-read", {"buf-b64": "c2VjcmV0Cg=="}) == {
        "buf-b64": "eHh4eHh4eA=="
    }


def test_what_a_client_sends_is_redacted_too() -> None:
    r = redactor()
    sent = {
        "path": "/home/jdoe/x",
        "arg": ["--password", "s3cret"],
        "env": ["A=b"],
        "input-data": "c2VjcmV0",
    }
    redacted = r.redact_arguments("guest-exec", sent)
    assert redacted["path"].startswith("/home/user-")
    assert "s3cret" not in str(redacted)
    assert redacted["input-data"] == "eHh4eHh4"
    password = {"username": "jdoe", "password": "c2VjcmV0", "crypted": False}
    assert "c2VjcmV0" not in str(r.redact_arguments("guest-set-user-password", password))


def test_a_leak_is_found_where_it_is_a_word_of_its_own() -> None:
    r = redactor()
    r.redact("guest-get-host-name", {"host-name": "web1"})
    r.redact("guest-network-get-route", {"gateway": "10.0.0.1"})
    assert r.leaks("/srv/WEB1-data at 10.0.0.1/24") == ["web1", "10.0.0.1"]
    assert r.leaks("web12 xweb1 10.0.0.17 10.0.0.1.5 110.0.0.1") == []


def test_there_are_no_more_networks_than_there_are_to_stand_for_them() -> None:
    r = redactor()
    for number in range(515):
        r.redact(
            "guest-network-get-route", {"gateway": str(IPv4Address("10.0.0.1") + 256 * number)}
        )
    values = {replacement.value for replacement in r.replacements.values()}
    assert len(values) == 515
    with pytest.raises(RedactionError, match="more networks of IPv4"):
        r.redact("guest-network-get-route", {"gateway": "11.0.0.1"})


# -- the property ----------------------------------------------------------------------------------


def few(of: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
    return st.lists(of, max_size=3)


names = st.text("abcdefghij0123456789", min_size=4, max_size=9).map("n".__add__)
macs = st.binary(min_size=6, max_size=6).map(lambda b: b.hex(":"))
ips = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
replies = st.fixed_dictionaries(
    {
        "guest-get-host-name": st.fixed_dictionaries({"host-name": names}),
        "guest-get-users": few(st.fixed_dictionaries({"user": names, "domain": names})),
        "guest-network-get-interfaces": few(
            st.fixed_dictionaries(
                {
                    "name": names,
                    "hardware-address": macs,
                    "ip-addresses": few(st.fixed_dictionaries({"ip-address": ips})),
                }
            )
        ),
        "guest-get-fsinfo": few(
            st.builds(
                lambda user, label, serial, uuid: {
                    "name": f"\\\\?\\Volume{{{uuid}}}\\",
                    "mountpoint": f"/media/{user}/{label}",
                    "disk": [{"serial": serial}],
                },
                names, names, names, st.uuids(),
            )
        ),
    }
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(replies)
def test_no_original_value_is_in_any_output(told: dict[str, Any]) -> None:
    r = redactor()
    for command, value in told.items():
        r.learn(command, value)
        r.redact(command, value)
    redacted = {command: r.redact(command, value) for command, value in told.items()}
    text = "\n".join(strings_of(redacted)) + r.redact_text(" ".join(strings_of(told)))
    assert r.leaks(text) == []
    # The search itself, without its rules: what is long cannot be there by chance.
    assert [o for o in r.replacements if len(o) > 7 and o in text] == []
    # Different values stay different.
    values = [(x.kind, x.value) for o, x in r.replacements.items() if x.kind != "addresses"]
    assert len(set(values)) == len(values)
