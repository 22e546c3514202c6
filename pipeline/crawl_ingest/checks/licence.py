"""Licences under one spelling, and the allow-list that decides what may be downloaded."""

from __future__ import annotations

import re
from collections.abc import Iterable

UNKNOWN = "unknown"
"""What an allow-list calls a candidate whose source states no licence."""

_TAIL = r"(?:[ -]*(?:international|unported|generic|universal|igo|(?!nc|nd|sa)[a-z]{2}))?"
_CONDITION = r"nc|nd|sa|noncommercial|noderivs|noderivatives|sharealike"
_DEED = re.compile(
    r"(?:https?:)?(?://)?(?:www\.)?creativecommons\.org/(licenses|publicdomain)/([a-z+-]+)(?:/(\d\.\d))?(?:/[a-z./_-]*)?"
)
_NAMED = re.compile(
    rf"(?:cc|creative commons)?[ -]*(?:attribution|by)((?:[ -]*(?:{_CONDITION}))*)(?:[ -]*licen[sc]e)?"
    rf"(?:[ -]*(\d\.\d){_TAIL})?(?:[ -]*licen[sc]e)?"
)
_ZERO = re.compile(
    rf"(?:cc[ -]?(?:0|zero)|public domain dedication \(cc0\))(?:[ -]*(\d\.\d))?{_TAIL}(?:[ -]*(\d\.\d))?"
)
_MARK = re.compile(r"(?:pdm|public domain mark)[ -]*(\d\.\d)?")
_PARTS = {"noncommercial": "nc", "noderivs": "nd", "noderivatives": "nd", "sharealike": "sa"}


def canonical(licence: str) -> str:
    """Return `by-sa 4.0`, `cc0 1.0`, `pdm 1.0` ... for a deed's address or a usual name, else the name in lower case.

    A name that is not understood is never taken for a freer one.
    """
    plain = " ".join(licence.lower().split())
    if deed := _DEED.fullmatch(plain):
        kind, code, version = deed.groups()
        code = {"zero": "cc0", "mark": "pdm"}.get(code, code) if kind == "publicdomain" else code
        return f"{code} {version or ''}".strip()
    if zero := _ZERO.fullmatch(plain):
        return f"cc0 {zero[1] or zero[2] or ''}".strip()
    if mark := _MARK.fullmatch(plain):
        return f"pdm {mark[1] or ''}".strip()
    if named := _NAMED.fullmatch(plain):
        parts = re.findall(_CONDITION, named[1])
        code = "-".join(["by", *sorted({_PARTS.get(part, part) for part in parts}, key=("nc", "nd", "sa").index)])
        return f"{code} {named[2] or ''}".strip()
    return plain


def codes(allowed: Iterable[str]) -> set[str]:
    """Return the codes of an allow-list, without versions."""
    return {canonical(entry).split(" ")[0] for entry in allowed}


def allows(allowed: Iterable[str], licence: str) -> bool:
    """Return whether a candidate's licence is on the list: by code (`by`, any version) or exactly (`by 4.0`).

    An empty list allows everything; `unknown` allows candidates without a stated licence.
    """
    entries = {entry.strip().lower() if entry.strip().lower() == UNKNOWN else canonical(entry) for entry in allowed}
    if not entries:
        return True
    name = canonical(licence)
    if not name:
        return UNKNOWN in entries
    code, _, version = name.rpartition(" ")
    return name in entries or (bool(re.fullmatch(r"\d\.\d", version)) and code in entries)


def deed(licence: str) -> str:
    """Return the address of a Creative Commons deed, empty for another licence."""
    found = re.fullmatch(r"((?:by|cc0|pdm)[a-z-]*) (\d\.\d)", canonical(licence))
    if not found:
        return ""
    code, version = found.groups()
    special = {"cc0": "publicdomain/zero", "pdm": "publicdomain/mark"}
    return f"https://creativecommons.org/{special.get(code, f'licenses/{code}')}/{version}/"
