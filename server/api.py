"""The interface for programs: what the page shows, over plain HTTP. `server.api_reference` describes it."""

from __future__ import annotations

import asyncio
import math
import time
import urllib.parse
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from tornado.iostream import StreamClosedError
from tornado.web import RequestHandler

from server import theme
from server.door import DoorCounts
from server.feed import Feed
from server.nights import Nights
from server.page import list_of_nights, theme_name
from server.view_state import finite_number
from stream.analysis.choice import KeyChoice
from stream.errors import ConfigurationError, OpticamLiveError
from stream.messages import FrameMeasured, FrameRejected
from stream.night.ledger import LedgerReader
from stream.notes import load_notes

if TYPE_CHECKING:
    from server.light_curve_files import File

# What writes files and figures is imported with the first of them: the page is there a second earlier.

_EVENT_INTERVAL_S = 0.5
_KEEP_ALIVE_S = 15.0
_MOST_FRAMES = 10_000
_LONGEST_ARGUMENT = 200
_NOT_SAID = ("sources", "labels", "frame_id", "sequence")
_Found = TypeVar("_Found")


class ApiHandler(RequestHandler):
    """Base of the handlers: errors are a sentence. Who may ask is decided at the door, before."""

    parameters: tuple[str, ...] = ("night",)
    """What may be asked; anything else is a mistake in spelling that would be passed over."""

    def initialize(self, nights: Nights) -> None:
        """Take what is shown."""
        self.nights = nights

    def prepare(self) -> None:
        """Refuse what is asked under a name that means nothing here."""
        unknown = sorted(set(self.request.query_arguments) - set(self.parameters))
        if unknown:
            known = ", ".join(self.parameters) or "nothing"
            self.refuse(400, f"parameter {unknown[0][:40]!r} is not known: {self.request.path[:80]} takes {known}")
            self.finish()

    def log_exception(self, *_error: Any) -> None:
        """Errors of requests are answered, not logged, unless they are bugs."""
        if not isinstance(_error[1], OpticamLiveError):
            super().log_exception(*_error)

    def write_error(self, status_code: int, **given: Any) -> None:
        """Say what was wrong in one sentence."""
        error = given.get("exc_info", (None, None, None))[1]
        if isinstance(error, ConfigurationError):
            self.refuse(400, str(error))
        elif isinstance(error, OpticamLiveError):
            self.refuse(404, str(error))
        else:
            self.refuse(status_code, f"{self.request.path} failed: see log/serve.log of the night")
        self.finish()

    def refuse(self, status: int, sentence: str) -> None:
        """Answer with a sentence."""
        self.set_status(status)
        self.say({"error": sentence})

    def say(self, content: Any) -> None:
        """Answer with JSON; NaN becomes null."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.write(msgspec.json.encode(content))

    def text(self, name: str, default: str = "") -> str:
        """An argument, without which there is a default."""
        values = self.get_query_arguments(name)
        if not values:
            return default
        if len(values[-1]) > _LONGEST_ARGUMENT:
            raise ConfigurationError(f"{name} has {len(values[-1])} characters: {_LONGEST_ARGUMENT} at most")
        return values[-1]

    def whole_number(self, name: str, default: int, limits: tuple[int, int]) -> int:
        """An argument that must be a whole number within limits."""
        text = self.text(name, str(default))
        if not (text.isascii() and text.isdigit() and limits[0] <= int(text) <= limits[1]):
            raise ConfigurationError(f"{name} ({text!r}) must be a whole number from {limits[0]} to {limits[1]}")
        return int(text)

    def number(self, name: str, default: float) -> float:
        """An argument that must be a number."""
        text = self.text(name)
        return finite_number(name, text) if text else default

    async def feed(self) -> Feed:
        """The night that is asked for, once it was read, for which nobody else has to wait."""
        feed = self.nights.open(self.text("night"))
        await asyncio.shield(asyncio.wrap_future(feed.reading))
        return feed

    async def later(self, future: Future[_Found]) -> _Found:
        """Wait for work on another thread."""
        return await asyncio.wrap_future(future)

    def send(self, file: File) -> None:
        """Answer with a file, to be kept under its name."""
        self.set_header("Content-Type", file.kind)
        # A filter may have any printable name, quotes too; old browsers get the plain part of it.
        plain = "".join(mark if mark.isascii() and (mark.isalnum() or mark in "._-()") else "_" for mark in file.name)
        whole = urllib.parse.quote(file.name, safe="")
        self.set_header("Content-Disposition", f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}")
        self.write(file.content)


@dataclass(slots=True)
class Seats:
    """How many listen to events, and how many may."""

    n_all: int
    n_taken: int = 0


class NightsHandler(ApiHandler):
    """The nights that are served."""

    parameters = ()

    async def get(self) -> None:
        """Answer with a list."""
        self.say(await asyncio.to_thread(self.nights.summaries))


class NightHandler(ApiHandler):
    """State, counts, photometers and notes."""

    async def get(self) -> None:
        """Answer with an object."""
        feed = await self.feed()
        view = feed.view
        reader = LedgerReader(feed.out)
        try:
            counts, last = reader.counts(), reader.last_sequence()
        finally:
            reader.close()
        self.say(
            {
                "name": view.name,
                "status": view.status,
                "counts": counts,
                "last_sequence": last,
                "photometer": view.label,
                "photometers": view.labels,
                "notices": view.notices,
                "alerts": [alert for alert in view.alerts if alert.is_open],
                "alerts_over": [alert for alert in view.alerts if not alert.is_open],
                "notes": load_notes(feed.out),
            }
        )


class KeysHandler(ApiHandler):
    """Catalogs and choices."""

    async def get(self) -> None:
        """Answer with a list."""
        feed = await self.feed()
        keys = []
        for key, shown in feed.view.keys.items():
            catalog, choice = shown.catalog, shown.choice
            sources = [
                {"number": number, "x": x, "y": y, "flux_e": flux}
                for number, (x, y, flux) in enumerate(zip(catalog.x, catalog.y, catalog.flux_e, strict=True), start=1)
            ]
            keys.append(
                {
                    "key": key,
                    "n_frames": shown.n_frames,
                    "catalog_version": catalog.version,
                    "fwhm_px": catalog.fwhm_px,
                    "target": None if choice is None else choice.target,
                    "comparisons": [] if choice is None else choice.comparisons,
                    "why": [] if choice is None else choice.sentences,
                    "sentence": shown.sentence,
                    "sources": sources,
                }
            )
        self.say(keys)


class LightCurveHandler(ApiHandler):
    """One light curve as JSON or as a file."""

    parameters = ("night", "format", "photometer", "since", "observer", "star", "band")

    async def get(self, key: str, source: str) -> None:
        """Answer with the light curve of a source, or of the target over its comparison stars."""
        from server.light_curve_files import CurveRequest, light_curve_file
        from stream.export import AavsoOptions

        feed = await self.feed()
        if source != "target" and not (source.isascii() and source.isdigit()):
            raise ConfigurationError(f"source ({source[:40]!r}) must be a number of the catalog, or 'target'")
        format = self.text("format", "json")
        aavso = None
        if format == "aavso":
            aavso = AavsoOptions(self.text("observer"), self.text("star"), self.text("band") or None)
        request = CurveRequest(
            key=key,
            source=None if source == "target" else int(source),
            label=self.text("photometer") or feed.view.label,
            format=format,
            since_mjd=self.number("since", -math.inf),
            aavso=aavso,
        )
        file = await self.later(feed.in_background(light_curve_file, feed.out, request, choices_of(feed)))
        if format == "json":
            self.set_header("Content-Type", file.kind)
            self.write(file.content)
        else:
            self.send(file)


class FigureHandler(ApiHandler):
    """Light curves or power spectra as a picture."""

    parameters = ("night", "what", "format", "photometer")

    async def get(self) -> None:
        """Answer with a file."""
        from server.light_curve_files import figure_file

        feed = await self.feed()
        what = self.text("what", "light_curves")
        if what not in ("light_curves", "power_spectra"):
            raise ConfigurationError(f"what ({what!r}) must be light_curves or power_spectra")
        label = self.text("photometer") or feed.view.label
        choices = choices_of(feed)
        work = feed.in_background(figure_file, feed.out, what, self.text("format", "png"), label, choices)
        self.send(await self.later(work))


class FramesHandler(ApiHandler):
    """Outcomes in order of sequence."""

    parameters = ("night", "since", "limit")

    async def get(self) -> None:
        """Answer with a list."""
        feed = await self.feed()
        since = self.whole_number("since", 0, (0, 2**62))
        limit = self.whole_number("limit", 1000, (1, _MOST_FRAMES))
        self.say(await self.later(feed.in_background(_outcomes, feed, since, limit)))


class EventsHandler(ApiHandler):
    """Server-sent events."""

    def initialize(self, nights: Nights, seats: Seats | None = None) -> None:
        """Take what is shown, and how many may listen."""
        super().initialize(nights)
        self._seats = seats or Seats(1)
        self._is_gone = False

    def on_connection_close(self) -> None:
        """The other side has gone."""
        self._is_gone = True

    async def get(self) -> None:
        """Say what changes, until the other side has gone."""
        if self._seats.n_taken >= self._seats.n_all:
            self.refuse(503, f"{self._seats.n_taken} listeners are connected, which is the most at a time")
            return
        self._seats.n_taken += 1
        try:
            await self._speak(await self.feed())
        finally:
            self._seats.n_taken -= 1

    async def _speak(self, feed: Feed) -> None:
        self.set_header("Content-Type", "text/event-stream")
        said: bytes = b""
        spoken_s = time.monotonic()
        while not self._is_gone:
            view = feed.view
            event = msgspec.json.encode(
                {
                    "state": "" if view.status is None else view.status.state,
                    "n_measured": {key: shown.n_frames for key, shown in view.keys.items()},
                    "n_rejected": view.n_rejected,
                    "alerts": [alert.title for alert in view.alerts if alert.is_open],
                    "last_sequence": feed.last_sequence,
                }
            )
            now = time.monotonic()
            if event != said:
                self.write(b"event: night\ndata: " + event + b"\n\n")
                said, spoken_s = event, now
            elif now - spoken_s >= _KEEP_ALIVE_S:
                self.write(b": still here\n\n")
                spoken_s = now
            try:
                await self.flush()
            except StreamClosedError:
                return
            await asyncio.sleep(_EVENT_INTERVAL_S)


class ReferenceHandler(ApiHandler):
    """The description of all this."""

    parameters = ()

    def get(self) -> None:
        """Answer with OpenAPI."""
        from server.api_reference import openapi

        self.say(openapi())


class MetricsHandler(ApiHandler):
    """Figures for Prometheus."""

    def initialize(self, nights: Nights, counts: DoorCounts | None = None) -> None:
        """Take what is shown, and what was refused at the door."""
        super().initialize(nights)
        self._counts = counts or DoorCounts()

    async def get(self) -> None:
        """Answer in its text format."""
        from server.metrics import metrics_text

        self.set_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.write(metrics_text((await self.feed()).view, time.time(), self._counts))


class HealthHandler(ApiHandler):
    """Whether the server follows the night."""

    async def get(self) -> None:
        """Answer 200, or 503 with a sentence."""
        if not self.nights.is_single and not self.text("night"):
            self.say({"status": "ok"})
            return
        feed = self.nights.open(self.text("night"))
        if not feed.reading.done():
            self.refuse(503, "the night so far is being read")
        elif feed.view.notices or not feed.is_alive:
            self.refuse(503, "; ".join(feed.view.notices) or "the page no longer follows the night")
        else:
            self.say({"status": "ok"})


class ListHandler(ApiHandler):
    """The page that lists the nights of a folder."""

    parameters = ()

    async def get(self) -> None:
        """Answer with HTML."""
        nights = await asyncio.to_thread(self.nights.summaries)
        palette = theme.PALETTES[theme_name({name: morsel.value for name, morsel in self.cookies.items()})]
        self.write(list_of_nights(nights, palette, str(self.nights.place)))


class OpenHandler(ApiHandler):
    """Opens a night of a folder, which may take a second, before its page is asked for."""

    async def get(self) -> None:
        """Answer with the address of its page, which says why where the night cannot be shown."""
        with suppress(OpticamLiveError):
            await self.feed()
        self.redirect("/night?" + urllib.parse.urlencode({"night": self.text("night")}))


def routes(
    nights: Nights, seats: Seats | None = None, counts: DoorCounts | None = None
) -> list[tuple[str, type[ApiHandler], dict[str, Any]]]:
    """Addresses of the interface; `seats` are those of listeners to events, `counts` of what the door refused."""
    given: dict[str, Any] = {"nights": nights}
    special = {EventsHandler: given | {"seats": seats}, MetricsHandler: given | {"counts": counts}}
    handlers: dict[str, type[ApiHandler]] = {
        "/api/nights": NightsHandler,
        "/api/night": NightHandler,
        "/api/keys": KeysHandler,
        r"/api/light_curve/([^/]+)/([^/]+)": LightCurveHandler,
        "/api/frames": FramesHandler,
        "/api/figure": FigureHandler,
        "/api/events": EventsHandler,
        "/api/openapi.json": ReferenceHandler,
        "/metrics": MetricsHandler,
        "/healthz": HealthHandler,
    }
    if not nights.is_single:
        handlers |= {"/": ListHandler, "/open": OpenHandler}
    return [(pattern, handler, special.get(handler, given)) for pattern, handler in handlers.items()]


def choices_of(feed: Feed) -> dict[str, KeyChoice]:
    """Target and comparison stars of every key, as the page has them."""
    return {key: shown.choice for key, shown in feed.view.keys.items() if shown.choice is not None}


def _outcomes(feed: Feed, since: int, limit: int) -> list[dict[str, Any]]:
    reader = LedgerReader(feed.out)
    try:
        return [_said(outcome) for outcome in reader.outcomes_since(since, limit)]
    finally:
        reader.close()


def _said(outcome: FrameMeasured | FrameRejected) -> dict[str, Any]:
    state = "measured" if isinstance(outcome, FrameMeasured) else "rejected"
    first = {"sequence": outcome.sequence, "frame_id": outcome.frame_id, "state": state}
    rest = {name: getattr(outcome, name) for name in outcome.__struct_fields__ if name not in _NOT_SAID}
    return first | rest
