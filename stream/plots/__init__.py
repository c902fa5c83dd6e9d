"""Figures for files. Nothing else imports matplotlib."""

from matplotlib.figure import Figure

from stream.plots.curves import light_curves_figure, power_spectra_figure, raw_light_curves_figure
from stream.plots.fields import catalog_picture, catalogs_figure
from stream.plots.style import save_figure

__all__ = [
    "Figure",
    "catalog_picture",
    "catalogs_figure",
    "light_curves_figure",
    "power_spectra_figure",
    "raw_light_curves_figure",
    "save_figure",
]
