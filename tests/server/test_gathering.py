"""An update of a page is one message, which says the same as Bokeh's own messages one by one."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.document.events import DocumentPatchedEvent
from bokeh.models import ColumnDataSource, Div, Label, Range1d
from bokeh.plotting import figure
from bokeh.protocol import Protocol
from bokeh.server.session import ServerSession

from server.gathering import GatheringConnection


class _Socket:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def send_message(self, message: Any) -> None:
        self.sent.append(message)


def _page() -> Document:
    document, plot = Document(), figure(name="plot", x_range=Range1d(0.0, 1.0), y_range=Range1d(0.0, 1.0))
    source = ColumnDataSource({"x": np.arange(3.0), "y": np.arange(3.0)}, name="source")
    plot.scatter("x", "y", source=source)
    document.add_root(plot)
    document.add_root(Div(text="before", name="words"))
    document.models.flush_synced()  # its browser has it
    return document


def _update(document: Document) -> None:
    source, plot = document.get_model_by_name("source"), document.get_model_by_name("plot")
    document.get_model_by_name("words").text = "after"
    source.data = {"x": np.arange(2.0), "y": np.arange(2.0)}
    source.stream({"x": [2.0], "y": [7.0]})
    plot.add_layout(Label(x=0.0, y=0.0, text="new", name="label"))
    document.get_model_by_name("label").text = "newer"
    plot.x_range.update(start=3.0, end=4.0)


def _carried_out(document: Document) -> list[Any]:
    """Messages of an update, each applied to a copy of the page as it was, in order."""
    copy = Document.from_json(document.to_json())
    session, socket = ServerSession("s", document), _Socket()
    GatheringConnection(Protocol(), socket, None, session)
    asyncio.run(session.with_document_locked(lambda: _update(document)))
    for message in socket.sent:
        assembled = Protocol().assemble(message.header_json, message.metadata_json, message.content_json)
        for buffer in message.buffers:
            assembled.assemble_buffer(buffer.ref, buffer.to_bytes())
        assembled.apply_to_document(copy)
    return [copy, *socket.sent]


def test_an_update_is_one_message_and_the_browser_comes_to_the_same_page() -> None:
    document = _page()
    copy, *messages = _carried_out(document)
    assert len(messages) == 1
    for name, column in document.get_model_by_name("source").data.items():
        np.testing.assert_array_equal(copy.get_model_by_name("source").data[name], column)
    np.testing.assert_array_equal(copy.get_model_by_name("source").data["y"], [0.0, 1.0, 7.0])
    assert copy.get_model_by_name("words").text == "after"
    assert copy.get_model_by_name("label").text == "newer"
    assert (copy.get_model_by_name("plot").x_range.start, copy.get_model_by_name("plot").x_range.end) == (3.0, 4.0)


def test_what_the_browser_has_is_named_and_not_sent_again() -> None:
    document = _page()
    session, socket = ServerSession("s", document), _Socket()
    GatheringConnection(Protocol(), socket, None, session)
    asyncio.run(session.with_document_locked(lambda: _update(document)))
    label, plot = document.get_model_by_name("label"), document.get_model_by_name("plot")

    def move() -> None:
        plot.center = list(reversed(plot.center))

    asyncio.run(session.with_document_locked(move))
    first, second = (message.content_json for message in socket.sent)
    assert label.id in first
    assert '"attributes"' in first
    assert label.id in second
    assert '"attributes"' not in second


def test_changes_of_the_browser_are_not_sent_back_to_it() -> None:
    document = _page()
    session, socket = ServerSession("s", document), _Socket()
    connection = GatheringConnection(Protocol(), socket, None, session)
    event: list[DocumentPatchedEvent] = []
    document.on_change(event.append)
    change = {"kind": "ModelChanged", "model": document.get_model_by_name("words").ref, "attr": "text", "new": "typed"}
    message = Protocol().assemble('{"msgid":"1","msgtype":"PATCH-DOC"}', "{}", f'{{"events":[{json.dumps(change)}]}}')
    asyncio.run(session._handle_patch(message, connection))
    assert document.get_model_by_name("words").text == "typed"
    assert len(event) == 1
    assert not socket.sent
