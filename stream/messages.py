"""The arrows between the rooms: what is said from watcher to broker to worker to ledger to page.

Messages that cross a process boundary are msgspec Structs, encoded as MessagePack with a tag that names the type;
results that carry arrays within a process are frozen dataclasses. The description of a field is its documentation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.config import PHOTOMETER_LABELS
from stream.errors import Reason
from stream.timestamps import SkyPosition

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

_FLOAT_BYTES = 8
_PLACE_COLUMNS = ("x", "y", "sky_e_per_px", "peak_adu", "flags")


def source_columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Rows of the table of sources that every measured frame carries, for photometers of these labels.

    ``x``, ``y``: where the catalog says that the source is, pixels, 0-based. ``sky_e_per_px``: local background,
    electrons. ``peak_adu``: highest pixel within the standard aperture, counts as in the file. ``flags``: see
    `stream.flags`. ``<label>_flux``, ``<label>_flux_err``: electrons within the exposure; NaN where there is none.
    """
    return (*_PLACE_COLUMNS, *(f"{label}_{column}" for label in labels for column in ("flux", "flux_err")))


SOURCE_COLUMNS = source_columns(PHOTOMETER_LABELS)
"""Rows of the table where nothing but the two standard photometers was asked for."""


# What a message may hold at most: whoever has the keys of the night may still be broken.
Text = Annotated[str, msgspec.Meta(max_length=8192)]
Sentence = Annotated[str, msgspec.Meta(max_length=2**20)]
Pid = Annotated[int, msgspec.Meta(ge=1, lt=2**31)]
Count = Annotated[int, msgspec.Meta(ge=0, lt=2**53)]
Table = Annotated[bytes, msgspec.Meta(max_length=32 * 2**20)]
_MOST_SOURCES, _MOST_FRAMES, _MOST_PIXELS = 100_000, 100_000, 2**24
SourceNumbers = Annotated[tuple[float, ...], msgspec.Meta(max_length=_MOST_SOURCES)]


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of everything that crosses a process boundary."""


class Catalog(Message, frozen=True):
    """The reference sources of one key, numbered from 1 by decreasing flux; frozen and versioned once built.

    All tuples have one entry per source. Positions and sizes are pixels of the reference frame.
    """

    key: Text
    version: Text
    """Hash of the content."""
    frame_shape: tuple[int, int]
    """(rows, columns) of the frames."""
    binning: int
    exposure_s: float
    """Exposure time that the fluxes refer to, seconds."""
    fwhm_px: float
    """Median full width at half maximum of the stars."""
    pixel_scale_arcsec: float
    x: SourceNumbers
    y: SourceNumbers
    flux_e: SourceNumbers
    """Aperture flux, electrons per `exposure_s`: the unit of transparency."""
    semi_major_sigma_px: SourceNumbers
    semi_minor_sigma_px: SourceNumbers
    orientation_deg: SourceNumbers
    """Of the major axis, from +x towards +y, degrees."""
    frames: Annotated[tuple[Text, ...], msgspec.Meta(max_length=_MOST_FRAMES)]
    """Names of the frames that were stacked; the first one is the reference frame."""
    pointing: SkyPosition | None = None
    """Where the reference frame pointed; all times of the key are referred to it."""
    hot_pixels: Annotated[tuple[int, ...], msgspec.Meta(max_length=_MOST_PIXELS)] = ()
    """Pixels that shine on their own, as ``row * columns + column``."""

    @property
    def n_sources(self) -> int:
        """Number of sources."""
        return len(self.x)

    def positions(self) -> FloatArray:
        """Return x and y, shape (n_sources, 2)."""
        return np.column_stack([self.x, self.y]).astype(np.float64)


class FrameArrived(Message, frozen=True):
    """The watcher found a complete file, or one that will never be."""

    path: str
    """Relative to the night's folder, with forward slashes."""
    size_bytes: int
    mtime_ns: int
    arrived_unix_s: float
    key: str | None = None
    """None where the header could not be read; the worker then says why."""
    time_mjd_utc: float | None = None
    """Middle of the exposure as far as the header tells."""


class FrameToMeasure(Message, frozen=True):
    """A frame of the ledger: its number there and its file."""

    frame_id: int
    path: str


class AssignFrame(Message, frozen=True):
    """Broker to worker: measure this frame against this catalog."""

    frame: FrameToMeasure
    key: str
    """Empty where the header could not be read; so is the version then."""
    catalog_version: str


class UseCalibration(Message, frozen=True):
    """Broker to worker: the masters of the night are others from now on; they are in its folder of masters."""


class UseCatalog(Message, frozen=True):
    """Broker to worker: the catalog that later assignments of its key refer to."""

    catalog: Catalog


class BuildCatalog(Message, frozen=True):
    """Broker to worker: align, stack and search these frames."""

    key: str
    frames: tuple[FrameToMeasure, ...]


class SaveCatalogFiles(Message, frozen=True):
    """Broker to worker: the catalog that you built was accepted; leave its picture, for table and picture."""

    key: str
    version: str


class CatalogPictureLeft(Message, frozen=True):
    """Worker to broker: the picture of this catalog lies in the folder of catalogs, to be drawn."""

    key: Text
    version: Text


class CatalogBuilt(Message, frozen=True):
    """Worker to broker: the catalog of a key; the frames that could not be used are rejected."""

    catalog: Catalog
    rejected: Annotated[tuple[FrameRejected, ...], msgspec.Meta(max_length=_MOST_FRAMES)] = ()


class CatalogNotBuilt(Message, frozen=True):
    """Worker to broker: these frames make no catalog; those rejected are out, the others may be tried again."""

    key: Text
    sentence: Sentence
    rejected: Annotated[tuple[FrameRejected, ...], msgspec.Meta(max_length=_MOST_FRAMES)]


class FrameMeasured(Message, frozen=True):
    """All that was measured on one frame. NaN stands where a number is unknown."""

    frame_id: Count
    path: Text
    key: Text
    recipe_hash: Text
    catalog_version: Text
    time_mjd_utc: float
    """Middle of the exposure, days."""
    time_bmjd_tdb: float
    """The same at the barycentre; NaN where the pointing is unknown (flag NO_POINTING)."""
    exposure_s: float
    airmass: float
    fwhm_px: float
    """Full width at half maximum of the stars, geometric mean of both axes."""
    semi_major_sigma_px: float
    semi_minor_sigma_px: float
    orientation_deg: float
    sky_e_per_px: float
    """Median of the local backgrounds."""
    shift_x_px: float
    """Where the centre of the reference frame lies on this one, less the centre."""
    shift_y_px: float
    rotation_deg: float
    """Of the field against the catalog, from +x towards +y, -180 to 180."""
    scale: float
    transparency: float
    """Median flux of the brightest stars relative to the catalog, per exposure time."""
    n_aligned: Count
    """Stars that the transform rests on."""
    alignment_rms_px: float
    flags: int
    """Frame flags, see `stream.flags`; those of a source are in `sources`."""
    core_s: float
    """Processor time that the frame took, seconds."""
    sources: Table
    """Little-endian float64, rows as in `source_columns` of the labels, columns as in the catalog."""
    sequence: Count = 0
    """Order of commitment in the ledger, from 1; given by the ledger."""
    labels: Annotated[tuple[Text, ...], msgspec.Meta(max_length=1000)] = PHOTOMETER_LABELS
    """The photometers of the recipe."""
    calibration_version: str = ""
    """Hash of the masters that calibrated the frame; empty where there are none."""

    def source_table(self) -> FloatArray:
        """Return the table of sources, shape (len(self.columns()), n_sources), read-only."""
        return np.frombuffer(self.sources, dtype="<f8").reshape(len(self.columns()), -1)

    def has_whole_table(self) -> bool:
        """Whether the table of sources has as many numbers as its rows need."""
        return len(self.sources) % (_FLOAT_BYTES * len(self.columns())) == 0

    def columns(self) -> tuple[str, ...]:
        """Names of the rows of the table of sources."""
        return source_columns(self.labels)


class FrameRejected(Message, frozen=True):
    """Why a frame has no measurement."""

    frame_id: Count
    path: Text
    reason: Reason
    sentence: Sentence
    """Names the file and the cause."""
    key: Text | None = None
    sequence: Count = 0
    """Order of commitment in the ledger, from 1; given by the ledger."""


class FrameDescribed(Message, frozen=True):
    """Worker to broker: the header, unreadable when the frame arrived, can be read now; this is its key."""

    frame_id: Count
    key: Text
    time_mjd_utc: float


class WorkerReady(Message, frozen=True):
    """Worker to broker: here I am, with room for so many assignments."""

    pid: Pid
    credit: Annotated[int, msgspec.Meta(ge=1, le=100)]


class WorkerHeartbeat(Message, frozen=True):
    """Worker to broker: still alive."""

    pid: Pid


class StopWorker(Message, frozen=True):
    """Broker to worker: finish what you have and leave."""


class NightStatus(Message, frozen=True):
    """The health of a night at one moment; published every half second and kept in the ledger."""

    state: str
    """``live``, ``stalled`` or ``finished``."""
    unix_s: float
    n_measured: int
    n_rejected: int
    n_waiting: int
    """Frames that wait for the catalog of their key."""
    n_queued: int
    """Frames that wait for a worker."""
    n_in_work: int
    n_workers: int
    n_worker_restarts: int
    frames_per_s: float
    """Committed frames a second over the last ten seconds."""
    lag_s: float
    """File complete to row committed, median of the last hundred frames."""
    last_frame_unix_s: float
    """When the last frame arrived; NaN before the first."""
    awaited: tuple[str, ...] = ()
    """What the night waits for, one sentence each: ``3 of 5 frames for the catalog of 2:r``."""
    n_dropped_messages: Count = 0
    """Messages of workers that made no sense, or were the second outcome of a frame."""
    n_refused_peers: Count = 0
    """Attempts to connect to the sockets of the night without its keys."""


ToWorker = AssignFrame | UseCatalog | UseCalibration | BuildCatalog | SaveCatalogFiles | StopWorker
FrameReply = FrameMeasured | FrameRejected | FrameDescribed
CatalogReply = CatalogBuilt | CatalogNotBuilt
FromWorker = WorkerReady | WorkerHeartbeat | FrameReply | CatalogReply | CatalogPictureLeft
Published = FrameMeasured | FrameRejected | CatalogBuilt | NightStatus

ENCODER = msgspec.msgpack.Encoder()
TO_WORKER = msgspec.msgpack.Decoder(ToWorker)
FROM_WORKER = msgspec.msgpack.Decoder(FromWorker)
PUBLISHED = msgspec.msgpack.Decoder(Published)


@dataclass(frozen=True, slots=True)
class SourceFluxes:
    """Light curves of all sources of one key with one photometer, in order of time.

    Attributes
    ----------
    key, label : str
        Key and photometer.
    time_mjd_utc, time_bmjd_tdb : array, shape (n_frames,)
        Middle of the exposures, days; the barycentric ones may be NaN.
    flux, flux_err : array, shape (n_frames, n_sources)
        Electrons; NaN where a source has no flux. Source number i stands in column i - 1.
    flags : array of int, shape (n_frames, n_sources)
        Frame and source flags joined.
    frame_ids : array of int, shape (n_frames,)
    exposure_s, airmass : array, shape (n_frames,)
    """

    key: str
    label: str
    time_mjd_utc: FloatArray
    time_bmjd_tdb: FloatArray
    exposure_s: FloatArray
    airmass: FloatArray
    flux: FloatArray
    flux_err: FloatArray
    flags: IntArray
    frame_ids: IntArray

    @property
    def n_sources(self) -> int:
        """Number of sources of the catalog."""
        return int(self.flux.shape[1])

    def time_scale(self) -> str:
        """Name of the best time column: barycentric where every frame has it."""
        barycentric = len(self.time_bmjd_tdb) > 0 and not np.isnan(self.time_bmjd_tdb).any()
        return "time_bmjd_tdb" if barycentric else "time_mjd_utc"

    def time(self) -> FloatArray:
        """The column that `time_scale` names."""
        return self.time_bmjd_tdb if self.time_scale() == "time_bmjd_tdb" else self.time_mjd_utc


class Selection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Target and comparison stars of every key: what was chosen, by whom; ``selection.toml`` of the night."""

    targets: dict[str, int] = {}
    """Number of the target in the catalog of each key."""
    comparisons: dict[str, tuple[int, ...]] = {}
    """Numbers of the comparison stars; a key that is missing has them chosen automatically."""
    requested_target: str = ""
    """The target as asked for before there was a catalog: ``1:g#2``, ``424,286`` or a sky position."""
    requested_comparisons: tuple[str, ...] = ()
    ensembles: dict[str, dict[str, tuple[int, ...]]] = {}
    """Comparison stars saved by name, of each key, to be recalled."""


NOT_KNOWN = math.nan
