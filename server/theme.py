"""How the page looks: colours, the theme of the plots and the page around them. Nothing else holds a colour."""

from __future__ import annotations

import zlib
from typing import Any

BACKGROUND = "#0d1117"
PANEL = "#131a24"
GRID = "#263041"
TEXT = "#c9d4e3"
FAINT = "#7f8ea3"
ACCENT = "#ffd166"
COMPARISON = "#5ad1c8"
SOURCE = "#8ba3c7"
GOOD, WARNING, BAD = "#5fd38d", "#ffb454", "#ff6b6b"
FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
FONT_SIZE = "12px"

# Distinct to colour-blind eyes, light enough for a dark page; keys beyond the sixth start again.
KEY_COLOURS = ("#58b4ff", "#ff9d5c", "#e787d4", "#9be564", "#ffe066", "#b9a5ff")


def key_colour(key: str) -> str:
    """Colour of a key: that of its camera's number, so that it does not depend on which key came first."""
    camera = key.partition(":")[0]
    index = int(camera) - 1 if camera.isdecimal() else zlib.crc32(key.encode())
    return KEY_COLOURS[index % len(KEY_COLOURS)]


def plot_theme() -> dict[str, Any]:
    """Return the theme of the plots, as bokeh.themes.Theme takes it."""
    axis = {
        "axis_line_color": GRID,
        "major_tick_line_color": GRID,
        "minor_tick_line_color": None,
        "major_label_text_color": FAINT,
        "major_label_text_font": FONT,
        "major_label_text_font_size": "11px",
        "axis_label_text_color": FAINT,
        "axis_label_text_font": FONT,
        "axis_label_text_font_size": "11px",
        "axis_label_text_font_style": "normal",
        "axis_label_standoff": 4,
    }
    return {
        "attrs": {
            "Plot": {
                "background_fill_color": PANEL,
                "border_fill_color": PANEL,
                "outline_line_color": GRID,
            },
            "Grid": {"grid_line_color": GRID, "grid_line_alpha": 0.7},
            "Title": {
                "text_color": TEXT,
                "text_font": FONT,
                "text_font_size": "12px",
                "text_font_style": "normal",
                "standoff": 4,
            },
            "Axis": axis,
        }
    }


# On a phone the page scrolls, so that a strip need not share the height of the screen with the others.
STRIP_STYLE = "@media (max-width: 820px) { :host { min-height: 215px !important; } }"

# Widgets live in shadow trees, which the style of the page does not reach.
WIDGET_STYLE = f"""
:host {{ color: {TEXT}; font: {FONT_SIZE} {FONT}; }}
.bk-btn {{ background: {PANEL}; color: {TEXT}; border: 1px solid {GRID}; font: {FONT_SIZE} {FONT}; padding: 5px 10px; }}
.bk-btn:hover {{ background: {GRID}; color: {TEXT}; border-color: {FAINT}; }}
.bk-btn.bk-active, .bk-btn[aria-pressed="true"] {{
  background: {GRID}; color: {ACCENT}; border-color: {ACCENT}; box-shadow: none;
}}
.bk-btn-group {{ flex-wrap: wrap; gap: 4px; }}
.bk-btn-group > .bk-btn {{ border-radius: 5px; margin: 0; }}
label {{ color: {FAINT}; }}
"""

TEXT_STYLE = f"""
:host {{ color: {TEXT}; font: {FONT_SIZE}/1.45 {FONT}; }}
.health {{ display: flex; flex-wrap: wrap; gap: 4px 18px; align-items: baseline; }}
.state {{ font-weight: 700; padding: 1px 9px; border-radius: 9px; color: {BACKGROUND}; text-transform: uppercase;
  letter-spacing: .04em; }}
.live {{ background: {GOOD}; }} .stalled {{ background: {WARNING}; }} .gone {{ background: {BAD}; }}
.finished {{ background: {SOURCE}; }}
.figure b {{ font-weight: 600; font-variant-numeric: tabular-nums; }}
.figure span, .why {{ color: {FAINT}; }}
.bad b {{ color: {BAD}; }} .awaited {{ color: {WARNING}; }}
.key {{ font-weight: 700; }} .target {{ color: {ACCENT}; }} .comparison {{ color: {COMPARISON}; }}
ul {{ margin: 4px 0; padding-left: 1.2em; }} li {{ margin-bottom: 3px; overflow-wrap: anywhere; }}
.keys > div {{ margin-bottom: 6px; overflow-wrap: anywhere; }}
"""

TOOLTIP_STYLE = f"""
:host {{ background: {BACKGROUND}; color: {TEXT}; border-color: {GRID}; font: {FONT_SIZE} {FONT}; }}
.bk-tooltip-row-label {{ color: {FAINT}; }} .bk-tooltip-row-value {{ color: {TEXT}; }}
"""

PAGE = f"""
{{% macro embed(root) -%}}
<div id="{{{{ root.elementid }}}}" data-root-id="{{{{ root.id }}}}" style="display: contents;"></div>
{{%- endmacro %}}
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="theme-color" content="{BACKGROUND}">
<title>{{{{ title | e }}}}</title>
{{{{ bokeh_css }}}}
{{{{ bokeh_js }}}}
<style>
* {{ box-sizing: border-box; }}
html, body {{ margin: 0; background: {BACKGROUND}; color: {TEXT}; font: {FONT_SIZE} {FONT}; }}
body {{ padding: 8px; }}
.night {{ display: grid; gap: 8px; height: calc(100vh - 16px); min-height: 620px;
  grid-template: auto minmax(0, 1fr) / minmax(0, 1.75fr) minmax(0, 1fr) minmax(250px, 21%);
  grid-template-areas: "health health health" "curves spectra field"; }}
.panel {{ background: {PANEL}; border: 1px solid {GRID}; border-radius: 7px; padding: 6px; min-width: 0; min-height: 0;
  display: flex; flex-direction: column; }}
.panel > div {{ flex: 1 1 auto; min-width: 0; min-height: 0; display: flex; flex-direction: column; }}
.health {{ grid-area: health; flex-direction: row; flex-wrap: wrap; align-items: center; gap: 4px 14px; }}
.health > div {{ flex: 0 1 auto; }}
.health > .line {{ flex: 1 1 320px; }}
.curves {{ grid-area: curves; overflow: hidden; }} .spectra {{ grid-area: spectra; overflow: hidden; }}
.field {{ grid-area: field; overflow-y: auto; }}
.name {{ font-size: 15px; font-weight: 650; color: {TEXT}; white-space: nowrap; }}
@media (max-width: 820px) {{
  .night {{ height: auto; grid-template: none / minmax(0, 1fr);
    grid-template-areas: "health" "curves" "spectra" "field"; }}
  .field {{ overflow-y: visible; }}
}}
</style>
</head>
<body>
<main class="night">
<header class="panel health"><span class="name">{{{{ title | e }}}}</span>
<div class="line">{{{{ embed(roots.health) }}}}</div><div>{{{{ embed(roots.window) }}}}</div></header>
<section class="panel curves" aria-label="relative light curves"><div>{{{{ embed(roots.curves) }}}}</div></section>
<section class="panel spectra" aria-label="power spectra"><div>{{{{ embed(roots.spectra) }}}}</div></section>
<section class="panel field" aria-label="field"><div>{{{{ embed(roots.field) }}}}</div></section>
</main>
{{{{ plot_script | indent(8) }}}}
</body>
</html>
"""
