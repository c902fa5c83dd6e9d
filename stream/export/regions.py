"""The catalog as regions for DS9: image coordinates, which count pixels from 1."""

from __future__ import annotations

from pathlib import Path

from stream.export.night import ExportNight, in_file_names, replace_file, time_fact
from stream.measure.psf import FWHM_PER_SIGMA
from stream.messages import Catalog

_RADIUS_FWHM = 1.5


def write_regions(destination: Path, night: ExportNight, catalog: Catalog) -> Path:
    """Write ``cat/<key>_catalog.reg``: an ellipse of 1.5 FWHM around every source, with its number.

    The target is drawn in cyan, comparison stars in green, others in yellow. Positions are those of the reference
    frame, the first of the catalog.
    """
    choice = night.choices.get(catalog.key)
    target, comparisons = (choice.target, set(choice.comparisons)) if choice else (0, set())
    first = next(by_key[catalog.key] for by_key in night.fluxes.values() if catalog.key in by_key)
    facts = night.facts | {
        "key": catalog.key,
        "catalog": catalog.version,
        "reference frame": catalog.frames[0] if catalog.frames else "unknown",
        "time": f"none in this file; in the light curves {time_fact(first)}",
    }
    lines = ["# Region file format: DS9 version 4.1"]
    lines += [f"# {name}: {' '.join(str(value).splitlines())}" for name, value in facts.items()]
    lines += ['global color=yellow width=1 font="helvetica 10 normal roman" select=1 edit=0 move=0', "image"]
    for index in range(catalog.n_sources):
        number = index + 1
        colour = "cyan" if number == target else "green" if number in comparisons else "yellow"
        axes = [
            _RADIUS_FWHM * FWHM_PER_SIGMA * sigma[index]
            for sigma in (catalog.semi_major_sigma_px, catalog.semi_minor_sigma_px)
        ]
        place = f"{catalog.x[index] + 1.0:.3f},{catalog.y[index] + 1.0:.3f}"
        shape = f"{axes[0]:.3f},{axes[1]:.3f},{catalog.orientation_deg[index]:.2f}"
        lines.append(f"ellipse({place},{shape}) # color={colour} text={{{number}}}")
    path = destination / "cat" / f"{in_file_names(catalog.key)}_catalog.reg"
    replace_file(path, ("\n".join(lines) + "\n").encode("utf-8"))
    return path
