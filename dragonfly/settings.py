"""Every knob of Dragonfly: its name in the environment, unit, default and bounds.

The description of each field is the sentence that ``.env.example`` shows above it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from dragonfly.errors import ConfigurationError

EMBEDDED_FOLDER = Path(".dragonfly/pg")


class Settings(BaseSettings):
    """Read from the environment, and in dev from ``.env``; secrets never show in ``repr``."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", populate_by_name=True, frozen=True
    )

    mode: Literal["dev", "prod"] = Field(
        default="dev",
        validation_alias="SUPABASE_MODE",
        description="Which database and project to use: dev or prod.",
    )
    db_url_dev: SecretStr | None = Field(
        default=None,
        validation_alias="SUPABASE_DB_URL_DEV",
        description="PostgreSQL address in dev; without it an embedded server runs.",
    )
    db_url_prod: SecretStr | None = Field(
        default=None,
        validation_alias="SUPABASE_DB_URL_PROD",
        description="PostgreSQL address in prod, direct or through a pooler.",
    )
    url_dev: str | None = Field(
        default=None,
        validation_alias="SUPABASE_URL_DEV",
        description="Address of the Supabase project in dev, for files kept in its Storage.",
    )
    url_prod: str | None = Field(
        default=None,
        validation_alias="SUPABASE_URL_PROD",
        description="Address of the Supabase project in prod (https://REF.supabase.co).",
    )
    service_role_key_dev: SecretStr | None = Field(
        default=None,
        validation_alias="SUPABASE_SERVICE_ROLE_KEY_DEV",
        description="Service role key of the dev project; read only for Storage.",
    )
    service_role_key_prod: SecretStr | None = Field(
        default=None,
        validation_alias="SUPABASE_SERVICE_ROLE_KEY_PROD",
        description="Service role key of the prod project; read only for Storage.",
    )
    listen_url: SecretStr | None = Field(
        default=None,
        validation_alias="DRAGONFLY_LISTEN_URL",
        description="A direct address for LISTEN alone, when the main one is a transaction pooler.",
    )
    pool_size: int = Field(
        default=3,
        ge=1,
        le=100,
        validation_alias="DRAGONFLY_POOL_SIZE",
        description="Connections for handlers, shared by all workers, besides four of the process.",
    )
    heartbeat_seconds: float = Field(
        default=10,
        gt=0,
        le=300,
        validation_alias="DRAGONFLY_HEARTBEAT_SECONDS",
        description="Seconds between two heartbeats, each of which renews the locks of held jobs.",
    )
    lease_seconds: float = Field(
        default=60,
        gt=0,
        le=3600,
        validation_alias="DRAGONFLY_LEASE_SECONDS",
        description="Seconds a job stays locked without renewal; at least three heartbeats.",
    )
    poll_seconds: float = Field(
        default=5,
        gt=0,
        le=300,
        validation_alias="DRAGONFLY_POLL_SECONDS",
        description="Seconds between two looks at the queue when no wake-up comes.",
    )
    grace_seconds: float = Field(
        default=25,
        ge=0,
        le=3600,
        validation_alias="DRAGONFLY_GRACE_SECONDS",
        description="Seconds in which running jobs may finish at a stop; less than the platform's.",
    )
    stall_seconds: float = Field(
        default=300,
        gt=0,
        le=86400,
        validation_alias="DRAGONFLY_STALL_SECONDS",
        description="Seconds a blocked event loop keeps its locks, at least a lease; then exit 70.",
    )
    worker_restarts: int = Field(
        default=3,
        ge=0,
        le=1000,
        validation_alias="DRAGONFLY_WORKER_RESTARTS",
        description="Restarts of a crash-looping worker in an hour; then it stays in error.",
    )
    crash_budget: int = Field(
        default=3,
        ge=0,
        le=100,
        validation_alias="DRAGONFLY_CRASH_BUDGET",
        description="How often a job may take its process down before it is failed.",
    )
    keep_completed_days: float = Field(
        default=30,
        gt=0,
        le=36500,
        validation_alias="DRAGONFLY_KEEP_COMPLETED_DAYS",
        description="Days that completed jobs stay in ops.jobs; a handler may say otherwise.",
    )
    keep_cancelled_days: float = Field(
        default=30,
        gt=0,
        le=36500,
        validation_alias="DRAGONFLY_KEEP_CANCELLED_DAYS",
        description="Days that cancelled jobs stay in ops.jobs.",
    )
    keep_failed_days: float = Field(
        default=365,
        gt=0,
        le=36500,
        validation_alias="DRAGONFLY_KEEP_FAILED_DAYS",
        description="Days that failed jobs stay in ops.jobs, with the evidence of their failure.",
    )
    backoff_scale: float = Field(
        default=1,
        gt=0,
        le=1,
        validation_alias="DRAGONFLY_BACKOFF_SCALE",
        description="Multiplies every pause of a worker; below 1 only in tests.",
    )
    intake_root: Path = Field(
        default=Path(".dragonfly/intake"),
        validation_alias="DRAGONFLY_INTAKE_ROOT",
        description="The only folder that file paths in jobs may name.",
    )
    port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        validation_alias="PORT",
        description="Port of the web pages on every interface (0: any); unset: loopback 8787.",
    )
    web_token: SecretStr | None = Field(
        default=None,
        validation_alias="DRAGONFLY_WEB_TOKEN",
        description="Token for the web pages other than /health; without it they stay local.",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto",
        validation_alias="DRAGONFLY_LOG_FORMAT",
        description="text on a terminal, json elsewhere, or auto to choose.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        validation_alias="DRAGONFLY_LOG_LEVEL",
        description="The least important line to print; DEBUG shows every job.",
    )

    @model_validator(mode="after")
    def _lease_outlives_heartbeats(self) -> Self:
        if self.lease_seconds < 3 * self.heartbeat_seconds:
            raise ValueError(
                f"DRAGONFLY_LEASE_SECONDS ({self.lease_seconds:g}) must be at least three times "
                f"DRAGONFLY_HEARTBEAT_SECONDS ({self.heartbeat_seconds:g}), or a live worker "
                "would lose its jobs; raise the lease or shorten the heartbeat"
            )
        return self

    @property
    def database_url(self) -> str | None:
        """The address for the chosen mode; None means the embedded server (dev only)."""
        secret = self.db_url_prod if self.mode == "prod" else self.db_url_dev
        return secret.get_secret_value() if secret else None

    @property
    def supabase_url(self) -> str | None:
        return self.url_prod if self.mode == "prod" else self.url_dev

    @property
    def supabase_service_role_key(self) -> SecretStr | None:
        return self.service_role_key_prod if self.mode == "prod" else self.service_role_key_dev


def load_settings(*, mode: str | None = None) -> Settings:
    """The settings of this process; ``mode`` overrides SUPABASE_MODE.

    Raises ConfigurationError with one sentence per variable that does not fit.
    """
    dotenv = None if os.environ.get("SUPABASE_MODE") == "prod" else ".env"
    overrides = {"mode": mode} if mode else {}
    try:
        return Settings(_env_file=dotenv, _env_file_encoding="utf-8-sig", **overrides)  # type: ignore[call-arg, arg-type]
    except ValidationError as error:
        raise ConfigurationError(_sentences(error)) from None


def _sentences(error: ValidationError) -> str:
    """Name the variable and the reason, never the value: it may be a secret."""
    lines = []
    for problem in error.errors(include_input=False, include_url=False, include_context=False):
        where = str(problem["loc"][0]) if problem["loc"] else ""
        field = Settings.model_fields.get(where)
        variable = str(field.validation_alias) if field else where
        message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{variable}: {message}." if variable else f"{message}.")
    return " ".join(lines)
