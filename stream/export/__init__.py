"""What a night leaves for other programs: light curves, regions and figures.

::

    lcs/<label>/<key>_source_<n>.csv                                       raw light curve of every source
    relative_light_curves/<label>_source_<n>_<key>_light_curve.csv         the target over its comparison stars
    plots/<label>_light_curves.png, plots/<label>_power_spectra.png
    cat/<key>_catalog.reg                                                  the catalog for DS9
    aavso/<label>_source_<n>_<key>.txt                                     on demand

``<key>`` is written ``1-g``. Every file says what made it, by which recipe, and in which scale its times are.
"""

from stream.analysis.apertures import QUIETEST
from stream.export.aavso import AavsoOptions
from stream.export.night import ExportOptions
from stream.export.outputs import FORMATS, export_night, write_outputs

__all__ = ["FORMATS", "QUIETEST", "AavsoOptions", "ExportOptions", "export_night", "write_outputs"]
