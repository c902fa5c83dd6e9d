"""How the page looks: three palettes, the theme of the plots and the style of the page. Nothing else holds a colour.

Plots are drawn on canvases, which take their colours from the palette when a page is opened; everything else takes
them from the custom properties of the page (``--panel`` and so on), which reach into the shadow trees of widgets too.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, fields
from html import escape
from typing import Any

FONT = "Inter, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
FONT_SIZE = "12px"
DEFAULT = "dark"


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of one theme; those of keys are distinct to colour-blind eyes, beyond the sixth they start again."""

    name: str
    background: str
    panel: str
    grid: str
    text: str
    faint: str
    accent: str
    comparison: str
    source: str
    good: str
    warning: str
    bad: str
    on_state: str
    """Text on `good`, `warning`, `bad` and `source`."""
    keys: tuple[str, ...]
    picture: tuple[str, str]
    """Darkest and brightest pixel of a picture."""

    def key_colour(self, key: str) -> str:
        """Colour of a key: that of its camera's number, so that it does not depend on which key came first."""
        camera = key.partition(":")[0]
        index = int(camera) - 1 if camera.isdecimal() else zlib.crc32(key.encode())
        return self.keys[index % len(self.keys)]

    def picture_colours(self) -> list[str]:
        """256 colours from the darkest to the brightest pixel."""
        ends = [[int(colour[place : place + 2], 16) for place in (1, 3, 5)] for colour in self.picture]
        steps = [
            [round(low + (high - low) * step / 255) for low, high in zip(*ends, strict=True)] for step in range(256)
        ]
        return ["#" + "".join(f"{part:02x}" for part in parts) for parts in steps]

    def css(self) -> str:
        """Custom properties of the page."""
        colours = [f"--{field.name.replace('_', '-')}: {getattr(self, field.name)};" for field in fields(self)[1:-2]]
        return f":root {{ color-scheme: {'light' if self.name == 'light' else 'dark'}; {' '.join(colours)} }}"


PALETTES = {
    palette.name: palette
    for palette in (
        Palette(
            name="dark",
            background="#0d1117",
            panel="#131a24",
            grid="#263041",
            text="#c9d4e3",
            faint="#8695aa",
            accent="#ffd166",
            comparison="#5ad1c8",
            source="#8ba3c7",
            good="#5fd38d",
            warning="#ffb454",
            bad="#ff7b7b",
            on_state="#0d1117",
            keys=("#58b4ff", "#ff9d5c", "#e787d4", "#9be564", "#ffe066", "#b9a5ff"),
            picture=("#000000", "#ffffff"),
        ),
        Palette(
            name="light",
            background="#eef1f5",
            panel="#ffffff",
            grid="#d3dae4",
            text="#1b2530",
            faint="#566476",
            accent="#7f5200",
            comparison="#0a6e69",
            source="#4a6690",
            good="#1a7238",
            warning="#8f5200",
            bad="#bb2020",
            on_state="#ffffff",
            keys=("#0b63c4", "#b8540a", "#a1308c", "#3f7d0c", "#7d6a00", "#5b45c2"),
            picture=("#ffffff", "#000000"),
        ),
        # For eyes that are used to the dark: red light alone, and little of it.
        Palette(
            name="red",
            background="#080000",
            panel="#110202",
            grid="#3b0e0a",
            text="#f0584a",
            faint="#cc5044",
            accent="#ff8268",
            comparison="#e0523c",
            source="#cf4d3d",
            good="#d8503f",
            warning="#ff7a5c",
            bad="#ff7565",
            on_state="#110202",
            keys=("#ff5a47", "#d8402f", "#ff7d68", "#b8352a", "#f2715f", "#c95648"),
            picture=("#000000", "#ff3b2b"),
        ),
    )
}


def plot_theme(palette: Palette) -> dict[str, Any]:
    """Return the theme of the plots, as bokeh.themes.Theme takes it."""

    def text(prefix: str, colour: str, size: str = "11px") -> dict[str, Any]:
        looks = {"color": colour, "font": FONT, "font_size": size, "font_style": "normal"}
        return {f"{prefix}text_{name}": look for name, look in looks.items()}

    axis = {
        "axis_line_color": palette.grid,
        "major_tick_line_color": palette.grid,
        "minor_tick_line_color": None,
        "axis_label_standoff": 4,
        **text("major_label_", palette.faint),
        **text("axis_label_", palette.faint),
    }
    title = {"standoff": 4, **text("", palette.text, FONT_SIZE)}
    legend = {
        "background_fill_color": palette.panel,
        "background_fill_alpha": 0.7,
        "border_line_color": None,
        **text("label_", palette.faint),
        "padding": 2,
        "spacing": 0,
        "margin": 4,
    }
    plot = {
        "background_fill_color": palette.panel,
        "border_fill_color": palette.panel,
        "outline_line_color": palette.grid,
    }
    grid = {"grid_line_color": palette.grid, "grid_line_alpha": 0.7}
    return {"attrs": {"Plot": plot, "Grid": grid, "Title": title, "Axis": axis, "Legend": legend}}


def hover(*rows: tuple[str, str]) -> str:
    """Return what is said where a point is hovered, as HTML: in lists of its own Bokeh writes the labels in a blue.

    Parameters
    ----------
    rows : tuple of (str, str)
        Label, and value with the names of columns as bokeh takes them; Bokeh escapes what these columns hold.
    """
    cell = "display: table-cell; padding: 1px 4px;"
    lines = "".join(
        f"<div style='display: table-row'><div style='{cell} color: var(--faint)'>{label}</div>"
        f"<div style='{cell} overflow-wrap: anywhere'>{value}</div></div>"
        for label, value in rows
    )
    return f"<div class='hover' style='display: table; font: {FONT_SIZE} {escape(FONT)}'>{lines}</div>"


# On a phone the page scrolls, so that a strip need not share the height of the screen with the others.
STRIP_STYLE = "@media (max-width: 820px) { :host { min-height: 215px !important; } }"
PICTURE_STYLE = "@media (max-width: 820px) { :host { min-height: 420px !important; } }"

# Panels of which one is shown at a time fill the screen's height, or scroll with a phone's page.
PANEL_SHOWN_STYLE = "@media (max-width: 820px) { :host { min-height: 690px !important; flex: 0 0 auto !important; } }"

# Those of several strips and of widgets above them are as long as these need.
STRIPS_SHOWN_STYLE = """
@media (max-width: 820px) { :host { height: auto !important; flex: 0 0 auto !important; overflow: visible; } }
"""

# What is pressed or typed into looks alike, be it of Bokeh, in a table or of the page itself.
_CONTROL = "background: var(--panel); color: var(--text); border: 1px solid var(--grid);"
_CHOSEN = "background: var(--grid); color: var(--accent); border-color: var(--accent); box-shadow: none;"
_FOCUSED = ":focus-visible { outline: 2px solid var(--accent); outline-offset: 1px; }"
_FINGER = "min-height: 40px; min-width: 40px;"

# Widgets live in shadow trees: the rules of the page do not reach them, its custom properties do.
WIDGET_STYLE = f"""
:host {{ color: var(--text); font: {FONT_SIZE} {FONT}; }}
.bk-btn {{ {_CONTROL} font: {FONT_SIZE} {FONT}; padding: 5px 10px; min-height: 28px; }}
.bk-btn:hover {{ background: var(--grid); color: var(--text); border-color: var(--faint); }}
.bk-btn.bk-active, .bk-btn[aria-pressed="true"] {{ {_CHOSEN} }}
.bk-btn-group {{ flex-wrap: wrap; gap: 4px; height: auto; align-content: flex-start; }}
.bk-btn-group > .bk-btn {{ border-radius: 5px; margin: 0; flex: 0 0 auto; align-self: flex-start; }}
.bk-input {{ {_CONTROL} font: {FONT_SIZE} {FONT}; padding: 3px 6px; min-height: 28px; height: 28px; }}
select:not([multiple]).bk-input {{ appearance: none; padding-right: 20px;
  background-repeat: no-repeat; background-size: 5px 5px;
  background-image: linear-gradient(45deg, transparent 50%, var(--faint) 50%),
    linear-gradient(135deg, var(--faint) 50%, transparent 50%);
  background-position: right 11px center, right 6px center; }}
.bk-input::placeholder {{ color: var(--faint); opacity: 1; }}
.bk-btn[disabled], .bk-btn.bk-disabled, .bk-input[disabled], .bk-input.bk-disabled {{
  background-color: var(--panel) !important; color: var(--faint); border-color: var(--grid); opacity: .7;
  cursor: not-allowed; }}
.bk-btn.bk-active[disabled], .bk-btn.bk-active.bk-disabled {{ color: var(--accent); border-color: var(--accent); }}
.bk-input:focus {{ border-color: var(--accent); box-shadow: none; }}
label, .bk-slider-title {{ color: var(--faint); }} {_FOCUSED}
.bk-input-group > label {{ position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }}
.noUi-target {{ background: var(--grid) !important; border: none !important; box-shadow: none !important; }}
.noUi-connect {{ background: var(--source) !important; }}
.noUi-handle {{ background: var(--faint) !important; border-color: var(--grid) !important;
  box-shadow: none !important; }}
@media (pointer: coarse) {{
  .bk-btn, .bk-input {{ {_FINGER} }}
  .noUi-handle::before {{ content: "" !important; display: block !important; position: absolute; inset: -14px;
    background: transparent !important; width: auto !important; height: auto !important; }}
}}
"""

TEXT_STYLE = f"""
:host {{ color: var(--text); font: {FONT_SIZE}/1.45 {FONT}; }}
.health {{ display: flex; flex-wrap: wrap; gap: 4px 18px; align-items: baseline; }}
.state {{ font-weight: 700; padding: 1px 9px; border-radius: 9px; color: var(--on-state); text-transform: uppercase;
  letter-spacing: .04em; }}
.live {{ background: var(--good); }} .stalled {{ background: var(--warning); }} .gone {{ background: var(--bad); }}
.finished {{ background: var(--source); }}
.figure b {{ font-weight: 600; font-variant-numeric: tabular-nums; }}
.figure span, .why {{ color: var(--faint); }}
.bad b {{ color: var(--bad); }} .awaited {{ color: var(--warning); }}
.bad::before, .awaited::before {{ content: "\\25b2\\00a0"; color: inherit; }} .bad::before {{ color: var(--bad); }}
.alerts {{ margin-top: 4px; }} .alert {{ overflow-wrap: anywhere; }} .age, .clock {{ white-space: nowrap; }}
.alert::before {{ content: "\\25b2\\00a0"; color: var(--warning); }} .alert b {{ color: var(--warning); }}
.key {{ font-weight: 700; }} .target {{ color: var(--accent); }} .comparison {{ color: var(--comparison); }}
.problem {{ color: var(--warning); }}
a {{ color: var(--accent); }}
ul {{ margin: 4px 0; padding-left: 1.2em; }} li {{ margin-bottom: 3px; overflow-wrap: anywhere; }}
.keys > div {{ margin-bottom: 6px; overflow-wrap: anywhere; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ text-align: left; padding: 1px 10px 1px 0; vertical-align: top; overflow-wrap: anywhere; }}
th {{ color: var(--faint); font-weight: 400; }}
.scrolls {{ max-height: 38vh; overflow-y: auto; }}
.bk-clearfix {{ width: 100%; }} table.stars, table.photometers {{ width: 100%; }}
.photometers td, .photometers th {{ padding: 2px 8px 2px 0; vertical-align: middle; }}
.photometers button {{ width: 100%; text-align: left; margin: 0; font-size: {FONT_SIZE}; overflow-wrap: anywhere; }}
.photometers .best {{ white-space: nowrap; }}
.stars td, .stars th {{ padding: 1px 6px 1px 0; overflow-wrap: normal; }}
.stars tr.target th, .stars tr.comparison th {{ font-weight: 700; }}
.stars tr.target th {{ color: var(--accent); }} .stars tr.comparison th {{ color: var(--comparison); }}
.stars .reason td {{ color: var(--faint); padding: 0 6px 5px 0; line-height: 1.25; overflow-wrap: anywhere; }}
.stars .take {{ text-align: right; padding-right: 0; white-space: nowrap; }}
button {{ {_CONTROL} border-radius: 5px; font: 11px {FONT}; padding: 2px 6px; min-height: 24px; margin-left: 4px;
  cursor: pointer; }}
button:hover {{ border-color: var(--faint); }}
button[aria-pressed="true"] {{ {_CHOSEN} }}
button:disabled {{ opacity: .5; cursor: default; }} {_FOCUSED}
@media (pointer: coarse) {{ button {{ {_FINGER} padding: 4px 8px; }} }}
@media (max-width: 820px) {{ .stars td, .stars th {{ padding: 3px 8px 3px 0; }} button {{ font-size: 12px; }} }}
"""

PAGE_STYLE = f"""
* {{ box-sizing: border-box; }}
html, body {{ margin: 0; background: var(--background); color: var(--text); font: {FONT_SIZE} {FONT}; }}
body {{ padding: 8px; }}
.night {{ display: grid; gap: 8px; height: calc(100vh - 16px); min-height: 620px;
  grid-template: auto minmax(0, 1fr) / minmax(0, 1.75fr) minmax(0, 1fr) minmax(250px, 21%);
  grid-template-areas: "health health health" "curves middle field"; }}
.panel {{ background: var(--panel); border: 1px solid var(--grid); border-radius: 7px; padding: 6px; min-width: 0;
  min-height: 0; display: flex; flex-direction: column; }}
.panel > div {{ flex: 1 1 auto; min-width: 0; min-height: 0; display: flex; flex-direction: column; }}
.panel > div.line {{ flex: 0 0 auto; }}
.health {{ grid-area: health; flex-direction: row; flex-wrap: wrap; align-items: center; gap: 0 14px; }}
.health > div {{ flex: 0 1 auto; }}
.health > div.line {{ flex: 1 1 320px; }} .health > div.list {{ flex: 1 1 100%; }}
.curves {{ grid-area: curves; overflow: hidden; }} .middle {{ grid-area: middle; overflow: hidden; }}
.field {{ grid-area: field; overflow-y: auto; }}
.health a {{ color: var(--accent); }}
.name {{ margin: 0; font-size: 15px; font-weight: 650; color: var(--text); white-space: nowrap; }}
.chrome button, .chrome select, dialog button {{ {_CONTROL} border-radius: 5px; font: {FONT_SIZE} {FONT};
  padding: 5px 9px; min-height: 28px; }}
.chrome button:hover, .chrome select:hover {{ border-color: var(--faint); }}
.chrome {{ display: flex !important; flex-direction: row !important; gap: 6px; }}
.bk-Tooltip {{ --tooltip-color: var(--panel) !important; --tooltip-text: var(--text) !important;
  --tooltip-border: var(--faint) !important; --tooltip-arrow-color: var(--panel) !important;
  --icon-color: var(--faint) !important; }}
#lost {{ position: fixed; inset: auto 8px 8px 8px; z-index: 10; padding: 10px 16px; border-radius: 7px;
  background: var(--bad); color: var(--on-state); font-weight: 600; }}
dialog {{ background: var(--panel); color: var(--text); border: 1px solid var(--faint); border-radius: 9px;
  padding: 14px 20px; max-width: 460px; line-height: 1.5; }}
dialog::backdrop {{ background: #000a; }}
dialog h2 {{ font-size: 15px; margin: 0 0 8px; }} dialog td {{ padding: 2px 14px 2px 0; vertical-align: top; }}
kbd {{ border: 1px solid var(--faint); border-radius: 4px; padding: 0 6px; color: var(--accent); white-space: nowrap; }}
{_FOCUSED}
main.nights {{ max-width: 900px; margin: 0 auto; }} main.nights table {{ border-collapse: collapse; width: 100%; }}
main.nights th, main.nights td {{ text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--grid); }}
main.nights a {{ color: var(--accent); }} main.nights th {{ color: var(--faint); font-weight: 400; }}
@media (max-width: 820px) {{
  .night {{ height: auto; grid-template: none / minmax(0, 1fr);
    grid-template-areas: "health" "curves" "middle" "field"; }}
  .field {{ overflow-y: visible; }}
}}
@media (pointer: coarse) {{ .chrome button, .chrome select, dialog button {{ {_FINGER} }} }}
"""
