"""Group 1: does the configuration fit together? Pure: settings, environment and .env text in."""

from __future__ import annotations

import codecs
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote

from pydantic import SecretStr

from dragonfly.errors import ConfigurationError
from dragonfly.ops import supabase
from dragonfly.ops.findings import Finding, crit, err, ok, warn
from dragonfly.ops.supabase import Endpoint
from dragonfly.postgres.dsn import check_dsn, shown
from dragonfly.settings import Settings

EXPIRY_WARNING_DAYS = 30
_NAMES = frozenset(str(field.validation_alias) for field in Settings.model_fields.values())
_OTHER_NAMES = {
    "SUPABASE_DB_URL": ("DATABASE_URL", "SUPABASE_DB_URL", "POSTGRES_URL"),
    "SUPABASE_URL": ("SUPABASE_URL",),
    "SUPABASE_SERVICE_ROLE_KEY": ("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_KEY"),
}
_POWERFUL = re.compile(r"(MIGRAT|SUPERUSER|ADMIN).*(URL|DSN)$")
_ASSIGNMENT = re.compile(r"\s*(?:export\s+)?(?P<name>\w+)\s*=(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the settings were read from; ``dotenv`` is None when no .env is read."""

    environment: Mapping[str, str]
    dotenv: bytes | None = None
    now: float = 0.0


def look_around(environment: Mapping[str, str], dotenv: bytes | None) -> Surroundings:
    return Surroundings(dict(environment), dotenv, time.time())


def check_configuration(settings: Settings, around: Surroundings) -> list[Finding]:
    """Checks 1.1 to 1.10; a ``crit`` among them means the parts belong to different projects."""
    return [
        *_required(settings),
        *_file(around.dotenv),
        *_environment(around.environment),
        *_two_names(settings, around.environment),
        *_two_modes(settings),
        *_one_project(settings),
        *_key(settings, around.now),
        *_powerful(settings, around.environment),
        *_address(settings),
    ]


def _suffix(settings: Settings) -> str:
    return settings.mode.upper()


def _required(settings: Settings) -> Iterator[Finding]:
    suffix = _suffix(settings)
    if settings.database_url is None and settings.mode == "prod":
        yield err(
            "1.1",
            "SUPABASE_DB_URL_PROD is not set.",
            "Set it to postgresql://USER:PASSWORD@HOST:PORT/DATABASE.",
        )
    elif settings.database_url is None:
        yield ok("1.1", "No SUPABASE_DB_URL_DEV: the embedded PostgreSQL is used.")
    else:
        yield ok("1.1", f"SUPABASE_DB_URL_{suffix} is set.")
    names = (f"SUPABASE_URL_{suffix}", f"SUPABASE_SERVICE_ROLE_KEY_{suffix}")
    given = (settings.supabase_url is not None, settings.supabase_service_role_key is not None)
    if given[0] != given[1]:
        has, lacks = names if given[0] else names[::-1]
        yield err("1.1", f"{has} is set but {lacks} is not.", f"Set {lacks}, or remove {has}.")
    elif not given[0] and settings.mode == "prod":
        yield warn(
            "1.1",
            "Supabase Storage is not set up; only files of the drop folder can be loaded.",
            f"Set {names[0]} and {names[1]} if jobs name files in Storage.",
        )


def _file(dotenv: bytes | None) -> Iterator[Finding]:
    if dotenv is None:
        return
    before = True
    if dotenv.startswith(codecs.BOM_UTF8):
        before = False
        yield warn(
            "1.2",
            ".env begins with a byte order mark, which hides its first variable from other tools.",
            "Save it as UTF-8 without BOM.",
        )
    if b"\r\n" in dotenv:
        before = False
        yield warn(
            "1.2",
            ".env has Windows line ends, which a shell that loads it adds to every value.",
            "Save it with LF line ends.",
        )
    text = dotenv.decode("utf-8-sig", "replace")
    for number, line in enumerate(text.splitlines(), start=1):
        match = _ASSIGNMENT.fullmatch(line)
        if match and (fault := _fault(match["value"].strip())):
            before = False
            yield err(
                "1.2",
                f".env line {number}: the value of {match['name']} {fault}.",
                "Write NAME=value, or NAME='value', with nothing around it.",
            )
    if before:
        yield ok("1.2", ".env is plain UTF-8 with clean values.")


def _fault(value: str) -> str | None:
    if value[:1] in {"'", '"'} and value.count(value[0]) < 2:
        return "begins with a quote that never ends"
    if value[:1] not in {"'", '"'} and value.partition(" #")[0].rstrip()[-1:] in {"'", '"'}:
        return "ends with a quote that never began"
    return None


def _environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """A value from the environment is used as it is, so quotes and blanks would be part of it."""
    for name in sorted(_NAMES & environment.keys()):
        value = environment[name]
        if value != value.strip() or (value[:1] in {"'", '"'} and value[-1:] == value[:1]):
            yield err(
                "1.2",
                f"The value of {name} in the environment has quotes or blanks around it.",
                f"Set {name} again without them.",
            )


def _two_names(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    values = {
        "SUPABASE_DB_URL": settings.database_url,
        "SUPABASE_URL": settings.supabase_url,
        "SUPABASE_SERVICE_ROLE_KEY": _plain(settings.supabase_service_role_key),
    }
    for name, others in _OTHER_NAMES.items():
        read = f"{name}_{_suffix(settings)}"
        for other in others:
            if environment.get(other) and environment[other] != values[name]:
                yield warn(
                    "1.3",
                    f"{other} is set to something else than {read}; only {read} is read.",
                    f"Remove {other}, or make both the same.",
                )


def _two_modes(settings: Settings) -> Iterator[Finding]:
    """Work in dev must not reach what prod uses."""
    both = [_plain(settings.db_url_dev), _plain(settings.db_url_prod)]
    parsed = [_parse(url) for url in both]
    refs = [supabase.database_ref(parts) if parts else None for parts in parsed]
    api = [supabase.url_ref(settings.url_dev), supabase.url_ref(settings.url_prod)]
    same = (
        (both[0] is not None and both[0] == both[1])
        or (refs[0] is not None and refs[0] == refs[1])
        or (api[0] is not None and api[0] == api[1])
    )
    if same:
        yield crit(
            "1.4",
            "The dev and the prod variables name the same project or database.",
            "Point SUPABASE_DB_URL_DEV and SUPABASE_URL_DEV at a project of their own, "
            "or leave them empty.",
        )


def _one_project(settings: Settings) -> Iterator[Finding]:
    parts = _parse(settings.database_url)
    key = _plain(settings.supabase_service_role_key)
    refs = {
        "the database address": supabase.database_ref(parts) if parts else None,
        "the API address": supabase.url_ref(settings.supabase_url),
        "the service role key": supabase.read_key(key).ref if key else None,
    }
    known = {name: ref for name, ref in refs.items() if ref}
    if len(set(known.values())) > 1:
        told = ", ".join(f"{name} {ref}" for name, ref in known.items())
        yield crit(
            "1.5",
            f"The {settings.mode} variables belong to different projects: {told}.",
            "Copy address, URL and key from one project's settings page.",
        )
    elif len(known) > 1:
        yield ok("1.5", f"Address, URL and key agree on project {next(iter(known.values()))}.")


def _key(settings: Settings, now: float) -> Iterator[Finding]:
    secret = _plain(settings.supabase_service_role_key)
    if secret is None:
        return
    name = f"SUPABASE_SERVICE_ROLE_KEY_{_suffix(settings)}"
    key = supabase.read_key(secret)
    copy = "Copy the service_role (or sb_secret_) key from the project's settings page."
    if key.kind == "sb_publishable" or (key.kind == "jwt" and key.role != "service_role"):
        role = key.role or "publishable"
        yield err("1.6", f"{name} is a key of the role {role}, not service_role.", copy)
    elif key.kind == "unknown":
        yield err("1.6", f"{name} is neither a JWT nor an sb_secret_ key.", copy)
    elif key.expires is not None and key.expires <= now:
        yield err("1.6", f"{name} has expired.", copy)
    elif key.expires is not None and key.expires <= now + EXPIRY_WARNING_DAYS * 86400:
        days = (key.expires - now) / 86400
        yield warn("1.6", f"{name} expires in {days:.0f} days.", copy)
    else:
        yield ok("1.6", f"{name} is a service role key.")


def _powerful(settings: Settings, environment: Mapping[str, str]) -> Iterator[Finding]:
    for name in sorted(environment):
        if _POWERFUL.search(name) and environment[name]:
            yield warn(
                "1.7",
                f"{name} is set where the workers run; whoever reads the environment can use it.",
                "Keep addresses of administrators out of the workers' service.",
            )
    parts = _parse(settings.database_url)
    if parts and unquote(parts.username or "").split(".")[0] == "supabase_admin":
        yield warn(
            "1.7",
            "The database address logs in as supabase_admin, a superuser.",
            "Use the postgres role, or one of the workers' own.",
        )


def _address(settings: Settings) -> Iterator[Finding]:
    url = settings.database_url
    if url is None:
        return
    name = f"SUPABASE_DB_URL_{_suffix(settings)}"
    try:
        parts = check_dsn(url, name)
    except ConfigurationError as error:
        yield err("1.8", str(error), f"Write {name} anew.")
        return
    yield from _encryption(name, parts)
    yield from _kind(settings, name, parts)


def _encryption(name: str, parts: SplitResult) -> Iterator[Finding]:
    mode = parse_qs(parts.query).get("sslmode", ["prefer"])[0]
    if supabase.is_local(parts) or mode in {"require", "verify-ca", "verify-full"}:
        yield ok("1.8", f"{name} can be read and names {shown(parts.geturl())}.")
    else:
        yield warn(
            "1.8",
            f"{name} allows an unencrypted connection (sslmode={mode}).",
            "Add sslmode=require to its query, or verify-full with the project's certificate.",
        )


def _kind(settings: Settings, name: str, parts: SplitResult) -> Iterator[Finding]:
    kind = supabase.endpoint(parts)
    if kind is Endpoint.UNKNOWN_POOLER:
        yield err(
            "1.9",
            f"{name} names port {parts.port} of a pooler, which serves 5432 and 6543.",
            "Use 5432 (session mode).",
        )
    elif kind is Endpoint.TRANSACTION_POOLER and settings.listen_url is None:
        yield warn(
            "1.9",
            f"{name} is a transaction pooler, which cannot LISTEN; the workers poll every "
            f"{settings.poll_seconds:g} s.",
            "Use the session pooler (port 5432), or set DRAGONFLY_LISTEN_URL to a direct address.",
        )
    else:
        yield ok("1.9", f"{name} is a {kind}.")
    if supabase.is_pooler_host(parts) and supabase.pooler_user_ref(parts) is None:
        yield err(
            "1.10",
            f"{name} goes through a pooler, but its user does not name the project.",
            "Write the user as postgres.PROJECT; otherwise the pooler answers "
            "'Tenant or user not found'.",
        )


def _plain(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _parse(url: str | None) -> SplitResult | None:
    try:
        return check_dsn(url, "the address") if url else None
    except ConfigurationError:
        return None
