"""Progress of long work: a bar on standard error where that is a terminal, and nothing elsewhere."""

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.progress import Progress


class Interrupted(Exception):
    """The command is over; what still works for it in another thread has to stop."""


class Meter:
    """Shows how far something has come. Called from any thread, with what is done and what there is to do.

    Once the ``with`` block is left, a call raises ``Interrupted``: so Ctrl-C ends work in the store's threads too.
    """

    def __init__(self, label: str, *, unit: str = "records") -> None:
        self._label = f"{label} ({unit})"
        self._bar = _bar() if sys.stderr.isatty() else None
        self._over = False

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=None)
        return self

    def __call__(self, done: int, total: int | None = None) -> None:
        """Show that ``done`` of ``total`` is done; None: nobody knows how much there is."""
        if self._over:
            raise Interrupted
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        if self._bar is not None:
            self._bar.stop()


def _bar() -> "Progress":
    # Only terminals need these, and they take their time.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
