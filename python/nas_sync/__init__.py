"""Sends documents to a NAS by rsync over SSH, with neither program on this side, and says what is stored there, by proof.

With a database: :func:`get_nas_sync_service` syncs the pending rows of a SQLAlchemy session. Without one: :class:`Client`
sends files and gives an :class:`Outcome` for each; what it fetches back is a :class:`Fetched`.
"""

from ._client import Client, Fetched, Outcome
from ._errors import NASSyncError
from ._service import NASSyncService, get_nas_sync_service

__all__ = ["Client", "Fetched", "NASSyncError", "NASSyncService", "Outcome", "get_nas_sync_service"]
