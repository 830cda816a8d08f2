"""How the text of /etc/os-release is written.

The format lets a value be with or without quotes (os-release(5)); distributions differ in which they write, and a program that reads
the file sees it.
"""

from typing import Final

__all__ = ["write_os_release"]

#: By ``ID``: the fields that have no quotes though others like them have, and those that have them all the same.
_STYLES: Final[dict[str, tuple[str, str]]] = {
    # Alpine's /etc/os-release (alpine-baselayout and alpine-base).
    "alpine": ("VERSION_ID", ""),
    # A container of Fedora 43.
    "fedora": (
        "VERSION_ID REDHAT_BUGZILLA_PRODUCT_VERSION REDHAT_SUPPORT_PRODUCT_VERSION SUPPORT_END",
        "DEFAULT_HOSTNAME REDHAT_BUGZILLA_PRODUCT REDHAT_SUPPORT_PRODUCT",
    ),
    # home-assistant/operating-system, buildroot-external/scripts/post-build.sh.
    "haos": ("VERSION_ID CPE_NAME HOME_URL", ""),
    # RHEL 9.3 and 10.0.
    "rhel": ("REDHAT_BUGZILLA_PRODUCT_VERSION", "ID ID_LIKE LOGO"),
    # siderolabs/talos, OSReleaseTemplate.
    "talos": ("", "NAME"),
    # Ubuntu 24.04.
    "ubuntu": ("", "NAME"),
}
#: By ``ID``: the field that has an empty line before it.
_GAPS: Final = {"rhel": "REDHAT_BUGZILLA_PRODUCT"}
#: What a shell would not take for itself.
_SPECIAL: Final = frozenset(" \t\n\"'$`\\;&|<>()#")


def write_os_release(fields: dict[str, str]) -> str:
    """Write the file with these fields, as the distribution of that ``ID`` does.

    Others are written as Debian and FreeBSD do: a word has no quotes.
    """
    name = fields.get("ID", "")
    bare, quoted = (keys.split() for keys in _STYLES.get(name, ("", "")))
    text = ""
    for key, value in fields.items():
        if _GAPS.get(name) == key:
            text += "\n"
        if key in bare:
            is_bare = value != "" and _SPECIAL.isdisjoint(value)
        else:
            is_bare = key not in quoted and _is_word(value)
        text += f"{key}={value if is_bare else _quote(value)}\n"
    return text


def _is_word(value: str) -> bool:
    return (
        value != ""
        and not value[0].isdigit()
        and all(character.isalnum() or character in "_-." for character in value)
    )


def _quote(value: str) -> str:
    escaped = "".join("\\" + c if c in '"\\$`' else c for c in value)
    return f'"{escaped}"'
