"""The interface for programs in the words of OpenAPI 3.1; ``docs/openapi.json`` is made of it."""

from __future__ import annotations

from typing import Any

from stream.export import FORMATS

LIGHT_CURVE_FORMATS = ("json", *(name for name in FORMATS if name != "ds9"))
FIGURE_FORMATS = ("png", "svg", "pdf")

_NIGHT = {
    "name": "night",
    "in": "query",
    "description": "Name of the night, where several are served; see /api/nights.",
    "schema": {"type": "string"},
}
_KEY = {"name": "key", "in": "path", "required": True, "schema": {"type": "string"}, "example": "1:g"}
_SOURCE = {
    "name": "source",
    "in": "path",
    "required": True,
    "description": "Number in the catalog of the key for the raw light curve in electrons; `target` for the "
    "relative one of the target.",
    "schema": {"type": "string"},
}
_PHOTOMETER = {
    "name": "photometer",
    "in": "query",
    "description": "Label; without it the one that the page shows first.",
    "schema": {"type": "string"},
}


_TOKEN = "Where the page was started with --token: either of its tokens. Nothing is changed over this interface."


def _query(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _path(summary: str, parameters: list[dict[str, Any]], content: tuple[str, ...]) -> dict[str, Any]:
    wrong = {"description": "One sentence that says what was asked wrongly.", "content": {"application/json": {}}}
    found = {"description": summary, "content": {kind: {} for kind in content}}
    responses: dict[str, Any] = {"200": found}
    if parameters:
        responses |= {"400": wrong, "404": wrong}
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}


def openapi() -> dict[str, Any]:
    """Return the description of every address for programs."""
    json, text = ("application/json",), ("text/plain",)
    since_time = _query("since", "Points later than this alone, MJD in UTC.", {"type": "number"})
    formats = _query("format", "Of the answer.", {"enum": list(LIGHT_CURVE_FORMATS), "default": "json"})
    aavso = [
        _query("observer", "AAVSO observer code; format aavso requires it.", {"type": "string"}),
        _query("star", "Name of the target; format aavso requires it.", {"type": "string"}),
        _query("band", "Filter as the AAVSO names it, where that of the key is not understood.", {"type": "string"}),
    ]
    frames = [
        _query("since", "Outcomes after this sequence; 0 for all.", {"type": "integer", "minimum": 0, "default": 0}),
        _query("limit", "At most so many.", {"type": "integer", "minimum": 1, "maximum": 10000, "default": 1000}),
    ]
    figure = [
        _query("what", "What is drawn.", {"enum": ["light_curves", "power_spectra"], "default": "light_curves"}),
        _query("format", "Of the picture.", {"enum": list(FIGURE_FORMATS), "default": "png"}),
    ]
    curve_kinds = ("application/json", "text/csv", "application/fits", "text/plain")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "opticam-live",
            "version": "1",
            "description": "What the page of a night shows, for programs. Times are days, fluxes electrons, positions "
            "pixels counted from 0; null stands where a number is unknown. 429 and 503 say that there is more than the "
            "server bears, and after how many seconds to try again.",
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer", "description": _TOKEN}}},
        "security": [{}, {"token": []}],
        "paths": {
            "/api/nights": _path("The nights that are served.", [], json),
            "/api/night": _path("State, counts, alerts, photometers and notes of the night.", [_NIGHT], json),
            "/api/keys": _path("Catalog, target and comparison stars of every key.", [_NIGHT], json),
            "/api/light_curve/{key}/{source}": _path(
                "A light curve.", [_KEY, _SOURCE, _PHOTOMETER, formats, since_time, *aavso, _NIGHT], curve_kinds
            ),
            "/api/frames": _path("Measured and rejected frames in order of sequence.", [*frames, _NIGHT], json),
            "/api/figure": _path(
                "Light curves or power spectra of all keys as a picture.",
                [*figure, _PHOTOMETER, _NIGHT],
                ("image/png", "image/svg+xml", "application/pdf"),
            ),
            "/api/events": _path(
                "Server-sent events: `night` with its state, alerts and last sequence, when they change.",
                [_NIGHT],
                ("text/event-stream",),
            ),
            "/api/openapi.json": _path("This description.", [], json),
            "/metrics": _path("Figures of the night for Prometheus.", [_NIGHT], text),
            "/healthz": _path("Whether the server follows the night: 200, or 503 with a sentence.", [_NIGHT], json),
        },
    }
