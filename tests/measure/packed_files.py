"""Files of several frames: extensions, cubes and compressed ones, written by astropy."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from astropy.io import fits

CARDS = {
    "DATE-OBS": "2023-11-22",
    "UT": "2023-11-22 03:02:49.000",
    "EXPOSURE": 0.5,
    "FILTER": "g",
    "BINNING": "4x4",
    "GAIN": 2.0,
}


def header(**changes: object) -> fits.Header:
    """Keywords of a frame of OPTICAM-MX; None removes one, `_` stands for `-`."""
    cards = CARDS | {keyword.replace("_", "-"): value for keyword, value in changes.items()}
    return fits.Header({keyword: value for keyword, value in cards.items() if value is not None})


def counts(n_planes: int | None = None, dtype: str = "uint16", seed: int = 3) -> np.ndarray:
    """An image of 24 x 32 pixels, or a cube of them, that fills the range of 16 bits or a part of a wider one."""
    shape = (24, 32) if n_planes is None else (n_planes, 24, 32)
    low, high = {"uint16": (0, 65536), "int16": (-32768, 32768), "uint8": (0, 256)}.get(dtype, (-70000, 70000))
    return np.random.default_rng(seed).integers(low, high, shape).astype(dtype)


def write(path: Path, hdus: Sequence[object]) -> Path:
    """Write HDUs; packed by gzip where the name says so."""
    target = path.with_suffix("") if path.suffix == ".gz" else path
    fits.HDUList(list(hdus)).writeto(target, output_verify="silentfix")
    if target != path:
        path.write_bytes(gzip.compress(target.read_bytes()))
        target.unlink()
    return path


def write_extensions(path: Path, images: dict[str, np.ndarray], *, tiled: bool = False) -> Path:
    """Write an empty primary HDU and an extension for each filter, named after it."""
    kind = fits.CompImageHDU if tiled else fits.ImageHDU
    extensions = [
        kind(image, fits.Header({"FILTER": name}), name=f"CCD-{name.upper()}") for name, image in images.items()
    ]
    return write(path, [fits.PrimaryHDU(header=header(FILTER=None)), *extensions])
