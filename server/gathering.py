"""All that one update of a page changes goes to its browser as one message."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

from bokeh.core.serialization import Serializer
from bokeh.document.events import ColumnDataChangedEvent, DocumentPatchedEvent
from bokeh.document.json import PatchJson
from bokeh.model import Model
from bokeh.protocol.messages.patch_doc import patch_doc
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
            await self._socket.send_message(message_of(changes))


class _Namer(Serializer):  # type: ignore[misc]  # bokeh is untyped here
    """Names the models that a browser has; Bokeh's own writes down the names of all of them before it begins."""

    def __init__(self, there: set[Model]) -> None:
        super().__init__()
        self._there = there

    def has_ref(self, obj: Any) -> bool:
        """Whether the browser has it, or gets it with this message."""
        return super().has_ref(obj) or (isinstance(obj, Model) and obj in self._there)

    def get_ref(self, obj: Any) -> Any:
        """The name of what the browser has; None for what has to be sent."""
        if isinstance(obj, Model) and obj in self._there:
            return obj.ref
        return super().get_ref(obj)


def message_of(changes: Sequence[DocumentPatchedEvent]) -> patch_doc:
    """One message of changes of one document, with the models that are new to its browser."""
    models = changes[0].document.models
    namer = _Namer(models.synced_references)
    content = PatchJson(events=namer.encode(list(changes)))
    models.flush_synced(lambda model: not namer.has_ref(model))
    message = patch_doc(patch_doc.create_header(), {}, content)
    message.add_buffers(*namer.buffers)
    return message
