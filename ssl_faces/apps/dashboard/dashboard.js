"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const COLOURS = ["#0065a3", "#d1495b", "#2a9d5c", "#e09f00", "#7a4fb5", "#00838f", "#b5651d",
  "#c2448c", "#5b6770", "#6b8e23"];
const DASHES = ["solid", "dash", "dot", "dashdot"];
const FONT = { family: "system-ui, sans-serif", size: 12, color: "#1b1f24" };
const CONFIG = { responsive: true, displaylogo: false,
  modeBarButtonsToRemove: ["lasso2d", "select2d", "autoScale2d"] };

data.runs.forEach((run, i) => {
  run.colour = COLOURS[i % COLOURS.length];
  run.dash = DASHES[Math.floor(i / COLOURS.length) % DASHES.length];
});

// Which runs are shown: those of the chosen methods whose names have all words.
const methods = [...document.querySelectorAll("#filters button")];
function chosen() {
  const words = $("filter-name").value.toLowerCase().split(/\s+/).filter(Boolean);
  const off = new Set(methods.filter((b) => b.getAttribute("aria-pressed") === "false")
    .map((b) => b.dataset.method));
  return data.runs.filter((run) => !off.has(run.method)
    && words.every((word) => run.name.toLowerCase().includes(word)));
}

// Exponential average with bias correction.
function smoothed(values, weight) {
  let sum = 0;
  let norm = 0;
  return values.map((value) => {
    sum = weight * sum + (1 - weight) * value;
    norm = weight * norm + (1 - weight);
    return sum / norm;
  });
}

function curves(runs) {
  const weight = Number($("smoothing").value);
  for (const plot of document.querySelectorAll("#curves .plot")) {
    const group = plot.dataset.group;
    const metric = document.querySelector(`select[data-group="${group}"]`).value;
    const traces = runs.filter((run) => run.curves[metric]).map((run) => {
      const [steps, values] = run.curves[metric];
      return { type: "scatter", mode: steps.length > 60 ? "lines" : "lines+markers", name: run.name,
        x: steps, y: weight > 0 ? smoothed(values, weight) : values,
        line: { color: run.colour, dash: run.dash, width: 1.8 }, marker: { size: 5 } };
    });
    const log = group === "Losses" && $("logarithm").checked;
    Plotly.react(plot, traces, { font: FONT, height: 320, showlegend: false,
      margin: { l: 56, r: 12, t: 8, b: 44 },
      xaxis: { title: { text: "training step" }, gridcolor: "#e3e7eb", zeroline: false },
      yaxis: { type: log ? "log" : "linear", gridcolor: "#e3e7eb", zeroline: false },
      hovermode: "closest" }, CONFIG);
  }
}

// One legend for all charts.
function legend(runs) {
  $("legend").replaceChildren(...runs.map((run) => {
    const item = document.createElement("li");
    const line = document.createElement("i");
    const text = document.createElement("span");
    const style = { solid: "solid", dash: "dashed", dot: "dotted", dashdot: "double" }[run.dash];
    line.style.borderTop = `4px ${style} ${run.colour}`;
    text.textContent = run.name;
    item.append(line, text);
    return item;
  }));
}

function axis(name, values, setting) {
  const known = values.filter((value) => value !== null && value !== undefined);
  const distinct = [...new Set(known)].sort((a, b) => a - b);
  if (known.every((value) => typeof value === "number")) {
    // The few values of a grid are evenly spaced, so that 0, 1, 10 and 100 stay legible.
    if (setting && distinct.length > 1 && distinct.length <= 6) {
      return { label: name, values: values.map((value) => distinct.indexOf(value)),
        tickvals: distinct.map((_, i) => i),
        ticktext: distinct.map((value) => String(Number(value.toPrecision(4)))) };
    }
    const [low, high] = [Math.min(...known), Math.max(...known)];
    // Numbers over several powers of ten are shown by their logarithms.
    if (low > 0 && high / low > 50) {
      const ticks = [low, Math.sqrt(low * high), high];
      return { label: name, values: values.map(Math.log10), tickvals: ticks.map(Math.log10),
        ticktext: ticks.map((value) => value.toPrecision(2)) };
    }
    const dimension = { label: name, values };
    if (low === high) dimension.range = [low - 0.5, high + 0.5];
    return dimension;
  }
  const texts = [...new Set(values.map(String))].sort();
  return { label: name, values: values.map((value) => texts.indexOf(String(value))),
    tickvals: texts.map((_, i) => i),
    ticktext: texts.map((text) => text.length > 18 ? text.slice(0, 17) + "…" : text),
    range: texts.length === 1 ? [-0.5, 0.5] : undefined };
}

function parallel(runs) {
  const objective = $("objective").value;
  const judged = runs.filter((run) => objective in run.last);
  const enough = judged.length > 1 && data.settings.length > 0;
  $("parallel-frame").hidden = !enough;
  $("parallel-note").textContent = enough
    ? `${judged.length} runs, by the last ${objective}. Drag along an axis to pick a range.`
    : "Two runs that differ in a setting and have this figure are needed for a plot.";
  if (!enough) return;
  const figures = judged.map((run) => run.last[objective]);
  const dimensions = data.settings.map(({ key, name }) =>
    axis(name, judged.map((run) => run.settings[key]), true));
  // Behind the last axis there is no room for a long name.
  dimensions.push(axis(objective.replace(/^online\//, ""), figures, false));
  $("parallel").style.minWidth = `${dimensions.length * 120}px`;
  Plotly.react("parallel", [{ type: "parcoords", dimensions, labelangle: -18,
    labelfont: { size: 12 }, tickfont: { size: 11 },
    line: { color: figures, colorscale: "Viridis", showscale: true,
      colorbar: { thickness: 12, outlinewidth: 0 } } }],
  { font: FONT, height: 400, margin: { l: 70, r: 150, t: 110, b: 24 } }, CONFIG);
}

function importances() {
  data.importances.forEach((one, i) => {
    const names = Object.keys(one.shares).reverse();
    if (!names.length) return;
    const plot = $(`importance-${i}`);
    const height = 70 + 34 * names.length;
    plot.style.height = `${height}px`;
    Plotly.react(plot, [{ type: "bar", orientation: "h", y: names,
      x: names.map((name) => one.shares[name]), marker: { color: COLOURS[0] },
      text: names.map((name) => `${(100 * one.shares[name]).toFixed(0)} %`),
      textposition: "outside", cliponaxis: false, hoverinfo: "none" }],
    { font: FONT, height, margin: { l: 20, r: 50, t: 6, b: 40 }, bargap: 0.35,
      xaxis: { tickformat: ".0%", gridcolor: "#e3e7eb", rangemode: "tozero" },
      yaxis: { automargin: true, ticksuffix: "  " } }, { ...CONFIG, displayModeBar: false });
  });
}

// Images: for each run the last one up to the chosen step.
const steps = [...new Set(data.runs.flatMap((run) => run.panels.map((one) => one.step)))]
  .sort((a, b) => a - b);
function gallery(runs) {
  if (!$("step")) return;
  const step = steps[Number($("step").value)];
  $("step-shown").textContent = `up to step ${step}`;
  const figures = runs.filter((run) => run.panels.length).map((run) => {
    const before = run.panels.filter((one) => one.step <= step);
    const one = before.length ? before[before.length - 1] : run.panels[0];
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const small = document.createElement("small");
    const picture = document.createElement("img");
    caption.textContent = run.name;
    small.textContent = `${run.method}, step ${one.step}`;
    picture.src = one.uri;
    picture.alt = `images of ${run.name} at step ${one.step}`;
    caption.append(small);
    figure.append(caption, picture);
    return figure;
  });
  $("gallery").replaceChildren(...figures);
}

function show() {
  const runs = chosen();
  const names = new Set(runs.map((run) => run.name));
  $("shown").textContent = `${runs.length} of ${data.runs.length} runs`;
  legend(runs);
  curves(runs);
  parallel(runs);
  gallery(runs);
  for (const row of document.querySelectorAll("tr[data-run]")) {
    row.hidden = !names.has(row.dataset.run);
  }
}

for (const select of document.querySelectorAll("select[data-group]")) {
  for (const metric of data.metrics[select.dataset.group]) select.add(new Option(metric));
  if (data.metrics[select.dataset.group].includes(data.objective)) select.value = data.objective;
  select.addEventListener("change", () => curves(chosen()));
}
for (const group of Object.values(data.metrics)) {
  for (const metric of group) $("objective").add(new Option(metric));
}
if (data.objective) $("objective").value = data.objective;
$("objective").addEventListener("change", () => parallel(chosen()));
for (const id of ["smoothing", "logarithm"]) {
  $(id).addEventListener("input", () => curves(chosen()));
}
$("filter-name").addEventListener("input", show);
for (const button of methods) {
  button.addEventListener("click", () => {
    const on = button.getAttribute("aria-pressed") === "true";
    button.setAttribute("aria-pressed", String(!on));
    show();
  });
}
if ($("step")) {
  $("step").max = String(steps.length - 1);
  $("step").value = $("step").max;
  $("step").addEventListener("input", () => gallery(chosen()));
}
// The URL can filter too: dashboard.html#runs=simclr
const filter = decodeURIComponent((location.hash.match(/^#runs=(.+)$/) || ["", ""])[1]);
if (filter) $("filter-name").value = filter;
importances();
show();
