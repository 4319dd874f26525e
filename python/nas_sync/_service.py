"""The service: documents of a SQLAlchemy session to a NAS."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from . import _native
from ._client import Fetched, Fetching, OnProgress, Outcome, Sending, beside, plain_key
from ._documents import Documents, find_model
from ._errors import NASSyncError
from ._records import Copy, Records, open_records
from ._session import await_in_event_loop, is_callers, is_in_event_loop, session_of
from ._settings import native_client

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._settings import Settings

# Documents that are sent, and marked, together: more while that is quick.
FEWEST, MOST = 16, 256
QUICK, SLOW = 1.0, 2.0
# What is beyond this goes in the next batch.
MOST_BYTES = 64 << 20
# Why a document is not marked that is on the NAS.
LET_GO = "its row was changed or deleted while it was sent, or the session was closed, so it is not marked"


def get_nas_sync_service(
    db: Any, *, model: type[Any] | None = None, table: str | None = None, **settings: Unpack[Settings]
) -> NASSyncService:
    """A service that works on a SQLAlchemy ``Session`` (of an ``AsyncSession``: its ``sync_session``, within ``run_sync``).

    ``model`` is the mapped class of the documents; by default the one of the table ``documents``, or of ``table`` (named as
    SQLAlchemy names it), or of ``NAS_TABLE`` (as SQL does). The other settings are those of :class:`nas_sync.Client`. Raises :class:`NASSyncError` where a setting makes no sense.
    """
    return NASSyncService(db, model=model, table=table, **settings)


class NASSyncService:
    """Sends the documents of a database to a NAS, and marks those that are proved to be stored there.

    The work on the database is done on the session's own connection. What was stored is marked (``synced_to_nas``, ``synced_at`` in
    UTC) and committed, unless the transaction is the caller's: begun with ``begin()``, or holding changes that are not committed. Then
    the marks are flushed into it, and are lasting when the caller commits.
    """

    def __init__(
        self, db: Any, *, model: type[Any] | None = None, table: str | None = None, **settings: Unpack[Settings]
    ) -> None:
        self._session = session_of(db)
        self._model = model
        self._native = native_client(settings)
        schema, _, name = (table or "").rpartition(".")
        self._table = (schema or None, name) if name else self._native.table

    def is_configured(self) -> bool:
        """Whether host, user and folder are set."""
        return bool(self._native.config()["configured"])

    def get_config_status(self) -> dict[str, Any]:
        """What is configured, without any secret: the object of ``nas-sync config --json``."""
        return self._native.config()

    def test_connection(self) -> tuple[bool, str]:
        """Whether a sync would work, and a sentence about it. Nothing is left on the NAS."""
        try:
            if is_in_event_loop():
                await_in_event_loop(beside(lambda _, stop: self._native.check(stop)))
            else:
                self._native.check(_native.Stop())
        except NASSyncError as error:
            return False, f"{error.message}. {error.solution}"
        config = self._native.config()
        return True, f"connected to {config['host']}; {config['path']} is writable"

    def sync_file(self, document: Any, overwrite: bool = False) -> tuple[bool, str]:
        """Sends one document of the session; gives whether it is on the NAS, and a sentence about it.

        One that is marked already is left alone. A file on the NAS that has its name, another content, and was not sent from this
        database stays, unless ``overwrite``; where nothing can be recorded (neither SQLite nor PostgreSQL, or without the rights), whatever has the name is replaced. Raises ``TypeError`` for what is no mapped object, and :class:`NASSyncError` for one of
        another session, for settings that make no sense, and for a database that cannot be used.
        """
        self._check_membership(document)
        documents = Documents(self._session, type(document))
        try:
            run = _Run(self, documents, None, overwrite=overwrite)
        except NASSyncError as error:
            if error.kind == "not_configured":
                return False, f"{error.message}. {error.solution}"
            raise
        with _database():
            callers = run.begin()
            is_synced = documents.lease_one(document, run.leased())
        if is_synced is None:
            return False, f"Document {document.id}: another worker is sending it"
        if is_synced:
            with _database():
                self._session.refresh(document, ["synced_to_nas", "synced_at"])
                _end(self._session, callers)
            return True, f"Document {document.id} is on the NAS already"
        run.send([document], callers)
        if run.errors:
            return False, run.errors[0]
        return True, f"Document {document.id} is on the NAS ({run.level})"

    def sync_all_pending(
        self, user_id: Any, on_progress: OnProgress | None = None, overwrite: bool = False
    ) -> dict[str, Any]:
        """Sends what is pending of a user, and gives ``{"total", "synced", "failed", "errors"}``, each error with its document.

        Documents that another worker is sending are left to it, where the database can tell (``FOR UPDATE SKIP LOCKED``). When the NAS
        cannot be used, the rest counts as failed without being tried. ``on_progress`` is given the objects of ``nas-sync --progress
        json``; when it raises, or with ``KeyboardInterrupt``, the transfer ends in order, what was stored is marked, and the exception
        is raised here. It must leave the session alone. ``overwrite`` as with :meth:`sync_file`.
        """
        with _database():
            documents = Documents(self._session, self._model or find_model(self._session, *self._table))
            user_id = documents.user(user_id)
            run = _Run(self, documents, on_progress, overwrite=overwrite)
            callers = run.begin()
            up_to = documents.last_pending(user_id)
            plan = run.plan(user_id, up_to)
        run.progress = _native.Progress(plan)
        after, size = None, FEWEST
        while up_to is not None:
            with _database():
                batch = run.cut(documents.lease(user_id, after, up_to, size, run.leased()))
            if not batch:
                break
            after = batch[-1].id
            began = time.monotonic()
            usable = run.send(batch, callers)
            took = time.monotonic() - began
            size = min(size * 2, MOST) if took < QUICK else max(size // 2, FEWEST) if took > SLOW else size
            with _database():
                if usable is not None:
                    run.leave(documents.count_pending(user_id, after, up_to), usable)
                    break
                callers = is_callers(self._session, documents.mapper)
        with _database():
            _end(self._session, callers)
        return run.finish()

    def restore(
        self, documents: Iterable[Any], overwrite: bool = False, on_progress: OnProgress | None = None
    ) -> dict[str, Any]:
        """Fetches synced documents of the session back from the NAS, each to its ``file_path``, and gives
        ``{"total", "restored", "failed", "errors"}``, each error with its document.

        They are found under the names that were recorded, and held against the recorded sums. Where nothing was recorded, they are
        found under the names that the layout gives them, and taken as they are there. What is here and differs, older or newer, stays,
        unless ``overwrite``. Progress, exceptions and ``KeyboardInterrupt`` as with :meth:`nas_sync.Client.fetch`. Nothing
        changes in the database. Raises :class:`NASSyncError` where nothing could be tried.
        """
        wanted = list(documents)
        for document in wanted:
            self._check_membership(document)
            if type(document) is not type(wanted[0]):
                raise TypeError("the documents are of different classes; restore those of each by themselves")
        errors: list[str] = []
        fetched: list[Fetched] = []
        if wanted:
            run = _Run(self, Documents(self._session, type(wanted[0])), on_progress)
            with _database():
                ids = {plain_key(document.id): document for document in wanted}
                synced = [key for key, document in ids.items() if document.synced_to_nas]
                records = open_records(run.documents, create=False)
                copies = {} if records is None else records.copies(synced)
                names, refused = run.names({key: ids[key] for key in synced if key not in copies})
            copies.update((key, (name, None)) for key, name in names.items())
            errors = [f"Document {key}: it is not on the NAS yet" for key in ids if key not in synced]
            errors += [f"Document {key}: {error.message}" for key, error in refused.items()]
            files = [(key, name, os.fsencode(ids[key].file_path), sha256) for key, (name, sha256) in copies.items()]
            fetching = Fetching(self._native, files, overwrite)
            if is_in_event_loop():
                await_in_event_loop(fetching.run_async(on_progress))
            else:
                fetching.run(on_progress)
            fetched = fetching.finish(on_progress)
        errors += [f"Document {one.key}: {one.error.message}" for one in fetched if one.error is not None]
        restored = sum(one.error is None for one in fetched)
        return {"total": restored + len(errors), "restored": restored, "failed": len(errors), "errors": errors}

    def get_sync_stats(self, user_id: Any) -> dict[str, Any]:
        """How far the documents of a user are. ``last_sync`` is a time in UTC such as ``2024-01-15T14:30:00``, or ``None``."""
        with _database():
            documents = Documents(self._session, self._model or find_model(self._session, *self._table))
            total, synced, last = documents.stats(documents.user(user_id))
        if isinstance(last, datetime) and last.tzinfo is not None:
            last = last.astimezone(timezone.utc).replace(tzinfo=None)
        return {
            "total_documents": total,
            "synced": synced,
            "pending": total - synced,
            "sync_percentage": (2000 * synced + total) // (2 * total) / 10 if total else 0.0,
            "last_sync": last.isoformat(timespec="seconds") if isinstance(last, datetime) else last,
            "nas_configured": self.is_configured(),
        }

    def _check_membership(self, document: Any) -> None:
        from sqlalchemy import inspect
        from sqlalchemy.orm import InstanceState, object_session

        if not isinstance(inspect(document, raiseerr=False), InstanceState):
            raise TypeError(f"a document is an object of a mapped class, not {type(document).__name__}")
        if object_session(document) is not self._session:
            raise NASSyncError(
                "the document does not belong to this session",
                kind="usage",
                solution="Load it with the session of the service, or add it there first.",
            )


@dataclass
class _Run:
    """One run over documents, and what became of them."""

    service: NASSyncService
    documents: Documents
    on_progress: OnProgress | None
    synced: int = 0
    failed: int = 0
    errors: list[str] = field(default_factory=list)
    level: str | None = None
    records: Records | None = None
    # Whether files on the NAS that were not sent from this database are replaced.
    overwrite: bool = False

    def __post_init__(self) -> None:
        self.native = self.service._native
        if not self.service.is_configured():
            missing = ", ".join(self.native.config()["missing"])
            raise NASSyncError(f"not configured, missing: {missing}", kind="not_configured")
        self.naming = self.native.naming()
        self.progress = _native.Progress()

    def begin(self) -> bool:
        """Gives whether the transaction is the caller's. What is remembered beside the documents is ready then."""
        callers = is_callers(self.documents.session, self.documents.mapper)
        self.documents.session.flush()
        self.records = open_records(self.documents, create=not callers)
        return callers

    def leased(self) -> Any:
        """Which documents a worker of the program is sending, where that can be seen."""
        return None if self.records is None else self.records.leased()

    def plan(self, user_id: Any, up_to: Any) -> tuple[int, int]:
        """How many documents and bytes there are to send, where somebody wants to know."""
        if self.on_progress is None or up_to is None:
            return 0, 0
        paths = self.documents.paths(user_id, up_to)
        return len(paths), sum(self._size(path) for path in paths)

    def cut(self, batch: list[Any]) -> list[Any]:
        """The beginning of a batch that is not too much to be marked together."""
        total = 0
        for at, document in enumerate(batch):
            total += self._size(document.file_path)
            if total > MOST_BYTES and at > 0:
                return batch[:at]
        return batch

    def _size(self, path: Any) -> int:
        try:
            return os.stat(os.path.join(self.native.upload_dir or "", path)).st_size
        except (OSError, TypeError, ValueError):
            return 0

    def send(self, batch: list[Any], callers: bool) -> NASSyncError | None:
        """Sends documents that are leased, marks those that are stored, and gives back the rest. Gives why the NAS cannot be used,
        if so. Raises what a callback or a signal raised, when all of that is done."""
        ids = {plain_key(document.id): document for document in batch}
        with _database():
            sendable, refused = self.names(ids)
            new = set() if self.overwrite or self.records is None else self.records.unsent(sendable)
        for key, error in refused.items():
            self._fail(key, error)
            self.progress.fail(key, error)
        sent = {key: (ids[key].id, os.fsencode(ids[key].file_path)) for key in sendable}
        files = [(key, sent[key][1], name) for key, name in sendable.items()]
        sending = Sending(self.native, files, self.progress, new)
        ended_by: BaseException | None = None
        unusable: NASSyncError | None = None
        try:
            self._transfer(sending)
        except NASSyncError as error:
            unusable = error
            sending.outcomes = [Outcome(key, None, None, None, error) for key in sendable]
            for key in sendable:
                self.progress.fail(key, error)
        except BaseException as error:
            ended_by = error
        stored = []
        for outcome in sending.outcomes:
            key = plain_key(outcome.key)
            if outcome.error is None:
                self.level = outcome.level
                mtime = sending.mtimes[key]
                stored.append(Copy(key, sendable[key], outcome.bytes, mtime, outcome.level, outcome.sha256))
            else:
                self._fail(key, outcome.error)
                if outcome.error.concerns_nas:
                    unusable = outcome.error
        self.synced += self._record(stored, ids, sent, callers)
        if ended_by is not None:
            raise ended_by
        return None if stored else unusable

    def _transfer(self, sending: Sending) -> None:
        if is_in_event_loop():
            await_in_event_loop(sending.run_async(self.on_progress))
        else:
            sending.run(self.on_progress)

    def names(self, ids: Mapping[int | str, Any]) -> tuple[dict[int | str, bytes], dict[int | str, NASSyncError]]:
        """The names of documents on the NAS, and why others cannot have one."""
        names: dict[int | str, bytes] = {}
        refused: dict[int | str, NASSyncError] = {}
        wanted: dict[bytes, Any] = {}
        for key, document in ids.items():
            try:
                name = self.naming.name(self.documents.facts(document))
            except NASSyncError as error:
                name = error
            if isinstance(name, NASSyncError):
                refused[key] = name
            elif isinstance(name, bytes):
                names[key] = name
                wanted.setdefault(name, document)
        taken = self.documents.clashes(wanted, self.native.layout, self.naming)
        for key, clash in self._clashes(names, taken).items():
            del names[key]
            refused[key] = clash
        return names, refused

    def _clashes(self, names: Mapping[int | str, bytes], taken: Mapping[bytes, Any]) -> dict[int | str, NASSyncError]:
        """The documents whose names are another's, by what is recorded or by ``taken``."""
        owners = {**({} if self.records is None else self.records.owners(names.values())), **taken}
        return {
            key: NASSyncError(f"its name on the NAS, {os.fsdecode(name)!r}, belongs to document {owner}", kind="name_clash")
            for key, name in names.items()
            if (owner := owners.get(name)) is not None and plain_key(owner) != key
        }

    def _fail(self, key: int | str, error: NASSyncError) -> None:
        self.failed += 1
        self.errors.append(f"Document {key}: {error.message}")

    def _record(
        self, stored: list[Copy], ids: Mapping[int | str, Any], sent: Mapping[int | str, tuple[Any, bytes]], callers: bool
    ) -> int:
        """Marks and records what is stored; gives how many."""
        try:
            with _database():
                # The program may have sent another document under a name since.
                lost = self._clashes({copy.key: copy.name for copy in stored}, {})
                marked = self.documents.mark({copy.key: ids[copy.key] for copy in stored if copy.key not in lost}, sent)
                if self.records is not None:
                    self.records.write(copy for copy in stored if copy.key in marked)
                _end(self.documents.session, callers)
        except NASSyncError as error:
            if not callers:
                # There is nothing in it but what was to be marked.
                self.documents.session.rollback()
            if not stored:
                raise
            message = f"{len(stored)} documents are on the NAS and could not be marked: {error.message}"
            solution = "Look at the database. They go again with the next run; nothing was lost."
            raise NASSyncError(message, error.details, kind=error.kind, solution=solution) from error.__cause__
        for copy in stored:
            if copy.key not in marked:
                self._fail(copy.key, lost.get(copy.key) or NASSyncError(LET_GO, kind="source_changed"))
        return len(marked)

    def leave(self, count: int, error: NASSyncError) -> None:
        """Documents that are not tried, because the NAS cannot be used."""
        if count:
            self.failed += count
            self.errors.append(f"{count} more documents were not tried: {error.message}")

    def finish(self) -> dict[str, Any]:
        self.progress.finish(self.synced, self.failed)
        if self.on_progress is not None:
            self.progress.deliver(self.on_progress)
        total = self.synced + self.failed
        return {"total": total, "synced": self.synced, "failed": self.failed, "errors": self.errors}


def _end(session: Any, callers: bool) -> None:
    """Commits, where the transaction is not the caller's; gives back the rows that are held."""
    if callers:
        session.flush()
    else:
        session.commit()


class _database:
    """Turns errors of SQLAlchemy into the package's own."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        if isinstance(error, SQLAlchemyError):
            reason = str(getattr(error, "orig", None) or error).strip().splitlines()
            message = f"the database cannot be used: {reason[0] if reason else type(error).__name__}"
            raise NASSyncError(
                message, str(error), kind="database_unusable", solution="Look at the database; nothing was marked wrongly."
            ) from error
