"""Telephone numbers and e-mail addresses as a vendor prints them."""

from __future__ import annotations

import re
from typing import Final

from dragonfly.judgments.records import Contact

_EXTENSION: Final = re.compile(r"\s*(?:ext\.?|x)\s*\d{1,6}$", re.IGNORECASE | re.ASCII)
_PHONE: Final = re.compile(r"[0-9().+\-/ ]+")
_NORTH_AMERICAN: Final = re.compile(r"1?([2-9][0-9]{2}[2-9][0-9]{6})")
_ABROAD: Final = re.compile(r"[2-9][0-9]{6,14}")
_EMAIL: Final = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)


def read_phone(text: str) -> Contact:
    """An E.164 number, or the print alone when it is none (area code 555 belongs to nobody)."""
    number = _EXTENSION.sub("", text)
    digits = re.sub(r"[^0-9]", "", number)
    value: str | None = None
    if _PHONE.fullmatch(number):
        match = _NORTH_AMERICAN.fullmatch(digits)
        if match and not match[1].startswith("555"):
            value = f"+1{match[1]}"
        elif not match and number.startswith("+") and _ABROAD.fullmatch(digits):
            value = f"+{digits}"
    return Contact("phone", value, text)


def read_email(text: str) -> Contact:
    """The address with its domain in small letters, or the print alone when it is none."""
    if len(text) > 254 or _EMAIL.fullmatch(text) is None:
        return Contact("email", None, text)
    local, _, domain = text.rpartition("@")
    return Contact("email", f"{local}@{domain.lower()}", text)
