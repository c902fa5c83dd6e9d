"""Messages: what goes over a socket comes out the same, NaN included."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.errors import Reason
from stream.messages import (
    ENCODER,
    FROM_WORKER,
    PUBLISHED,
    SOURCE_COLUMNS,
    TO_WORKER,
    AssignFrame,
    BuildCatalog,
    Catalog,
    CatalogBuilt,
    CatalogNotBuilt,
    FrameDescribed,
    FrameMeasured,
    FrameRejected,
    FrameToMeasure,
    NightStatus,
    SourceFluxes,
    StopWorker,
    UseCatalog,
    WorkerHeartbeat,
    WorkerReady,
)
from stream.timestamps import SkyPosition

FRAME = FrameToMeasure(3, "sub/a.fit")
REJECTED = FrameRejected(3, "sub/a.fit", Reason.NO_STARS, "sub/a.fit shows no star", key="1:g", sequence=4)
CATALOG = Catalog(
    key="1:g",
    version="abc",
    frame_shape=(500, 650),
    binning=1,
    exposure_s=60.0,
    fwhm_px=2.5,
    pixel_scale_arcsec=5.2,
    x=(1.5, 20.25),
    y=(3.0, 4.0),
    flux_e=(1e5, 1e4),
    semi_major_sigma_px=(1.0, 1.1),
    semi_minor_sigma_px=(0.9, 1.0),
    orientation_deg=(-90.0, 12.0),
    frames=("a.fit", "b.fit"),
    pointing=SkyPosition(31.0, 46.0),
    hot_pixels=(0, 324_999),
)
STATUS = NightStatus("live", 1.5, 1, 2, 3, 4, 5, 6, 7, 8.0, 9.0, math.inf, ("3 of 5 frames",))


def measured(**changes: Any) -> FrameMeasured:
    numbers = {name: math.nan for name, kind in FrameMeasured.__annotations__.items() if kind == "float"}
    table = np.arange(len(SOURCE_COLUMNS) * 2.0).reshape(-1, 2)
    table[4, 1] = np.nan
    fields: dict[str, Any] = numbers | {
        "frame_id": 1,
        "path": "a.fit",
        "key": "1:g",
        "recipe_hash": "r",
        "catalog_version": "c",
        "n_aligned": 5,
        "flags": 128,
        "sources": table.astype("<f8").tobytes(),
    }
    return FrameMeasured(**fields | changes)


def same(first: object, second: object) -> bool:
    """Equal in every bit of what is sent: NaN equals NaN here."""
    return type(first) is type(second) and ENCODER.encode(first) == ENCODER.encode(second)


@pytest.mark.parametrize("message", [AssignFrame(FRAME, "1:g", "abc"), UseCatalog(CATALOG), StopWorker()])
def test_messages_to_a_worker(message: object) -> None:
    assert TO_WORKER.decode(ENCODER.encode(message)) == message


def test_requests_for_catalogs() -> None:
    message = BuildCatalog("1:g", (FRAME, FrameToMeasure(4, "b.fit")))
    assert TO_WORKER.decode(ENCODER.encode(message)) == message


@pytest.mark.parametrize(
    "message",
    [
        WorkerReady(77, 2),
        WorkerHeartbeat(77),
        REJECTED,
        FrameDescribed(3, "1:g", 60000.5),
        CatalogBuilt(CATALOG, (REJECTED,)),
        CatalogNotBuilt("1:g", "no stars", (REJECTED,)),
        measured(),
    ],
    ids=lambda message: type(message).__name__,
)
def test_messages_from_a_worker(message: object) -> None:
    assert same(FROM_WORKER.decode(ENCODER.encode(message)), message)


@pytest.mark.parametrize("message", [measured(), REJECTED, CatalogBuilt(CATALOG), STATUS], ids=type)
def test_messages_to_pages(message: object) -> None:
    assert same(PUBLISHED.decode(ENCODER.encode(message)), message)


def test_the_table_of_sources_comes_back_as_it_was_and_cannot_be_written() -> None:
    table = measured().source_table()
    assert table.shape == (len(SOURCE_COLUMNS), 2)
    assert table[0].tolist() == [0.0, 1.0]
    assert np.isnan(table[4, 1])
    with pytest.raises(ValueError, match="read-only"):
        table[0, 0] = 5.0


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_bytes_that_are_no_message_are_an_error_of_the_decoder_alone(content: bytes) -> None:
    for decoder in (TO_WORKER, FROM_WORKER, PUBLISHED):
        with pytest.raises(msgspec.DecodeError):
            decoder.decode(content)


def test_a_message_of_another_room_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="WorkerReady"):
        TO_WORKER.decode(ENCODER.encode(WorkerReady(1, 1)))


def test_positions_of_a_catalog() -> None:
    assert CATALOG.n_sources == 2
    np.testing.assert_array_equal(CATALOG.positions(), [[1.5, 3.0], [20.25, 4.0]])


def fluxes(bmjd: list[float]) -> SourceFluxes:
    n = len(bmjd)
    column, table = np.zeros(n), np.zeros((n, 3))
    return SourceFluxes(
        key="1:g",
        label="forced_aperture_annulus",
        time_mjd_utc=column + 1.0,
        time_bmjd_tdb=np.array(bmjd),
        exposure_s=column,
        airmass=column,
        flux=table,
        flux_err=table,
        flags=table.astype(np.int64),
        frame_ids=column.astype(np.int64),
    )


def test_times_are_barycentric_only_where_all_are() -> None:
    assert fluxes([5.0, 6.0]).time_scale() == "time_bmjd_tdb"
    assert fluxes([5.0, 6.0]).time().tolist() == [5.0, 6.0]
    assert fluxes([5.0, math.nan]).time_scale() == "time_mjd_utc"
    assert fluxes([5.0, math.nan]).time().tolist() == [1.0, 1.0]
    assert fluxes([]).time_scale() == "time_mjd_utc"
    assert fluxes([]).n_sources == 3
