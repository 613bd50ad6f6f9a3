"""What an address or a key of Supabase says about its project, without asking anyone."""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote

_DIRECT = re.compile(r"db\.([a-z0-9]+)\.supabase\.co")
_POOLER = re.compile(r"[a-z0-9-]+\.pooler\.supabase\.com")
_API = re.compile(r"https://([a-z0-9]+)\.supabase\.(?:co|in|net)/?")
_POOLER_USER = re.compile(r"[a-z_][a-z0-9_]*\.([a-z0-9]+)")


class Endpoint(StrEnum):
    """How a host and port reach PostgreSQL."""

    DIRECT = "direct"
    SESSION_POOLER = "session pooler"
    TRANSACTION_POOLER = "transaction pooler"
    UNKNOWN_POOLER = "pooler on a port it does not serve"
    ELSEWHERE = "server outside Supabase"


def endpoint(parts: SplitResult) -> Endpoint:
    """The kind of endpoint by its host and port; port 5432 of a pooler host is a session pooler."""
    host, port = parts.hostname or "", parts.port or 5432
    if _DIRECT.fullmatch(host):
        return Endpoint.DIRECT if port == 5432 else Endpoint.TRANSACTION_POOLER
    if _POOLER.fullmatch(host):
        kinds = {5432: Endpoint.SESSION_POOLER, 6543: Endpoint.TRANSACTION_POOLER}
        return kinds.get(port, Endpoint.UNKNOWN_POOLER)
    return Endpoint.ELSEWHERE


def is_pooler_host(parts: SplitResult) -> bool:
    return _POOLER.fullmatch(parts.hostname or "") is not None


def database_ref(parts: SplitResult) -> str | None:
    """The project of a database address: from its host, or from a pooler's user."""
    direct = _DIRECT.fullmatch(parts.hostname or "")
    if direct:
        return direct[1]
    return pooler_user_ref(parts) if is_pooler_host(parts) else None


def pooler_user_ref(parts: SplitResult) -> str | None:
    user = _POOLER_USER.fullmatch(unquote(parts.username or ""))
    return user[1] if user else None


def url_ref(url: str | None) -> str | None:
    """The project of an API address; None for one that is not Supabase's own."""
    match = _API.fullmatch(url or "")
    return match[1] if match else None


def is_local(parts: SplitResult) -> bool:
    """A socket in the file system, or this machine."""
    host = parts.hostname or parse_qs(parts.query).get("host", ["/"])[0]
    return host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key's kind; ``role``, ``ref`` and ``expires`` (UNIX time) only if it is a JWT."""

    kind: str
    role: str | None = None
    ref: str | None = None
    expires: float | None = None


def read_key(secret: str) -> Key:
    """What a key says of itself; its signature is not checked."""
    for prefix in ("sb_secret_", "sb_publishable_"):
        if secret.startswith(prefix):
            return Key(prefix.removesuffix("_"))
    claims = _claims(secret)
    if claims is None:
        return Key("unknown")
    role, ref, expires = claims.get("role"), claims.get("ref"), claims.get("exp")
    return Key(
        "jwt",
        role if isinstance(role, str) else None,
        ref if isinstance(ref, str) else None,
        float(expires) if isinstance(expires, int | float) else None,
    )


def _claims(secret: str) -> dict[str, Any] | None:
    pieces = secret.split(".")
    if len(pieces) != 3:
        return None
    try:
        padded = pieces[1] + "=" * (-len(pieces[1]) % 4)
        claims = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError):
        return None
    return claims if isinstance(claims, dict) else None
