"""A NAS without a database."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Callable, Optional, TypeVar, Union, cast

from . import _native
from ._errors import NASSyncError
from ._settings import native_client

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._settings import Settings

    AnyPath = Union[str, bytes, os.PathLike[str], os.PathLike[bytes]]

Key = Union[int, str, uuid.UUID]
OnProgress = Callable[[dict[str, Any]], object]
_T = TypeVar("_T")


@dataclass(frozen=True)
class Outcome:
    """What became of one document.

    ``level`` is what was proved (``sent``, ``stored``, ``durable``, ``verified``), ``sha256`` the sum of the bytes that were read,
    in hexadecimal, and ``bytes`` their number. Where ``error`` is not ``None``, the other three are.
    """

    key: Any
    level: str | None
    sha256: str | None
    bytes: int | None
    error: NASSyncError | None


@dataclass(frozen=True)
class Fetched:
    """What became of one document that was to come back: ``path`` is where it is now, unless ``error`` says why it is not."""

    key: Any
    path: str
    error: NASSyncError | None


class Client:
    """A NAS and an account there, from ``NAS_*`` and keyword arguments.

    Nothing is connected before the first use. Logins are kept for a minute after use and shared by all clients of the process with
    the same settings; a forked child makes its own. Clients may be used from several threads.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self._native = native_client(settings)

    def config(self) -> dict[str, Any]:
        """What is configured, without any secret: the object of ``nas-sync config --json``."""
        return self._native.config()

    def test(self) -> dict[str, Any]:
        """Logs in and proves that documents could be sent; leaves nothing there. Raises :class:`NASSyncError`."""
        return self._native.check(_native.Stop())

    def send(
        self, documents: Iterable[tuple[Key, AnyPath, AnyPath]], on_progress: OnProgress | None = None
    ) -> list[Outcome]:
        """Sends documents, each as ``(key, path, name)``: a key of the caller's, the local file, its name below the NAS folder. Each takes
        the place of whatever has its name there.

        Gives an outcome for each, in their order. ``on_progress`` is given the objects of ``nas-sync --progress json``. When it
        raises, or with ``KeyboardInterrupt``, the transfer ends in order and the exception is raised here.

        Raises :class:`NASSyncError` when nothing could be tried.
        """
        sending = Sending(self._native, documents, _native.Progress())
        sending.run(on_progress)
        return sending.finish(on_progress)

    async def send_async(
        self, documents: Iterable[tuple[Key, AnyPath, AnyPath]], on_progress: OnProgress | None = None
    ) -> list[Outcome]:
        """As :meth:`send`, beside the event loop, in which ``on_progress`` is called. When the task is cancelled, the transfer ends
        in order first."""
        sending = Sending(self._native, documents, _native.Progress())
        await sending.run_async(on_progress)
        return sending.finish(on_progress)

    def fetch(
        self,
        documents: Iterable[tuple[Key, AnyPath, AnyPath, str | None]],
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[Fetched]:
        """Fetches documents back, each as ``(key, name, path, sha256)``: a key of the caller's, its name below the NAS folder, where it
        goes, and the sum that it must have, as :class:`Outcome` has it; ``None`` takes it as it comes.

        A document takes its place only when it is whole and has its sum; one that has another is kept as ``PATH.from-nas``, and failed.
        One that is here with its sum is not fetched, and what is here and differs, older or newer, stays, unless ``overwrite``. With ``upload_dir``,
        relative paths are below it, and nothing is written outside.

        Gives an outcome for each, in their order. Progress, exceptions and ``KeyboardInterrupt`` as with :meth:`send`; what is whole
        by then stays.
        """
        fetching = Fetching(self._native, documents, overwrite)
        fetching.run(on_progress)
        return fetching.finish(on_progress)

    async def fetch_async(
        self,
        documents: Iterable[tuple[Key, AnyPath, AnyPath, str | None]],
        overwrite: bool = False,
        on_progress: OnProgress | None = None,
    ) -> list[Fetched]:
        """As :meth:`fetch`, beside the event loop, in which ``on_progress`` is called."""
        fetching = Fetching(self._native, documents, overwrite)
        await fetching.run_async(on_progress)
        return fetching.finish(on_progress)

    def close(self) -> None:
        """Ends the logins with these settings that nobody uses."""
        self._native.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)


class Sending:
    """One transfer. ``outcomes`` is there even when it was ended by an exception, and so are the times of the files that went.
    Documents whose keys are ``new`` take the place of nothing on the NAS."""

    def __init__(
        self,
        client: _native.Client,
        documents: Iterable[tuple[Key, AnyPath, AnyPath]],
        progress: _native.Progress,
        new: Collection[int | str] = (),
    ) -> None:
        self._client = client
        self._progress = progress
        self._new = new
        self._keys: dict[int | str, Key] = {}
        self._documents = [self._prepare(document) for document in documents]
        self.outcomes: list[Outcome] = []
        self.mtimes: dict[int | str, tuple[int, int]] = {}

    def _prepare(self, document: tuple[Key, AnyPath, AnyPath]) -> tuple[int | str, bytes, bytes, bool]:
        try:
            key, path, name = document
        except (TypeError, ValueError):
            raise TypeError(f"a document is (key, path, name), not {document!r}") from None
        plain = _own_key(key, self._keys)
        return plain, os.fsencode(path), os.fsencode(name), plain in self._new

    def run(self, on_progress: OnProgress | None, stop: _native.Stop | None = None) -> None:
        """Sends them. Raises what a callback or a signal raised."""
        told, failure = self._client.send(self._documents, self._progress, on_progress, stop or _native.Stop())
        found = {
            key: Outcome(self._keys[key], level, sha256, length, cast(Optional[NASSyncError], error))
            for key, level, sha256, length, _, error in told
        }
        self.mtimes = {key: mtime for key, *_, mtime, _ in told if mtime is not None}
        self.outcomes = [found[key] for key, *_ in self._documents]
        if failure is not None:
            raise failure

    async def run_async(self, on_progress: OnProgress | None) -> None:
        """As :meth:`run`, in a thread beside the event loop."""
        await beside(lambda sink, stop: self.run(sink, stop), on_progress)

    def finish(self, on_progress: OnProgress | None) -> list[Outcome]:
        """The end of a run that is one transfer."""
        failed = sum(outcome.error is not None for outcome in self.outcomes)
        self._progress.finish(len(self.outcomes) - failed, failed)
        if on_progress is not None:
            self._progress.deliver(on_progress)
        return self.outcomes


class Fetching:
    """Documents that come back, by one transfer."""

    def __init__(
        self, client: _native.Client, documents: Iterable[tuple[Key, AnyPath, AnyPath, str | None]], overwrite: bool
    ) -> None:
        self._client = client
        self._overwrite = overwrite
        self._progress = _native.Progress()
        self._keys: dict[int | str, Key] = {}
        self._documents = [self._prepare(document) for document in documents]
        self._fetched: list[Fetched] = []

    def _prepare(
        self, document: tuple[Key, AnyPath, AnyPath, str | None]
    ) -> tuple[int | str, bytes, bytes, bytes | None]:
        try:
            key, name, path, sha256 = document
        except (TypeError, ValueError):
            raise TypeError(f"a document is (key, name, path, sha256), not {document!r}") from None
        return _own_key(key, self._keys), os.fsencode(name), os.fsencode(path), _sum(sha256)

    def run(self, on_progress: OnProgress | None, stop: _native.Stop | None = None) -> None:
        """Fetches them. Raises what a callback or a signal raised."""
        stop = stop or _native.Stop()
        told = self._client.fetch(self._documents, self._overwrite, self._progress, on_progress, stop)
        found = {key: Fetched(self._keys[key], path, cast(Optional[NASSyncError], error)) for key, path, error in told}
        self._fetched = [found[key] for key, *_ in self._documents]

    async def run_async(self, on_progress: OnProgress | None) -> None:
        """As :meth:`run`, in a thread beside the event loop."""
        await beside(lambda sink, stop: self.run(sink, stop), on_progress)

    def finish(self, on_progress: OnProgress | None) -> list[Fetched]:
        """The end."""
        failed = sum(fetched.error is not None for fetched in self._fetched)
        self._progress.finish(len(self._fetched) - failed, failed)
        if on_progress is not None:
            self._progress.deliver(on_progress)
        return self._fetched


async def beside(
    work: Callable[[OnProgress | None, _native.Stop], _T], on_progress: OnProgress | None = None
) -> _T:
    """Runs work in a thread. Its progress is told in the event loop. Cancelled, waits until the work has ended in order."""
    loop = asyncio.get_running_loop()
    stop = _native.Stop()
    raised: list[Exception] = []

    def tell(event: dict[str, Any]) -> None:
        if on_progress is not None and not raised:
            try:
                on_progress(event)
            except Exception as error:
                raised.append(error)
                stop.set()

    def sink(event: dict[str, Any]) -> None:
        loop.call_soon_threadsafe(tell, event)

    running = loop.run_in_executor(None, work, sink if on_progress else None, stop)
    try:
        result = await asyncio.shield(running)
    except asyncio.CancelledError:
        stop.set()
        await asyncio.wait([running])
        raise
    if raised:
        raise raised[0]
    return result


def _own_key(key: Key, keys: dict[int | str, Key]) -> int | str:
    """A key as the library knows it, which no document had before."""
    plain = plain_key(key)
    if plain in keys:
        raise NASSyncError(
            f"the key {key!r} stands for two documents", kind="usage", solution="Give each document a key of its own."
        )
    keys[plain] = key
    return plain


def _sum(sha256: str | None) -> bytes | None:
    """The bytes of a SHA-256 in hexadecimal."""
    if sha256 is None:
        return None
    try:
        found = bytes.fromhex(sha256)
    except ValueError:
        found = b""
    if len(found) != 32:
        raise NASSyncError(
            f"{sha256!r} is no SHA-256", kind="usage", solution="Give 64 hexadecimal digits, as Outcome.sha256 has, or None."
        )
    return found


def plain_key(key: object) -> int | str:
    """A key as the library knows it: a number or a text."""
    if isinstance(key, (str, uuid.UUID)):
        return str(key)
    if isinstance(key, int) and not isinstance(key, bool):
        if -(2**63) <= key < 2**63:
            return int(key)
        raise TypeError(f"the key {key} has more than 64 bits")
    raise TypeError(f"a key is an int, a str or a UUID, not {type(key).__name__}")
