"""Pictures of how a night went and how well it was measured, in ``OUT/diag``.

::

    header_times.pdf                    time between frames
    background.pdf                      background over the night
    psf.png, alignment.png              sharpness and tracking over the night
    <label>_rms_vs_median.pdf           scatter against flux, with the fitted noise floor
    <label>_signal_to_noise.png
    <label>_noise_budget.png            what the noise is made of
    growth.png                          curves of growth
    <key>_apertures.png                 apertures and annuli on the reference frame
    <key>_aligned.gif, <key>_target.gif films of aligned frames and of the target

PDF where the seed tutorial has it, PNG where one looks quickly, GIF for films. Each ``write_<name>(out)`` writes one of
them and returns its path, or the paths of all keys; it raises AnalysisError with a sentence where the night does not
have what the picture needs.
"""

from stream.diagnostics.budget import write_noise_budget
from stream.diagnostics.conditions import write_alignment, write_background, write_header_times, write_psf
from stream.diagnostics.everything import Diagnosis, write_all
from stream.diagnostics.pictures import write_aligned_films, write_apertures, write_target_films
from stream.diagnostics.scatter import (
    write_growth_curves,
    write_rms_vs_median,
    write_signal_to_noise,
)

__all__ = [
    "Diagnosis",
    "write_aligned_films",
    "write_alignment",
    "write_all",
    "write_apertures",
    "write_background",
    "write_growth_curves",
    "write_header_times",
    "write_noise_budget",
    "write_psf",
    "write_rms_vs_median",
    "write_signal_to_noise",
    "write_target_films",
]
