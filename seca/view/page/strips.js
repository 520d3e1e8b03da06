// @ts-check
"use strict";
// Over time: a strip of credit per agent, and below it value, return and TD error, all on one step axis. Painted once
// per size and colours; the step and the agent of the moment are marked by two boxes laid over it.

/**
 * @typedef {{name: string, values: Numbers | Float64Array, bars: boolean, least: number, most: number}} Lane
 *
 * @typedef {object} Strips
 * @property {Episode} episode
 * @property {number} horizon Steps of the axis: those of the longer side.
 * @property {HTMLElement} root
 * @property {HTMLCanvasElement} canvas
 * @property {HTMLElement} scroller
 * @property {HTMLElement} column Over the step.
 * @property {HTMLElement} row Over the agent.
 * @property {HTMLElement[]} labels Of agents.
 * @property {Lane[]} lanes
 * @property {number} head Pixels above the first agent.
 * @property {number} high Pixels per agent.
 * @property {number} wide Pixels per step.
 * @property {number} room Pixels that are seen of the axis.
 */

const LANE = 56, GAP = 10, AXIS = 22; // Pixels of a lane, above each, and of the axis.
const WIDEST = 16_000; // Pixels that every browser gives a canvas.
const EDGE = 3; // Pixels around the strips, in which the mark of the moment is seen.
const THINNEST = 4, THICKEST = 64; // Pixels of a step: below the first the strips are moved sideways in their box.

/** @param {Episode} episode @param {number} horizon @param {(step: number, agent: number | null) => void} choose
 * @returns {Strips} */
function makeStrips(episode, horizon, choose) {
  const canvas = make("canvas", { class: "strip", role: "img", "aria-label": stripsInWords(episode) });
  const column = make("div", { class: "column" }), row = make("div", { class: "row" });
  const scroller = make("div", { class: "scroller" }, make("div", { class: "inner" }, canvas, row, column));
  const gutter = make("div", { class: "gutter", "aria-hidden": "true" });
  const high = episode.n <= 10 ? 24 : episode.n <= 20 ? 20 : 16;
  const head = episode.truthAt.size > 0 ? 18 : 2;
  const lanes = lanesOf(episode);
  const style = `height: ${high}px; line-height: ${high}px`;
  const labels = episode.agents.map((agent) => make("div", { style }, agent.name));
  gutter.append(make("div", { class: "head", style: `height: ${head}px` }, head > 2 ? "truth" : ""), ...labels);
  for (const lane of lanes) gutter.append(laneLabel(lane));
  gutter.append(make("div", { style: `height: ${AXIS}px` }, "step"));
  const root = make("div", { class: "strips" }, gutter, scroller);
  const strips = { episode, horizon, root, canvas, scroller, column, row, labels, lanes, head, high, wide: THINNEST,
    room: 0 };
  labels.forEach((label, agent) => label.addEventListener("click", () => choose(-1, agent)));
  listen(strips, choose);
  return strips;
}

/** @param {Episode} episode @returns {Lane[]} */
function lanesOf(episode) {
  const { value, error } = episode.arrays;
  const found = [
    { name: "return", values: episode.returns, bars: false },
    ...(value === undefined ? [] : [{ name: "value", values: value, bars: false }]),
    ...(error === undefined ? [] : [{ name: "TD error", values: error, bars: true }]),
  ];
  return found.map((lane) => {
    const [least, most] = [Math.min(0, ...lane.values), Math.max(0, ...lane.values)];
    return { ...lane, least, most: most > least ? most : least + 1 };
  });
}

/** @param {Lane} lane */
function laneLabel({ name, least, most }) {
  const range = make("small", {}, `${brief(least)} to ${brief(most)}`);
  return make("div", { class: "lane", style: `height: ${LANE}px; margin-top: ${GAP}px` }, name, range);
}

/** @param {number} value */
const brief = (value) => Math.abs(value) >= 100 ? value.toFixed(0) : Number(value.toPrecision(2)).toString();

/** @param {Strips} strips @param {(step: number, agent: number | null) => void} choose */
function listen(strips, choose) {
  const { canvas, episode } = strips;
  const spot = (/** @type {PointerEvent} */ event) => {
    const row = Math.floor((event.offsetY - strips.head) / strips.high);
    return { step: clamp(Math.floor(event.offsetX / strips.wide), 0, episode.steps - 1),
      agent: row >= 0 && row < episode.n ? row : null };
  };
  canvas.addEventListener("pointerdown", (event) => {
    const { step, agent } = spot(event);
    choose(step, agent);
  });
  canvas.addEventListener("pointermove", (event) => {
    const { step, agent } = spot(event);
    if (event.pointerType === "mouse" && event.buttons === 1) choose(step, null);
    canvas.title = agent === null ? `step ${step}` : cellInWords(episode, step, agent);
  });
}

/** @param {Episode} episode @param {number} step @param {number} agent */
function cellInWords(episode, step, agent) {
  const at = step * episode.n + agent, measured = truthOf(episode, step, agent);
  const choice = episode.choice[at] === 1 ? actionText(episode, step, agent) : "no choice";
  const truth = measured === null ? "" : `, true credit ${fixed3(measured.truth)} ± ${fixed3(measured.error)}`
    + (measured.opposed ? ": opposite sign" : "");
  return `step ${step}, ${episode.agents[agent].name}: ${choice}, credit ${fixed3(episode.arrays.credit[at])}${truth}`;
}

/** Fit into the box, and paint. @param {Strips} strips */
function fitStrips(strips) {
  const { canvas, scroller, horizon, episode, lanes, head, high } = strips;
  const room = strips.room = scroller.clientWidth - 2 * EDGE;
  if (room <= 0) return;
  const ratio = Math.min(window.devicePixelRatio, 2);
  const least = Math.min(THINNEST, WIDEST / ratio / horizon);
  strips.wide = clamp(Math.floor(8 * room / horizon) / 8, least, THICKEST);
  const width = Math.floor(strips.wide * horizon);
  const height = head + episode.n * high + lanes.length * (LANE + GAP) + AXIS;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const brush = brushOf(canvas);
  brush.scale(ratio, ratio);
  const ink = inks(strips.root);
  paintCredit(strips, brush, ink);
  paintTruth(strips, brush, ink);
  lanes.forEach((lane, index) => paintLane(strips, brush, ink, lane, lanesTop(strips) + index * (LANE + GAP) + GAP));
  paintAxis(strips, brush, ink, height - AXIS);
}

/** @param {Strips} strips */
const lanesTop = ({ head, episode, high }) => head + episode.n * high;

/** Colours of the page as a canvas takes them. @param {HTMLElement} root @returns {Record<string, string>} */
function inks(root) {
  const probe = make("i");
  root.append(probe);
  const found = Object.fromEntries(["gain", "loss", "ink", "soft", "rule", "raised"].map((name) => {
    probe.style.color = `var(--${name})`;
    return [name, getComputedStyle(probe).color];
  }));
  probe.remove();
  return found;
}

/** Stripes: what is below zero is told by more than its colour and place. @param {CanvasRenderingContext2D} brush
 * @param {string} colour */
function stripes(brush, colour) {
  const tile = make("canvas", { width: 4, height: 4 }), paint = brushOf(tile);
  paint.fillStyle = colour;
  paint.fillRect(0, 0, 4, 2);
  paint.globalAlpha = 0.45;
  paint.fillRect(0, 2, 4, 2);
  return brush.createPattern(tile, "repeat") ?? colour;
}

/** Up for above zero, down and striped for below; as long as large. @param {Strips} strips
 * @param {CanvasRenderingContext2D} brush @param {Record<string, string>} ink */
function paintCredit(strips, brush, ink) {
  const { episode, wide, high, head } = strips, { credit } = episode.arrays, striped = stripes(brush, ink.loss);
  const narrow = wide - (wide >= 6 ? 1 : 0), half = high / 2 - 1.5;
  brush.font = "bold 10px system-ui, sans-serif";
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  for (let agent = 0; agent < episode.n; agent += 1) {
    const top = head + agent * high, middle = top + high / 2;
    for (let step = 0; step < episode.steps; step += 1) {
      const at = step * episode.n + agent, value = credit[at], x = step * wide;
      const size = Math.min(1, Math.abs(value) / episode.full), up = value > 0;
      brush.globalAlpha = episode.choice[at] === 1 ? 0.03 + 0.33 * size : 0.03;
      brush.fillStyle = value === 0 || episode.choice[at] === 0 ? ink.soft : up ? ink.gain : ink.loss;
      brush.fillRect(x, top + 1, narrow, high - 2);
      brush.globalAlpha = episode.choice[at] === 1 ? 1 : 0.35;
      brush.fillStyle = up ? ink.gain : striped;
      brush.fillRect(x, up ? middle - size * half : middle, narrow, size * half);
      if (wide < 11 || high < 20 || size < 0.15) continue;
      brush.fillStyle = ink.ink;
      brush.fillText(up ? "+" : "−", x + narrow / 2, up ? middle + half / 2 + 1 : middle - half / 2);
    }
    paintRow(strips, brush, ink, agent, middle);
  }
}

/** The middle line, and where the agent fell. @param {Strips} strips @param {CanvasRenderingContext2D} brush
 * @param {Record<string, string>} ink @param {number} agent @param {number} middle */
function paintRow({ episode, wide, high, head, horizon }, brush, ink, agent, middle) {
  brush.globalAlpha = 1;
  brush.fillStyle = ink.rule;
  brush.fillRect(0, middle - 0.5, episode.steps * wide, 1);
  brush.fillRect(0, head + (agent + 1) * high - 0.5, horizon * wide, 0.5);
  const step = episode.lost[agent];
  if (step === null) return;
  const x = (step + 0.5) * wide, arm = Math.min(5, high / 3);
  for (const [colour, width] of /** @type {[string, number][]} */ ([[ink.raised, 5], [ink.ink, 2]])) {
    brush.strokeStyle = colour;
    brush.lineWidth = width;
    brush.beginPath();
    for (const side of [-1, 1]) {
      brush.moveTo(x - arm, middle - side * arm);
      brush.lineTo(x + arm, middle + side * arm);
    }
    brush.stroke();
  }
}

/** Above, which steps were measured, filled where a sign is wrong; in the cells the true credit, and a frame around
 * those of the wrong sign. @param {Strips} strips @param {CanvasRenderingContext2D} brush
 * @param {Record<string, string>} ink */
function paintTruth({ episode, wide, high, head }, brush, ink) {
  for (const step of episode.truthAt.keys()) {
    const x = step * wide;
    let wrong = false;
    for (let agent = 0; agent < episode.n; agent += 1) {
      const measured = truthOf(episode, step, agent), top = head + agent * high;
      if (measured === null) continue;
      const level = clamp(measured.truth / episode.full, -1, 1) * (high / 2 - 1.5);
      brush.fillStyle = ink.ink;
      brush.fillRect(x + wide * 0.15, top + high / 2 - level - 1, wide * 0.7, 2);
      if (!measured.opposed) continue;
      wrong = true;
      brush.strokeStyle = ink.ink;
      brush.lineWidth = 1.5;
      brush.strokeRect(x - 1, top + 1, wide + 1, high - 2);
    }
    diamond(brush, x + wide / 2, head / 2, 5, ink, wrong);
  }
}

/** @param {CanvasRenderingContext2D} brush @param {number} x @param {number} y @param {number} reach
 * @param {Record<string, string>} ink @param {boolean} filled */
function diamond(brush, x, y, reach, ink, filled) {
  brush.beginPath();
  for (const [dx, dy] of [[0, -1], [1, 0], [0, 1], [-1, 0]]) brush.lineTo(x + dx * reach, y + dy * reach);
  brush.closePath();
  brush.strokeStyle = brush.fillStyle = ink.ink;
  brush.lineWidth = 1.25;
  brush.stroke();
  if (filled) brush.fill();
}

/** @param {Strips} strips @param {CanvasRenderingContext2D} brush @param {Record<string, string>} ink
 * @param {Lane} lane @param {number} top */
function paintLane({ episode, wide, horizon }, brush, ink, lane, top) {
  const level = (/** @type {number} */ value) => top + LANE - 3 - (value - lane.least) / (lane.most - lane.least)
    * (LANE - 6);
  brush.fillStyle = ink.raised;
  brush.fillRect(0, top, horizon * wide, LANE);
  brush.fillStyle = ink.rule;
  brush.fillRect(0, level(0) - 0.5, horizon * wide, 1);
  if (lane.bars) {
    const striped = stripes(brush, ink.loss);
    lane.values.forEach((value, step) => {
      brush.fillStyle = value > 0 ? ink.gain : striped;
      brush.fillRect(step * wide, Math.min(level(value), level(0)), wide - (wide >= 6 ? 1 : 0),
        Math.abs(level(value) - level(0)));
    });
    return;
  }
  brush.strokeStyle = ink.ink;
  brush.lineWidth = 1.75;
  brush.lineJoin = "round";
  brush.beginPath();
  for (let step = 0; step < episode.steps; step += 1) brush.lineTo((step + 0.5) * wide, level(lane.values[step]));
  brush.stroke();
}

/** @param {Strips} strips @param {CanvasRenderingContext2D} brush @param {Record<string, string>} ink
 * @param {number} top */
function paintAxis({ episode, wide, horizon }, brush, ink, top) {
  const pace = [1, 2, 5, 10, 20, 50, 100, 200, 500].find((steps) => steps * wide >= 36) ?? 1000;
  brush.font = "11px system-ui, sans-serif";
  brush.textAlign = "center";
  brush.textBaseline = "top";
  brush.fillStyle = ink.soft;
  for (let step = 0; step < horizon; step += pace) {
    const x = (step + 0.5) * wide;
    brush.fillRect(x - 0.5, top, 1, 4);
    brush.fillText(String(step), Math.max(x, 4), top + 6);
  }
  if (episode.steps === horizon) return;
  brush.fillRect(episode.steps * wide, 0, 1, top);
}

/** Mark the moment; `step` and `agent` may be -1. @param {Strips} strips @param {number} step @param {number} agent */
function markStrips(strips, step, agent) {
  const { column, row, scroller, wide, high, head, labels, horizon, room } = strips;
  column.style.left = `${step * wide}px`;
  column.style.width = `${wide}px`;
  column.style.bottom = `${AXIS}px`;
  row.hidden = agent < 0;
  row.style.top = `${head + agent * high}px`;
  row.style.height = `${high}px`;
  labels.forEach((label, index) => label.classList.toggle("chosen", index === agent));
  if (wide * horizon <= room) return;
  const x = step * wide - scroller.scrollLeft;
  if (x < 0 || x + wide > room) scroller.scrollLeft = step * wide - room / 3;
}

/** What the strips show, for who does not see them; the table below them has the numbers. @param {Episode} episode */
function stripsInWords(episode) {
  const { lost } = episode;
  const fallen = episode.agents.flatMap(({ name }, i) => lost[i] === null ? [] : `${name} at ${lost[i]}`);
  return `Credit of ${episode.n} agents over ${episode.steps} steps, return, value and TD error. `
    + (fallen.length === 0 ? "Nobody falls." : `Fell: ${fallen.join(", ")}.`);
}

/** Sum and extremes of each agent's credit. @param {Episode} episode */
function stripsTable(episode) {
  const { credit } = episode.arrays, { n, steps } = episode;
  const rows = episode.agents.map(({ name }, agent) => {
    const own = Array.from({ length: steps }, (_, step) => credit[step * n + agent]);
    const [most, least] = [Math.max(...own), Math.min(...own)];
    const sum = own.reduce((total, value) => total + value, 0);
    const cells = [fixed3(sum), `${fixed3(most)} at ${own.indexOf(most)}`, `${fixed3(least)} at ${own.indexOf(least)}`,
      episode.lost[agent] === null ? "–" : String(episode.lost[agent])];
    return make("tr", {}, make("th", { scope: "row" }, name),
      ...cells.map((text) => make("td", { class: "number" }, text)));
  });
  const fall = episode.told.picture?.type === "battle" ? "died at" : "no choice from";
  const heads = ["agent", "sum of credit", "most, at step", "least, at step", fall];
  const top = make("tr", {}, ...heads.map((text, i) =>
    make("th", { scope: "col", class: i > 0 ? "number" : "" }, text)));
  const table = make("table", {}, make("thead", {}, top), make("tbody", {}, ...rows));
  return make("details", {}, make("summary", {}, "The strips in numbers"),
    make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "The strips in numbers" }, table));
}
