"""The one exception of the package."""

from __future__ import annotations

from . import _native


class NASSyncError(Exception):
    """What went wrong.

    ``message`` is one sentence; ``details`` is what else is known, such as the text that the NAS printed. ``kind`` is for
    programs, the same word as in ``nas-sync --json``; ``cause`` and ``solution`` are for people.
    """

    message: str
    details: str | None
    kind: str
    cause: str
    solution: str

    def __init__(
        self,
        message: str,
        details: str | None = None,
        *,
        kind: str = "internal",
        cause: str | None = None,
        solution: str | None = None,
    ) -> None:
        super().__init__(message)
        usual_cause, usual_solution, _ = _native.explain(kind)
        self.message = message
        self.details = details
        self.kind = kind
        self.cause = usual_cause if cause is None else cause
        self.solution = usual_solution if solution is None else solution

    @property
    def concerns_nas(self) -> bool:
        """Whether the trouble is the NAS or the way there, rather than one document."""
        return _native.explain(self.kind)[2]
