"""Masters of a night: made from folders of calibration frames, written as FITS, read by every worker."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from stream.atomic_files import write_atomically
from stream.config import Recipe
from stream.errors import ConfigurationError, NightError
from stream.measure.calibration import Calibration
from stream.measure.calibration_frames import (
    CalibrationGroup,
    group_calibration_frames,
    list_calibration_files,
    read_bad_pixels,
)
from stream.measure.masters import (
    Below,
    Kind,
    Master,
    check_fits,
    make_bias,
    make_dark,
    make_flat,
    measured_read_variance,
)

_SUFFIX = ".fits"
_BAD = "bad"
_ALL = "all"
_KINDS: tuple[Kind, ...] = ("bias", "dark", "flat")


@dataclass(frozen=True, slots=True)
class CalibrationFolders:
    """Where the calibration frames of a night are.

    Attributes
    ----------
    bad_pixels : tuple of Path
        FITS images in which everything but 0 is bad; they hold for all cameras.
    bad_pixels_of : tuple of (str, Path)
        The same for one camera (``1``) or key (``1:g``) each.
    """

    bias: Path | None = None
    dark: Path | None = None
    flat: Path | None = None
    bad_pixels: tuple[Path, ...] = ()
    bad_pixels_of: tuple[tuple[str, Path], ...] = ()

    def __bool__(self) -> bool:
        """Whether there is any."""
        return bool(self.paths())

    def maps(self) -> tuple[tuple[str, Path], ...]:
        """Bad-pixel maps with the camera or key that they hold for, or ``all``."""
        return (*((_ALL, path) for path in self.bad_pixels), *self.bad_pixels_of)

    def paths(self) -> tuple[Path, ...]:
        """All folders and files."""
        folders = (self.bias, self.dark, self.flat, *(path for _, path in self.maps()))
        return tuple(path for path in folders if path is not None)

    def paths_outside_of(self, sky: Path) -> tuple[Path, ...]:
        """The same, none of which is the folder of the frames of the sky, or above it; they may lie within it.

        Raises
        ------
        ConfigurationError
            If one is: frames of the sky would be taken for calibration frames.
        """
        for path in self.paths():
            if sky.resolve().is_relative_to(path.resolve()):
                raise ConfigurationError(
                    f"folder of calibration frames {path} holds the frames of the sky, {sky}: a folder of its own is "
                    "required, which may lie within that"
                )
        return self.paths()

    def files(self) -> dict[Kind, tuple[Path, ...]]:
        """Files of frames by kind; raises ConfigurationError if a folder or a bad-pixel map does not exist."""
        for _, path in self.maps():
            if not path.is_file():
                raise ConfigurationError(f"bad-pixel map {path} does not exist")
        return {kind: list_calibration_files(folder) if folder else () for kind, folder in self.by_kind().items()}

    def by_kind(self) -> dict[Kind, Path | None]:
        """Folder of each kind of frames; None where it was not given."""
        return {"bias": self.bias, "dark": self.dark, "flat": self.flat}

    def empty(self) -> tuple[str, ...]:
        """One sentence for each folder that was given and holds no frames; raises like `files`."""
        files = self.files()
        return tuple(
            f"folder {folder} holds no {kind} frames: no file ends in .fit, .fits or .fts (or these and .gz or .fz)"
            for kind, folder in self.by_kind().items()
            if folder is not None and not files[kind]
        )

    def refuse_empty(self) -> None:
        """Refuse a folder without frames, for a reduction that no frames can join later.

        Raises
        ------
        ConfigurationError
            If a folder holds none, or does not exist.
        """
        for sentence in self.empty():
            raise ConfigurationError(sentence)

    def missing_masters(self, masters_folder: Path, keys: Iterable[str]) -> tuple[str, ...]:
        """What was given for other keys but not for these, one sentence for each kind of frames.

        Parameters
        ----------
        masters_folder : Path
            Where `save_masters` wrote the masters.
        """
        sentences = []
        for kind, folder in self.by_kind().items():
            without = [
                key for key in sorted(keys) if folder and not _path(masters_folder, _name_of(kind, key), kind).exists()
            ]
            if without:
                sentences.append(f"no {kind} frames of {', '.join(without)} in {folder}: measured without them")
        return tuple(sentences)


def calibration_folders(
    bias: Path | None, dark: Path | None, flat: Path | None, bad_pixels: Sequence[str] | None
) -> CalibrationFolders:
    """Return the folders as the command line gives them, with bad-pixel maps as ``MAP``, ``1=MAP`` or ``1:g=MAP``."""
    maps, maps_of = [], []
    for text in bad_pixels or ():
        name, equals, file = text.partition("=")
        if equals and name and file and not Path(text).exists():
            maps_of.append((name, Path(file)))
        else:
            maps.append(Path(text))
    return CalibrationFolders(bias, dark, flat, tuple(maps), tuple(maps_of))


@dataclass(frozen=True, slots=True)
class NightMasters:
    """All masters of a night.

    Attributes
    ----------
    masters : dict
        By kind and name (camera, or key of a flat).
    bad : dict
        Bad-pixel maps by the camera or key that they hold for, those that were given joined to those that the masters
        show; ``all`` is the one that was given for all cameras.
    """

    masters: dict[tuple[Kind, str], Master] = field(default_factory=dict)
    bad: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


def make_masters(folders: CalibrationFolders, recipe: Recipe) -> NightMasters:
    """Make all masters that the folders allow.

    Raises
    ------
    ConfigurationError
        If a folder does not exist, or a frame in it is not of its kind, shape or binning; one sentence names it.
    """
    made, files = NightMasters(), folders.files()
    read_variance: dict[str, float] = {}
    for kind in _KINDS:  # each needs those before it
        for group in group_calibration_frames(files[kind], kind, recipe.instrument):
            _add_master(made, group, recipe, read_variance)
    for name, path in folders.maps():
        _add_map(made, name, path, recipe)
    return made


def _add_map(made: NightMasters, name: str, path: Path, recipe: Recipe) -> None:
    """Join a bad-pixel map that was given to what is known of the same camera or key."""
    camera, cameras = name.partition(":")[0], recipe.instrument.cameras
    if name != _ALL and camera not in cameras:
        raise ConfigurationError(
            f"bad-pixel map {path} is for {name!r}: {recipe.instrument.name} has the cameras {', '.join(cameras)}"
        )
    given = read_bad_pixels(path, rebin=recipe.calibration.rebin)
    for other, known in made.bad.items():
        if _ALL in (name, other) or other.partition(":")[0] == camera:
            rows, columns = given.shape
            if known.shape != given.shape:
                raise ConfigurationError(
                    f"bad-pixel map {path} has {columns} x {rows} pixels, that of {other} {known.shape[1]} x "
                    f"{known.shape[0]}: those of a camera must be alike"
                )
    known = made.bad.get(name, np.zeros_like(given))
    made.bad[name] = known | given


def _add_master(made: NightMasters, group: CalibrationGroup, recipe: Recipe, read_variance: dict[str, float]) -> None:
    """Make one master, from frames and the masters that are taken off them; bias frames tell the read noise."""
    settings, name = recipe.calibration, group.name
    camera = name.partition(":")[0]
    frames = group.read(recipe.instrument, rebin=settings.rebin)
    bias, dark = made.masters.get(("bias", camera)), made.masters.get(("dark", camera))
    check_fits(frames, group.kind, bias)
    check_fits(frames, group.kind, dark)
    below = Below(bias, dark, settings.zero_level_of(frames[0].facts), read_variance.get(camera))
    if group.kind == "bias":
        made.masters["bias", camera] = make_bias(frames, camera)
        read_variance[camera] = measured_read_variance(frames)
    elif group.kind == "dark":
        made.masters["dark", camera], made.bad[camera] = make_dark(frames, camera, below)
    else:
        made.masters["flat", name], made.bad[name] = make_flat(frames, name, below)


def save_masters(made: NightMasters, folder: Path) -> dict[str, str]:
    """Write all masters, remove those of an earlier night, and return the version of each by its name.

    Raises
    ------
    NightError
        If they cannot be written.
    """
    versions: dict[str, str] = {}
    written = set()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for (kind, name), master in made.masters.items():
            path = _path(folder, name, kind)
            # Not part of the version: masters of earlier nights, which lack it, stay what they are.
            gain = {"OPLGAIN": master.gain_e_per_adu} if math.isfinite(master.gain_e_per_adu) else {}
            versions[f"{kind} {name}"] = _write(path, master.values.astype(">f4"), _cards_of(master), gain)
            written.add(path)
        for name, bad in made.bad.items():
            path = _path(folder, name, _BAD)
            versions[f"bad pixels {name}"] = _write(path, bad.astype(np.uint8), {})
            written.add(path)
        for path in folder.glob(f"*{_SUFFIX}"):
            if path not in written:
                path.unlink()
    except OSError as error:
        raise NightError(f"masters cannot be written to {folder}: {error.strerror}") from error
    return versions


def load_calibration(folder: Path, key: str) -> Calibration | None:
    """Read what calibrates the frames of a key; None if there is nothing.

    The values stay in the file and are read where they are looked at, so that all workers share them.

    Raises
    ------
    NightError
        If a master cannot be read.
    """
    camera = key.partition(":")[0]
    masters: dict[Kind, Master] = {}
    digest = hashlib.sha256()
    for kind in _KINDS:
        path = _path(folder, _name_of(kind, key), kind)
        if path.exists():
            values, header = _read(path)
            masters[kind] = _master_of(kind, values, header, path)
            digest.update(str(header["OPLHASH"]).encode())
    bad: NDArray[np.bool_] | None = None
    for name in (_ALL, camera, key):
        path = _path(folder, name, _BAD)
        if path.exists():
            values, header = _read(path)
            if bad is not None and bad.shape != values.shape:
                raise NightError(f"{path} has another shape than the other bad-pixel maps of {key}")
            bad = values != 0 if bad is None else bad | (values != 0)
            digest.update(str(header["OPLHASH"]).encode())
    if not masters and bad is None:
        return None
    version = digest.hexdigest()[:12]
    return Calibration.of(key, version, masters, bad)


def _name_of(kind: Kind, key: str) -> str:
    """What the master of a key is named after: flats are of a key, bias and dark frames of its camera."""
    return key if kind == "flat" else key.partition(":")[0]


def _path(folder: Path, name: str, kind: str) -> Path:
    return folder / f"{name.replace(':', '-')}_{kind}{_SUFFIX}"


def _cards_of(master: Master) -> dict[str, tuple[str | int | float | bool, str]]:
    units = {"bias": "electron", "dark": "electron / s", "flat": ""}
    return {
        "OPLNAME": (master.name, "key of a flat, camera of bias and dark"),
        "IMGTYPE": (f"master {master.kind}", "kind of this image"),
        "BUNIT": (units[master.kind], "unit of the values"),
        "OPLBIN": (master.binning, "binning"),
        "NCOMBINE": (master.n_frames, "frames that were joined"),
        "OPLEXP": (master.exposure_s, "mean exposure of the frames (s)"),
        "OPLSLOPE": (master.slope, "variance = slope * value + constant"),
        "OPLCONST": (master.constant, "variance = slope * value + constant"),
        "OPLZERO": (master.holds_zero, "no bias was taken off"),
    }


def _write(
    path: Path,
    values: NDArray,
    cards: Mapping[str, tuple[str | int | float | bool, str]],
    unhashed: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """Write an image, with the hash of its values and cards, which is returned."""
    from astropy.io import fits

    digest = hashlib.sha256(np.ascontiguousarray(values).tobytes())
    digest.update(repr(sorted((name, value) for name, (value, _) in cards.items())).encode())
    version = digest.hexdigest()[:12]
    hdu = fits.PrimaryHDU(values)
    for name, card in cards.items():
        hdu.header[name] = card
    hdu.header.update(unhashed)
    hdu.header["OPLHASH"] = (version, "hash of values and settings")
    write_atomically(path, lambda temporary: hdu.writeto(temporary, overwrite=True))
    return version


def _read(path: Path) -> tuple[NDArray, dict[str, object]]:
    from astropy.io import fits

    try:
        with fits.open(path, memmap=True) as hdus:
            values = hdus[0].data
            header = dict(hdus[0].header)
    except (OSError, ValueError, TypeError, IndexError) as error:
        raise NightError(f"master {path} cannot be read: {error}") from error
    if values is None or "OPLHASH" not in header:
        raise NightError(f"master {path} was not written by this program: remove it")
    return np.asarray(values), header


def _master_of(kind: Kind, values: NDArray, header: Mapping[str, object], path: Path) -> Master:
    try:
        return Master(
            kind=kind,
            name=str(header["OPLNAME"]),
            values=values,
            binning=int(str(header["OPLBIN"])),
            n_frames=int(str(header["NCOMBINE"])),
            exposure_s=float(str(header["OPLEXP"])),
            slope=float(str(header["OPLSLOPE"])),
            constant=float(str(header["OPLCONST"])),
            holds_zero=bool(header["OPLZERO"]),
            gain_e_per_adu=float(str(header.get("OPLGAIN", math.nan))),
        )
    except (KeyError, ValueError) as error:
        raise NightError(f"master {path} lacks a keyword or holds a wrong one: {error}") from error
