// @ts-check
"use strict";
// Why this credit: the prefix values F_0 .. F_n of a step as a staircase in the order of evaluation (Zang et al. 2023,
// Eq. 5); credits sorted by size where there is no such order.

const STEP_HIGH = 22, LETTER = 7, VALUES_WIDE = 84; // Pixels of a row, of a letter, and of the values at the right.
/** @type {Record<string, string>} */
const NO_ORDER = {
  sequential: "The order of this step is not recorded. Credits from the largest to the smallest.",
  counterfactual: "This method has no order: each agent is judged by itself, against what else it might have done."
    + " Credits from the largest to the smallest.",
  independent: "This method has no order: each agent is judged by itself. Credits from the largest to the smallest.",
  shapley: "This method has no single order: a credit is a mean over many. Credits from the largest to the smallest.",
  shared: "This method has no order, and no credit of an agent's own: all agents are told the same.",
};

/** @typedef {{agent: number, from: number, to: number, name: string, value: string}} Stair */

/** @param {Episode} episode @param {Choose} choose */
function makeStairs(episode, choose) {
  const ordered = episode.told.kind === "sequential" && episode.place !== null;
  const picture = makeSvg("svg", { class: ordered ? "stairs" : "sorted", role: "img" });
  const says = make("p", { class: "told" }), box = make("div", { class: "stairs-box" }, picture);
  const title = "Why this credit";
  const root = make("section", { class: "why", "aria-label": title }, make("h3", {}, title), says, box);
  picture.addEventListener("click", (event) => {
    const row = event.target instanceof Element ? event.target.closest("[data-agent-of]") : null;
    if (row !== null) choose(-1, Number(row.getAttribute("data-agent-of")));
  });
  let width = 0, last = [0, -1]; // Measured when it changes: to ask at each step would lay out the page twice.
  const show = (/** @type {number} */ step, /** @type {number} */ chosen) => {
    last = [step, chosen];
    const stairs = ordered ? prefixes(episode, step) : sorted(episode, step);
    says.textContent = ordered ? stairsInWords(episode, step, stairs)
      : NO_ORDER[episode.told.kind] ?? NO_ORDER.independent;
    picture.setAttribute("aria-label", `${ordered ? "Prefix values in the order of evaluation" : "Credits"}: `
      + stairs.map((stair) => `${stair.name} ${fixed3(stair.to - stair.from)}`).join(", "));
    drawStairs(picture, width, stairs, episode, step, chosen, ordered);
  };
  new ResizeObserver(() => {
    if (box.clientWidth === width) return;
    width = box.clientWidth;
    show(last[0], last[1]);
  }).observe(box);
  return { root, show };
}

/** @param {Episode} episode @param {number} step @returns {Stair[]} */
function prefixes({ told, arrays, n, agents }, step) {
  let level = told.telescopes ? arrays.value[step] : 0;
  return Array.from(arrays.order.subarray(step * n, (step + 1) * n), (agent) => {
    const from = level;
    level += arrays.credit[step * n + agent];
    return { agent, from, to: level, name: agents[agent].name, value: fixed3(level) };
  });
}

/** @param {Episode} episode @param {number} step @returns {Stair[]} */
function sorted({ arrays, n, agents }, step) {
  const credit = arrays.credit.subarray(step * n, (step + 1) * n);
  return Array.from(credit, (to, agent) => ({ agent, from: 0, to, name: agents[agent].name, value: fixed3(to) }))
    .sort((one, other) => other.to - one.to);
}

/** @param {Episode} episode @param {number} step @param {Stair[]} stairs */
function stairsInWords({ told, arrays, n }, step, stairs) {
  const start = told.telescopes
    ? `F₀ = ${fixed3(arrays.value[step])} is the critic's value before anybody's action is known; in the order of`
      + " evaluation each action moves it to the next"
    : "Credits one after another, in the order of evaluation, from 0: they are no values of one critic";
  return `${start}. The length of a bar is the credit.`
    + ` All ${n} together: ${fixed3(stairs[n - 1].to - stairs[0].from)}.`;
}

/** @param {SVGSVGElement} picture @param {number} width @param {Stair[]} stairs @param {Episode} episode
 * @param {number} step @param {number} chosen @param {boolean} ordered */
function drawStairs(picture, width, stairs, episode, step, chosen, ordered) {
  if (width === 0) return;
  const levels = stairs.flatMap(({ from, to }) => [from, to]);
  const [least, most] = [Math.min(...levels), Math.max(...levels)];
  const names = clamp(LETTER * Math.max(...stairs.map(({ name }) => name.length)) + 10, 50, width / 3);
  const room = Math.max(80, width - names - VALUES_WIDE), reach = most > least ? most - least : 1;
  const across = (/** @type {number} */ level) => names + 4 + (room - 8) * (level - least) / reach;
  const top = ordered ? STEP_HIGH : 2, height = top + stairs.length * STEP_HIGH + 2;
  picture.setAttribute("viewBox", `0 0 ${width} ${height}`);
  picture.setAttribute("width", String(width));
  picture.setAttribute("height", String(height));
  const start = across(stairs[0].from);
  const ground = makeSvg("path", { class: "start", d: `M${start} ${ordered ? 6 : 0}V${height}` });
  const rows = stairs.map((stair, rank) => stairRow(stair, rank, top + rank * STEP_HIGH, width, across, {
    chosen: stair.agent === chosen, idle: episode.choice[step * episode.n + stair.agent] === 0,
    joined: ordered && rank + 1 < stairs.length, named: episode.told.telescopes,
  }));
  const first = ordered ? [makeSvg("text", { class: "level", x: width - 2, y: 15, "text-anchor": "end" },
    `${episode.told.telescopes ? "F₀ " : ""}${fixed3(stairs[0].from)}`), makeSvg("circle", { class: "origin", cx: start, cy: 11, r: 3.5 })] : [];
  picture.replaceChildren(stripesOf(picture), ground, ...first, ...rows);
}

/** @param {Stair} stair @param {number} rank @param {number} y @param {number} width
 * @param {(level: number) => number} across
 * @param {{chosen: boolean, idle: boolean, joined: boolean, named: boolean}} how */
function stairRow(stair, rank, y, width, across, how) {
  const [from, to] = [across(stair.from), across(stair.to)], minus = stair.to < stair.from;
  const row = makeSvg("g", { "data-rank": rank, "data-agent-of": stair.agent,
    class: `stair${how.chosen ? " chosen" : ""}${how.idle ? " off" : ""}` });
  row.append(
    makeSvg("title", {}, `${stair.name}: ${fixed3(stair.to - stair.from)}`),
    makeSvg("rect", { class: "back", x: 0, y, width, height: STEP_HIGH }),
    makeSvg("text", { class: "who", x: 2, y: y + 15 }, stair.name),
    makeSvg("rect", { class: minus ? "minus" : "plus", x: Math.min(from, to), y: y + 4,
      width: Math.max(1, Math.abs(to - from)), height: STEP_HIGH - 8 }),
    makeSvg("text", { class: "level", x: width - 2, y: y + 15, "text-anchor": "end" },
      how.named ? `F${lowered(rank + 1)} ${stair.value}` : stair.value));
  if (how.joined) row.append(makeSvg("path", { class: "joint", d: `M${to} ${y + 4}V${y + STEP_HIGH + 4}` }));
  return row;
}

/** @param {number} count In the digits that stand low. */
const lowered = (count) => String(count).replace(/\d/g, (digit) => String.fromCharCode(0x2080 + Number(digit)));

let patterns = 0;
/** The stripes of whatever is below zero, made once for each picture. @param {SVGSVGElement} picture */
function stripesOf(picture) {
  const known = picture.querySelector("defs");
  if (known !== null) return known;
  patterns += 1;
  const id = `stripes-${patterns}`;
  picture.style.setProperty("--stripes", `url(#${id})`);
  return makeSvg("defs", {}, makeSvg("pattern", { id, width: 5, height: 5, patternUnits: "userSpaceOnUse",
    patternTransform: "rotate(45)" }, makeSvg("rect", { class: "under", width: 5, height: 5 }),
  makeSvg("rect", { class: "over", width: 2.5, height: 5 })));
}
