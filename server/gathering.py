"""All that one update of a page changes goes to its browser as one message."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from bokeh.document.events import ColumnDataChangedEvent, DocumentPatchedEvent
from bokeh.server.connection import ServerConnection


class GatheringConnection(ServerConnection):  # type: ignore[misc]  # bokeh is untyped here
    """Bokeh's connection to a browser, which does not make a message of each change.

    For every message Bokeh walks through all models of a page, and a browser takes it apart by itself: an update of
    dozens of changes would be dozens of times that. A session waits for its messages only after the callback that
    changed the page is through, so the first that is waited for takes all changes along.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._changes: list[DocumentPatchedEvent] = []

    def send_patch_document(self, event: DocumentPatchedEvent) -> Awaitable[None]:
        """Remember a change; whoever waits for the answer sends it, with all that were remembered till then."""
        if isinstance(event, ColumnDataChangedEvent) and event.data is None:
            # Told without its data it would be sent with rows that are appended later in the same update.
            event.data = dict(getattr(event.model, event.attr))
        self._changes.append(event)
        return self._send()

    async def _send(self) -> None:
        if self._changes:
            changes, self._changes = self._changes, []
            await self._socket.send_message(self.protocol.create("PATCH-DOC", changes))
