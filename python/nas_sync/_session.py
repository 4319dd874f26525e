"""Whose transaction a SQLAlchemy session is in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from ._errors import NASSyncError

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

_T = TypeVar("_T")


def session_of(db: Any) -> Session:
    """The session that was given. Raises ``TypeError`` for anything else."""
    try:
        # It came with SQLAlchemy 2.0.
        from sqlalchemy.orm import Session, SessionTransactionOrigin, scoped_session  # noqa: F401
    except ImportError as error:
        raise NASSyncError(
            "SQLAlchemy 2.0 or later is not installed",
            kind="usage",
            solution="Install nas-sync[sqlalchemy], or use nas_sync.Client, which needs no database.",
        ) from error
    if isinstance(db, scoped_session):
        db = db()
    if isinstance(db, Session):
        return db
    if hasattr(db, "sync_session") and hasattr(db, "run_sync"):
        raise TypeError(
            "an AsyncSession is used from within: "
            "await db.run_sync(lambda session: get_nas_sync_service(session).sync_all_pending(user_id))"
        )
    raise TypeError(f"db must be a SQLAlchemy Session, not {type(db).__name__}")


def is_callers(session: Session, mapper: Any) -> bool:
    """Whether the session is in a transaction that only the caller may commit.

    That is so where the caller began it (``with db.begin()``, a savepoint), and where it holds changes that are not committed.
    Reading alone makes no transaction the caller's: after a query, ``sync_file`` commits, as it always did.
    """
    if session.new or session.deleted or any(session.is_modified(one) for one in session.dirty):
        return True
    transaction = session.get_transaction()
    if transaction is None:
        return False
    if session.in_nested_transaction() or transaction.origin.name != "AUTOBEGIN":
        return True
    # What was flushed and is still in use. Nothing public tells it.
    if any(getattr(transaction, kind, None) for kind in ("_new", "_dirty", "_deleted")):
        return True
    return _has_written(session.connection(bind_arguments={"mapper": mapper}))


def _has_written(connection: Any) -> bool:
    """Whether the database knows of changes in this transaction, which may have been made without the ORM."""
    from sqlalchemy import text

    if connection.dialect.name == "postgresql":
        return connection.scalar(text("SELECT txid_current_if_assigned()")) is not None
    if connection.dialect.name == "sqlite":
        driver = connection.connection.driver_connection
        # Only where the driver itself begins a transaction does it do so for changes alone.
        if driver.isolation_level is not None and getattr(driver, "autocommit", -1) == -1:
            return bool(driver.in_transaction)
    return False


def begin_writing(session: Session, mapper: Any) -> None:
    """Keeps others from writing until the transaction ends, in SQLite: its driver begins one by itself only with a change."""
    from sqlalchemy import text

    connection = session.connection(bind_arguments={"mapper": mapper})
    if connection.dialect.name == "sqlite":
        driver: Any = connection.connection.driver_connection
        if not driver.in_transaction:
            connection.execute(text("BEGIN IMMEDIATE"))


def is_in_event_loop() -> bool:
    """Whether the session is an asynchronous one's, so that to wait here would hold up the event loop."""
    from sqlalchemy.util import concurrency

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    in_greenlet: Callable[[], bool] | None = getattr(concurrency, "in_greenlet", None)
    try:
        return in_greenlet is not None and in_greenlet()
    except ImportError:
        # Without greenlet, which need not be installed, no session is asynchronous.
        return False


def await_in_event_loop(work: Awaitable[_T]) -> _T:
    """Waits without holding up the event loop, from within ``AsyncSession.run_sync``."""
    from sqlalchemy.util.concurrency import await_only

    result: _T = await_only(work)
    return result
