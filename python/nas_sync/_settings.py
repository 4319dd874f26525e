"""Settings as keyword arguments."""

from __future__ import annotations

import difflib
import logging
import os
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, TypedDict, Union

from . import _native

if TYPE_CHECKING:
    Path = Union[str, os.PathLike[str]]
    Seconds = Union[int, str, timedelta]
else:
    Path = Seconds = object

logger = logging.getLogger("nas_sync")


class Settings(TypedDict, total=False):
    """Each beats the variable of its name: ``port`` beats ``NAS_PORT``, ``upload_dir`` beats ``UPLOAD_DIR``.

    What is ``None`` or left out comes from the environment, then from ``.env`` in the working directory, then from the default.
    """

    host: str | None
    user: str | None
    path: Path | None
    port: int | str | None
    key: str | None
    key_file: Path | None
    key_passphrase: str | None
    known_hosts: Path | None
    host_key: str | None
    accept_new_host_key: bool | None
    legacy_ssh: bool | None
    upload_dir: Path | None
    layout: str | None
    connect_timeout: Seconds | None
    file_timeout: Seconds | None
    rsync_path: str | None
    durability: str | None
    jobs: int | str | None
    bwlimit: int | str | None


_NAMES = tuple(Settings.__annotations__)
_SWITCHES = ("accept_new_host_key", "legacy_ssh")
_warned: set[str] = set()


def native_client(settings: Mapping[str, object]) -> _native.Client:
    """Reads and checks the settings."""
    arguments = {name: _text(name, value) for name, value in settings.items() if _is_given(name, value)}
    client = _native.Client(arguments)
    for warning in client.warnings:
        if warning not in _warned:
            _warned.add(warning)
            logger.warning("%s", warning)
    return client


def _is_given(name: str, value: object) -> bool:
    if name not in _NAMES:
        near = difflib.get_close_matches(name, _NAMES, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(_NAMES)}"
        raise TypeError(f"{name!r} is not a setting{hint}")
    return value is not None


def _text(name: str, value: object) -> str:
    if isinstance(value, bool):
        if name in _SWITCHES:
            return "1" if value else "0"
    elif name in _SWITCHES:
        raise TypeError(f"{name} must be True or False, not {type(value).__name__}")
    elif isinstance(value, str):
        return value
    elif isinstance(value, int):
        return str(value)
    elif isinstance(value, timedelta):
        return str(int(value.total_seconds()))
    elif isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise TypeError(f"{name} must be text or a number, not {type(value).__name__}")
