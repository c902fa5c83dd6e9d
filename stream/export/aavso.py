"""Relative light curves in the AAVSO Extended File Format, version 1.2, ready for upload (WebObs).

Magnitudes are differential (``MTYPE`` DIF), instrumental and not transformed. Times are geocentric JD in UTC, middle
of the exposure: the format knows no barycentric times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stream.analysis.relative import RelativeLightCurve
from stream.errors import ConfigurationError
from stream.export.night import ExportNight, in_file_names, replace_file
from stream.flags import DOUBTFUL
from stream.messages import FloatArray, SourceFluxes

BANDS = frozenset(
    "U,B,V,R,I,J,H,K,TG,TB,TR,CV,CR,SZ,SU,SG,SR,SI,STU,STV,STB,STY,STHBW,STHBN,MA,MB,MI,ZS,Y,HA,HAC".split(",")  # noqa: SIM905
)
"""Filters of the format; its "O" (other) is not accepted on upload at present."""
_BAND_OF_FILTER = {
    **{band: band for band in BANDS},
    **{"u": "SU", "g": "SG", "r": "SR", "i": "SI", "z": "SZ"},
    **{"u'": "SU", "g'": "SG", "r'": "SR", "i'": "SI", "z'": "SZ", "zs": "ZS", "y": "Y"},
    **dict.fromkeys(("clear", "Clear", "CLEAR", "C", "L", "none", "None"), "CV"),
    **{"Ha": "HA", "Halpha": "HA"},
}
_LONGEST_STAR, _LONGEST_CODE = 30, 5
_JD_OF_MJD = 2400000.5
_POGSON = 2.5
_LARGEST_MAG, _LARGEST_ERROR = 99.0, 9.9999
_NOT_AVAILABLE = "na"
FIELDS = "NAME,DATE,MAG,MERR,FILT,TRANS,MTYPE,CNAME,CMAG,KNAME,KMAG,AMASS,GROUP,CHART,NOTES"


@dataclass(frozen=True, slots=True)
class AavsoOptions:
    """What the AAVSO asks for and no frame tells.

    Attributes
    ----------
    observer : str
        AAVSO observer code.
    star : str
        Name, designation or unique identifier (AUID) of the target; at most 30 characters.
    band : str or None
        Filter of the format for all keys; None takes it from the filter of each key: ``g`` is SG, no filter CV.

    Raises
    ------
    ConfigurationError
        If one is missing or not what the format takes.
    """

    observer: str
    star: str
    band: str | None = None

    def __post_init__(self) -> None:
        """Refuse what an upload would be refused for."""
        if not (self.observer.isascii() and self.observer.isalnum() and len(self.observer) <= _LONGEST_CODE):
            raise ConfigurationError(
                f"observer {self.observer!r}: the AAVSO format requires the observer code that the AAVSO gave, "
                f"up to {_LONGEST_CODE} letters and digits"
            )
        plain = self.star.isascii() and self.star.isprintable() and not set(self.star) & set(",#|")
        if not (plain and 0 < len(self.star.strip()) <= _LONGEST_STAR):
            raise ConfigurationError(
                f"star {self.star!r}: the AAVSO format requires the name of the target, at most {_LONGEST_STAR} plain "
                "characters without ',', '#' and '|'"
            )
        if self.band is not None and self.band not in BANDS:
            raise ConfigurationError(f"band {self.band!r} is not one of the AAVSO format: {', '.join(sorted(BANDS))}")


def write_aavso(destination: Path, night: ExportNight, curve: RelativeLightCurve, options: AavsoOptions) -> Path:
    """Write one relative light curve; points without a flux or with a doubtful flag are left out, and counted.

    The magnitude is ``-2.5 log10`` of the flux of the target over the sum of its comparison stars, their weighted
    ensemble scaled to the sum of their median fluxes; its error is ``2.5 / ln 10`` times the relative error of the
    flux.

    Raises
    ------
    ConfigurationError
        If the filter of the key is not one of the format and none was given.
    """
    band = _band(curve.key, options)
    use = np.isfinite(curve.flux) & np.isfinite(curve.flux_err) & (curve.flux > 0.0)
    use &= (curve.flags & int(DOUBTFUL)) == 0
    head = _head(night, curve, options, n_left_out=int((~use).sum()))
    rows = _rows(night, curve, use, star=options.star.strip(), band=band)
    name = f"{curve.label}_source_{curve.target}_{in_file_names(curve.key)}"
    path = destination / "aavso" / f"{name}.txt"
    replace_file(path, ("\n".join([*head, *rows]) + "\n").encode("ascii", "backslashreplace"))
    return path


def _band(key: str, options: AavsoOptions) -> str:
    if options.band is not None:
        return options.band
    name = key.partition(":")[2]
    if name not in _BAND_OF_FILTER:
        raise ConfigurationError(
            f"filter {name!r} of {key} is not one of the AAVSO format: --band names the one that comes nearest"
        )
    return _BAND_OF_FILTER[name]


def _head(night: ExportNight, curve: RelativeLightCurve, options: AavsoOptions, *, n_left_out: int) -> list[str]:
    shares = ", ".join(
        f"{number} ({share:.3f})" for number, share in zip(curve.comparisons, curve.weights, strict=True)
    )
    comments = [
        *(f"{name}: {value}" for name, value in night.facts.items()),
        f"key: {curve.key}; photometer: {curve.label}; source: {curve.target}",
        f"comparison stars (weights): {shares}",
        "time: JD in UTC, middle of the exposure, not corrected to the sun or the barycentre",
        "magnitudes: instrumental, target over the sum of its comparison stars; errors without scintillation",
        f"{n_left_out} points without a flux or with a flag that makes them doubtful are left out",
    ]
    return [
        "#TYPE=EXTENDED",
        f"#OBSCODE={options.observer}",
        f"#SOFTWARE={night.facts['software']}",
        "#DELIM=,",
        "#DATE=JD",
        "#OBSTYPE=CCD",
        *(f"# {' '.join(comment.splitlines())}" for comment in comments),
        f"#{FIELDS}",
    ]


def _rows(
    night: ExportNight, curve: RelativeLightCurve, use: NDArray[np.bool_], *, star: str, band: str
) -> Iterator[str]:
    fluxes = night.fluxes[curve.label][curve.key]
    magnitude = _zero_point(fluxes, curve, use) - _POGSON * np.log10(np.where(use, curve.flux, 1.0))
    with np.errstate(invalid="ignore", divide="ignore"):
        error = _POGSON / math.log(10.0) * curve.flux_err / curve.flux
    comparison = _comparison(fluxes, curve)
    for index in np.flatnonzero(use):
        cells = (
            star,
            f"{_JD_OF_MJD + curve.time_mjd_utc[index]:.8f}",
            _number(magnitude[index], 4, _LARGEST_MAG),
            _number(error[index], 4, _LARGEST_ERROR),
            band,
            "NO",
            "DIF",
            comparison[0],
            _number(comparison[1][index], 3, _LARGEST_MAG),
            _NOT_AVAILABLE,
            _NOT_AVAILABLE,
            _number(fluxes.airmass[index], 4, _LARGEST_MAG),
            _NOT_AVAILABLE,
            _NOT_AVAILABLE,
            f"key {curve.key} source {curve.target}",
        )
        yield ",".join(cells)


def _zero_point(fluxes: SourceFluxes, curve: RelativeLightCurve, use: NDArray[np.bool_]) -> float:
    """Magnitude of the target over the sum of its comparison stars at relative flux 1; 0 where that is unknown."""
    with np.errstate(invalid="ignore", divide="ignore"):
        levels = fluxes.flux[use] / curve.transparency[use, None]
    columns = [curve.target - 1, *(number - 1 for number in curve.comparisons)]
    medians = [
        float(np.median(level[np.isfinite(level)])) for level in levels[:, columns].T if np.isfinite(level).any()
    ]
    if len(medians) < len(columns) or min(medians[0], sum(medians[1:])) <= 0.0:
        return 0.0
    return -_POGSON * math.log10(medians[0] / sum(medians[1:]))


def _comparison(fluxes: SourceFluxes, curve: RelativeLightCurve) -> tuple[str, FloatArray]:
    """CNAME, and CMAG for each frame: the instrumental magnitude of a single comparison star, unknown for several."""
    unknown = np.full(len(fluxes.frame_ids), np.nan)
    if len(curve.comparisons) > 1:
        return "ENSEMBLE", unknown
    number = curve.comparisons[0]
    with np.errstate(invalid="ignore", divide="ignore"):
        rate = fluxes.flux[:, number - 1] / fluxes.exposure_s
        return f"source {number}", np.where(rate > 0.0, -_POGSON * np.log10(rate), unknown)


def _number(value: float, decimals: int, largest: float) -> str:
    return f"{value:.{decimals}f}" if abs(value) <= largest else _NOT_AVAILABLE
