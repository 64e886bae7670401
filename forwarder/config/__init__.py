"""The configuration: what can be set, how it is read, and what is said about mistakes.

`load` returns a `Config`, a tree of plain values named as in the YAML file. Each stage is handed its own section of it.

The way of a setting: `document` reads YAML and keeps lines and spelling; `environment` lays variables over it; `schema`
says which settings there are, built from the kinds in `values`, `http`, `files`, `containers` and `groups`;
`contradictions` and `warnings` look at the whole; `rendering` writes it down again.

Settings are described and read by code of our own. pydantic was tried and not taken: it knows neither lines nor what
would be right, returns nothing at all where one setting is wrong, could replace a fifth of this code at best, and would
add half again to the time that `forwarder status` takes.
"""

from __future__ import annotations

from forwarder.config.addresses import parse_address
from forwarder.config.credentials import secret, token
from forwarder.config.loading import config_file, load
from forwarder.config.mistakes import SettingError
from forwarder.config.rendering import json_schema, starter, to_yaml
from forwarder.config.schema import (
    AdminConfig,
    BatchConfig,
    Config,
    DestinationConfig,
    IngestConfig,
    LogConfig,
    OtelConfig,
    QueueConfig,
    RateConfig,
    RetryConfig,
    ShareConfig,
    SigningConfig,
    SqliteConfig,
    TlsConfig,
)
from forwarder.config.units import format_duration, format_size, parse_duration, parse_size
from forwarder.config.warnings import open_to_all, warnings

__all__ = [
    "AdminConfig",
    "BatchConfig",
    "Config",
    "DestinationConfig",
    "IngestConfig",
    "LogConfig",
    "OtelConfig",
    "QueueConfig",
    "RateConfig",
    "RetryConfig",
    "SettingError",
    "ShareConfig",
    "SigningConfig",
    "SqliteConfig",
    "TlsConfig",
    "config_file",
    "format_duration",
    "format_size",
    "json_schema",
    "load",
    "open_to_all",
    "parse_address",
    "parse_duration",
    "parse_size",
    "secret",
    "starter",
    "to_yaml",
    "token",
    "warnings",
]
