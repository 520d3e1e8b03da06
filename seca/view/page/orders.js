// @ts-check
"use strict";
// Order over training: where each agent stood in the order, and what it contributed, over env steps. A line per unit
// type, the mean of its agents, and a thin one per agent.

const DASHES = ["", "8 4", "2 3", "10 3 2 3", "5 3", "12 5", "1 4"]; // Types are told apart without colours too.
const CHART_HIGH = 300;
const CHART_PAD = { left: 52, right: 130, top: 12, bottom: 40 };

/** @typedef {{env_steps: number[], agents: Agent[], rows: number[][], upside: boolean, what: string}} Chart */

/** @param {Side[]} sides @returns {{root: HTMLElement, draw: (chosen: number) => void}} */
function makeTraining(sides) {
  const root = make("div", { class: "sides" });
  /** @type {((chosen: number) => void)[]} */
  const draws = [];
  for (const { name, orders } of sides) {
    if (orders === null || orders.env_steps.length === 0) continue;
    const label = `Order over training: ${name}`;
    const box = make("section", { class: "orders", "aria-label": label }, make("h2", {}, name));
    const { env_steps, agents } = orders;
    add("Mean place in the order (0 is judged first)", orders.place, true);
    if (orders.contribution !== null) add("Mean contribution", orders.contribution, false);
    root.append(box);

    /** @param {string} what @param {number[][]} rows @param {boolean} upside */
    function add(what, rows, upside) {
      const picture = makeSvg("svg", { class: "chart", role: "img" });
      const figure = make("figure", {}, make("h3", {}, what), picture);
      const chart = { env_steps, agents, rows, upside, what };
      figure.append(make("figcaption", {}, "Over env steps of training. Thick: the mean of all agents of a type; thin:"
        + " each agent; the chosen one is named."), chartTable(chart));
      box.append(figure);
      draws.push((chosen) => drawChart(picture, figure.clientWidth, chart, chosen));
    }
  }
  root.classList.toggle("two", root.children.length > 1);
  return { root, draw: (chosen) => draws.forEach((draw) => draw(chosen)) };
}

/** @param {Agent[]} agents @param {number[][]} rows */
function byType(agents, rows) {
  return [...new Set(agents.map(({ unit }) => unit))].map((unit) => {
    const members = agents.flatMap((agent, i) => agent.unit === unit ? [i] : []);
    const mean = rows.map((row) => members.reduce((sum, i) => sum + row[i], 0) / members.length);
    return { unit, members, mean };
  });
}

/** @param {SVGSVGElement} picture @param {number} width @param {Chart} chart @param {number} chosen */
function drawChart(picture, width, { env_steps, agents, rows, upside, what }, chosen) {
  if (width === 0) return;
  const high = CHART_HIGH, pad = width < 500 ? { ...CHART_PAD, left: 40, right: 88 } : CHART_PAD;
  const [first, last] = [env_steps[0], env_steps[env_steps.length - 1]];
  const values = rows.flat(), least = Math.min(...values, 0), most = Math.max(...values);
  const span = (width - pad.left - pad.right) / Math.max(1, last - first);
  const x = (/** @type {number} */ at) => pad.left + span * (at - first);
  const y = (/** @type {number} */ value) => {
    const share = (value - least) / Math.max(1e-9, most - least);
    return pad.top + (high - pad.top - pad.bottom) * (upside ? share : 1 - share);
  };
  const line = (/** @type {number[]} */ column) => column.map((value, i) =>
    `${i === 0 ? "M" : "L"}${x(env_steps[i]).toFixed(1)} ${y(value).toFixed(1)}`).join("") + "h0";
  const types = byType(agents, rows);
  picture.setAttribute("viewBox", `0 0 ${width} ${high}`);
  picture.setAttribute("aria-label", `${what} over env steps. At the end: `
    + types.map(({ unit, mean }) => `${unit} ${fixed2(mean[mean.length - 1])}`).join(", "));
  picture.replaceChildren(...chartAxes(x, y, [first, last], [least, most], width, pad));
  types.forEach(({ members, mean }, hue) => {
    const group = makeSvg("g", { class: `hue-${hue % 7}` });
    for (const agent of members) {
      const d = line(rows.map((row) => row[agent])), title = makeSvg("title", {}, agents[agent].name);
      group.append(makeSvg("path", { class: agent === chosen ? "one chosen" : "one", d }, title));
    }
    group.append(makeSvg("path", { class: "mean", d: line(mean), "stroke-dasharray": DASHES[hue % DASHES.length] }));
    picture.append(group);
  });
  picture.append(...chartNames(types, width - pad.right + 8, y));
  if (chosen < 0 || chosen >= agents.length) return;
  picture.append(makeSvg("text", { class: "who chosen", x: pad.left + 6, y: y(rows[0][chosen]) - 5 },
    agents[chosen].name));
}

/** Names at the ends of the lines, moved apart where they would lie over each other.
 * @param {ReturnType<typeof byType>} types @param {number} x @param {(value: number) => number} y */
function chartNames(types, x, y) {
  const names = types.map(({ unit, mean }, hue) => ({ unit, hue, at: y(mean[mean.length - 1]) }));
  names.sort((one, other) => one.at - other.at);
  names.forEach((name, i) => { if (i > 0) name.at = Math.max(name.at, names[i - 1].at + 16); });
  return names.map(({ unit, hue, at }) => makeSvg("g", { class: `hue-${hue % 7}` },
    makeSvg("path", { class: "mean", d: `M${x} ${at}h22`, "stroke-dasharray": DASHES[hue % DASHES.length] }),
    makeSvg("text", { class: "who", x: x + 28, y: at + 4 }, unit)));
}

/** @param {(at: number) => number} x @param {(value: number) => number} y @param {number[]} ends
 * @param {number[]} range @param {number} width @param {typeof CHART_PAD} pad */
function chartAxes(x, y, ends, range, width, pad) {
  const low = CHART_HIGH - pad.bottom, made = [];
  for (const value of ticks(range[0], range[1], 6)) {
    made.push(makeSvg("path", { class: "grid", d: `M${pad.left} ${y(value)}H${width - pad.right}` }),
      makeSvg("text", { class: "tick", x: pad.left - 6, y: y(value) + 4, "text-anchor": "end" }, brief(value)));
  }
  for (const at of ticks(ends[0], ends[1], width < 500 ? 3 : 6)) {
    made.push(makeSvg("path", { class: "grid", d: `M${x(at)} ${low}v5` }),
      makeSvg("text", { class: "tick", x: x(at), y: low + 18, "text-anchor": "middle" },
        compact.format(at).replace("K", "k")));
  }
  made.push(makeSvg("text", { class: "tick", x: (pad.left + width - pad.right) / 2, y: CHART_HIGH - 4,
    "text-anchor": "middle" }, "env steps"));
  return made;
}

const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 2 });

/** Round numbers from `low` to `high`. @param {number} low @param {number} high @param {number} count */
function ticks(low, high, count) {
  const rough = Math.max(1e-9, high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const pace = power * ([1, 2, 5].find((times) => times * power >= rough) ?? 10);
  const from = Math.ceil(low / pace - 1e-9);
  return Array.from({ length: Math.floor(high / pace + 1e-9) - from + 1 }, (_, i) => (from + i) * pace);
}

/** @param {Chart} chart */
function chartTable({ env_steps, agents, rows }) {
  const types = byType(agents, rows);
  const top = make("tr", {}, ...["env steps", ...types.map(({ unit }) => unit)].map((text) =>
    make("th", { scope: "col", class: "number" }, text)));
  const body = env_steps.map((at, i) => make("tr", {},
    make("th", { scope: "row", class: "number" }, at.toLocaleString("en-US")),
    ...types.map(({ mean }) => make("td", { class: "number" }, fixed2(mean[i])))));
  const table = make("table", {}, make("thead", {}, top), make("tbody", {}, ...body));
  return make("details", {}, make("summary", {}, "In numbers"),
    make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "In numbers" }, table));
}
