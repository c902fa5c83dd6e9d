// What the page does without its server: the theme is remembered, keys press the buttons that fingers press.
"use strict";

const THEME = "opticam-live-theme";

// At each paint Bokeh writes a style sheet anew for each thing that it paints, asks the browser whether a style sheet has
// a colour for it, and how large the font of the plot is, which takes a new look at the styles of the whole page each
// time: half of the time of a paint. Here a sheet is written when it changes, and colours and sizes come from the theme
// of the plots alone.
const FONT_PX = 13; // of whatever is measured in em: nothing is

function paintWithoutStyling() {
  const of = name => window.Bokeh?.loader?.[`@bokehjs/core/${name}`];
  const visual = of("visuals/visual")?.VisualProperties.prototype, sheet = of("dom")?.InlineStyleSheet.prototype;
  const plot = window.Bokeh?.loader?.["@bokehjs/models/plots/plot_canvas"]?.PlotView.prototype;
  if (!visual || !sheet || !plot) return;
  Object.defineProperty(plot, "base_font_size", {get: () => FONT_PX});
  visual._get_css_value = () => "";
  sheet._update = function (css) { if (this.el.textContent !== css) this.el.textContent = css; };
}

function remembered() {
  try { return localStorage.getItem(THEME); } catch { return null; } // a browser that keeps nothing
}

function useTheme(name) {
  try { localStorage.setItem(THEME, name); } catch { /* the cookie alone then */ }
  // The server draws the plots in these colours from the first picture on, so it has to know.
  document.cookie = `${THEME}=${encodeURIComponent(name)}; path=/; max-age=31536000; samesite=strict`;
}

function model(name) {
  return window.Bokeh?.documents?.[0]?.get_model_by_name(name) ?? null;
}

function press(key) {
  const pause = model("pause"), keys = model("field_key"), click = model("click");
  if (key === " " && pause) pause.active = !pause.active;
  else if (key === "t" && click && !click.disabled) click.active = (click.active + 1) % click.labels.length;
  else if (key >= "1" && key <= "9" && keys && Number(key) <= keys.labels.length) keys.active = Number(key) - 1;
  else if (key === "?") document.getElementById("help").showModal();
  else return false;
  return true;
}

// Buttons in tables are plain HTML, also within the shadow trees of Bokeh: what one says goes to the model that it names.
let nPressed = 0;

function pressed(event) {
  const button = event.composedPath().find(place => place instanceof HTMLElement && place.dataset.press);
  const told = button && model(button.dataset.press);
  if (!told) return;
  window.lastPressed = {press: button.dataset.press, value: button.dataset.value};
  told.value = `${button.dataset.value} ${++nPressed}`;
}

// A server that was started again knows nothing of this page: as soon as there is one the page is loaded anew, with all
// that came meanwhile.
const COME_BACK_MS = 2000, LOOK_FOR_DOCUMENT_MS = 500;

function comeBack() {
  fetch("/healthz", {cache: "no-store"}).then(() => location.reload(), () => setTimeout(comeBack, COME_BACK_MS));
}

function comeBackWhenLost() {
  const shown = window.Bokeh?.documents?.[0];
  if (!shown) { setTimeout(comeBackWhenLost, LOOK_FOR_DOCUMENT_MS); return; }
  let isLost = false;
  shown.on_event("connection_lost", () => {
    if (isLost) return;
    isLost = true;
    document.getElementById("lost").hidden = false;
    setTimeout(comeBack, COME_BACK_MS);
  });
}

// A button that was clicked keeps the focus, but the next space is not meant for it.
let isPointing = false;

function isTyping(event) {
  const place = event.composedPath()[0];
  if (!(place instanceof HTMLElement)) return false;
  return place.matches("input, textarea, select") || place.isContentEditable
    || event.key === " " && place.matches("button") && !isPointing; // whoever came to a button by key presses it
}

paintWithoutStyling();

document.addEventListener("DOMContentLoaded", () => {
  comeBackWhenLost();
  const theme = document.getElementById("theme");
  const kept = remembered();
  if (kept !== null && kept !== theme.value && [...theme.options].some(option => option.value === kept)
      && !document.cookie.includes(`${THEME}=`)) {
    useTheme(kept);
    if (document.cookie.includes(`${THEME}=`)) location.reload();
  }
  theme.addEventListener("change", () => { useTheme(theme.value); location.reload(); });
  const help = document.getElementById("help");
  document.getElementById("help-button").addEventListener("click", () => help.showModal());
  document.addEventListener("click", pressed);
  document.addEventListener("pointerdown", () => { isPointing = true; }, true);
  document.addEventListener("keydown", event => {
    if (event.key === "Tab" || event.key.startsWith("Arrow")) isPointing = false;
    if (event.ctrlKey || event.metaKey || event.altKey || help.open || isTyping(event)) return;
    if (press(event.key)) event.preventDefault();
  });
});
