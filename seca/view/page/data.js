// @ts-check
"use strict";
// What the page is told, made ready: arrays from base64, and what every part of the page asks for; numbers to text.
// The scripts of the page share one scope; main.js, which starts it all, comes last.

/**
 * @typedef {{dtype: "float32" | "int16" | "uint8" | "uint16", shape: number[], data: string, scale?: number,
 *   offset?: number}} Packed
 * @typedef {Float32Array | Int16Array | Uint8Array} Numbers
 * @typedef {{name: string, unit: string}} Agent
 * @typedef {{type: "battle", names: string[], n_agents: number, glyphs: string[],
 *   arrays: Record<string, Packed>}} BattleTold
 * @typedef {{type: "scene", names: string[], kinds: string[], area: number[],
 *   arrays: Record<string, Packed>}} SceneTold
 * @typedef {{env_steps: number[], place: number[][], contribution: number[][] | null, agents: Agent[]}} Orders
 * @typedef {{name: string, method: string, env: string, policy: string, seed: number, battle: number, outcome: string,
 *   play: string, kind: string, telescopes: boolean, options: string, says: string, truth_says: string | null, agents: Agent[],
 *   action_names: string[][] | null, steps: number, frames_per_step: number, frames_per_second: number,
 *   arrays: Record<string, Packed>, picture: BattleTold | SceneTold | null, orders: Orders | null}} Side
 *
 * A side made ready. Axes: step axis first, then agents; `n` agents, `steps` env steps, `k` frames per step.
 * @typedef {object} Episode
 * @property {Side} told
 * @property {number} n
 * @property {number} steps
 * @property {number} k
 * @property {Agent[]} agents
 * @property {Record<string, Numbers>} arrays Those of the side that are given.
 * @property {Record<string, Numbers>} drawn Those of its picture.
 * @property {number} actions Entries per agent of `avail`; numbers of an action where these are continuous.
 * @property {boolean} continuous
 * @property {Uint8Array} choice 1 where an agent had a choice.
 * @property {Int16Array | null} place Position of each agent in the order; 0 is judged first.
 * @property {Float64Array} returns Sum of the rewards up to and with each step.
 * @property {(number | null)[]} lost Step in which each agent fell, or from which on it has no choice.
 * @property {Map<number, number>} truthAt Step to row of the truth.
 * @property {number} full Credit that fills a cell of the strips.
 * @property {number} reach Credit that fills a bar.
 */

/** @param {string} id @returns {HTMLElement} */
function byId(id) {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`the page has no #${id}`);
  return found;
}

/**
 * An element; whatever is text gets into it as text.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...(string | Node)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/**
 * The same in SVG.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Record<string, string | number>} [attributes]
 * @param {...(string | Node)} children
 * @returns {SVGElementTagNameMap[K]}
 */
function makeSvg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

/** @param {Element} root @param {string} selector @returns {HTMLElement} */
function part(root, selector) {
  const found = root.querySelector(selector);
  if (!(found instanceof HTMLElement)) throw new Error(`no part ${selector}`);
  return found;
}

/** @param {number | undefined} value */
const fixed3 = (value) => value === undefined ? "–" : value.toFixed(3).replace(/^-(0\.0+)$/, "$1");
/** @param {number | undefined} value */
const fixed2 = (value) => value === undefined ? "–" : value.toFixed(2);
/** @param {number} share */
const percent = (share) => `${(100 * share).toFixed(1)} %`;
/** @param {number} value @param {number} least @param {number} most */
const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/**
 * Little-endian numbers from base64, as every machine with a browser has them.
 * @param {Packed} packed
 * @returns {Numbers}
 */
function unpack(packed) {
  const text = atob(packed.data);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  switch (packed.dtype) {
    case "uint8": return bytes;
    case "int16": return new Int16Array(bytes.buffer);
    case "float32": return new Float32Array(bytes.buffer);
    case "uint16": {
      const { scale = 1, offset = 0 } = packed;
      return Float32Array.from(new Uint16Array(bytes.buffer), (stored) => offset + scale * stored);
    }
    default: throw new Error(`an array of ${packed.dtype}`);
  }
}

/** @param {Record<string, Packed>} arrays @returns {Record<string, Numbers>} */
function unpackAll(arrays) {
  return Object.fromEntries(Object.entries(arrays).map(([name, packed]) => [name, unpack(packed)]));
}

/** @param {Side} told @returns {Episode} */
function prepare(told) {
  const arrays = unpackAll(told.arrays);
  const drawn = told.picture === null ? {} : unpackAll(told.picture.arrays);
  const [n, steps, k] = [told.agents.length, told.steps, told.frames_per_step];
  const continuous = told.arrays.action.shape.length === 3;
  const actions = continuous ? told.arrays.action.shape[2] : told.arrays.avail.shape[2];
  const choice = continuous ? new Uint8Array(steps * n).fill(1) : choices(arrays.avail, actions);
  const truthAt = new Map(Array.from(arrays.truth_step ?? [], (step, row) => [step, row]));
  return {
    told, n, steps, k, agents: told.agents, arrays, drawn, actions, continuous, choice, truthAt,
    place: arrays.order === undefined ? null : inverse(arrays.order, n),
    returns: summed(arrays.reward),
    lost: told.agents.map((_, agent) => told.picture?.type === "battle"
      ? fell(drawn.health, told.picture.names.length, agent, k) : bound(choice, n, agent)),
    full: fullOf(arrays), reach: reachOf(arrays),
  };
}

/** What compares by eye has one scale: two sides whose credits are of one kind. @param {Episode[]} episodes */
function shareScales(episodes) {
  if (new Set(episodes.map((episode) => episode.told.kind)).size > 1) return;
  const [full, reach] = [Math.max(...episodes.map((one) => one.full)), Math.max(...episodes.map((one) => one.reach))];
  for (const episode of episodes) Object.assign(episode, { full, reach });
}

/** @param {Numbers} avail @param {number} actions */
function choices(avail, actions) {
  return Uint8Array.from({ length: avail.length / actions }, (_, row) => {
    let count = 0;
    for (let i = row * actions; i < (row + 1) * actions; i += 1) count += avail[i];
    return Number(count > 1);
  });
}

/** @param {Numbers} order @param {number} n */
function inverse(order, n) {
  const place = new Int16Array(order.length);
  for (let i = 0; i < order.length; i += 1) place[i - i % n + order[i]] = i % n;
  return place;
}

/** @param {Numbers} reward */
function summed(reward) {
  let sum = 0;
  return Float64Array.from(reward, (value) => { sum += value; return sum; });
}

/**
 * The step in which a unit dies: frame f is shown while step ceil(f / k) - 1 is being executed.
 * @param {Numbers} health @param {number} units @param {number} unit @param {number} k
 */
function fell(health, units, unit, k) {
  for (let frame = 1; frame * units < health.length; frame += 1) {
    const at = frame * units + unit;
    if (health[at] <= 0 && health[at - units] > 0) return Math.floor((frame - 1) / k);
  }
  return null;
}

/**
 * The step from which on an agent never has a choice again; null where it has one to the end, or never had.
 * @param {Uint8Array} choice @param {number} n @param {number} agent
 */
function bound(choice, n, agent) {
  let step = choice.length / n;
  while (step > 0 && choice[(step - 1) * n + agent] === 0) step -= 1;
  return step === choice.length / n || step === 0 ? null : step;
}

/**
 * The largest credit, true or not; where a few stand far above the rest, the one that 98 % do not exceed.
 * @param {Record<string, Numbers>} arrays
 */
function fullOf(arrays) {
  const sizes = [...arrays.credit, ...(arrays.truth ?? [])].map(Math.abs).filter((size) => size > 0);
  sizes.sort((one, other) => one - other);
  const [most, usual] = [sizes.at(-1) ?? 1, sizes[Math.ceil(0.98 * (sizes.length - 1))] ?? 1];
  return most <= 1.5 * usual ? most : usual;
}

/** What fills a bar: as above, but no truth with its whisker goes over the edge.
 * @param {Record<string, Numbers>} arrays */
function reachOf(arrays) {
  const ends = Array.from(arrays.truth ?? [], (value, i) => Math.abs(value) + 3 * arrays.truth_error[i]);
  return Math.max(fullOf(arrays), ...ends);
}

/**
 * What was measured of an agent's true credit at a step.
 * @param {Episode} episode @param {number} step @param {number} agent
 * @returns {{truth: number, error: number, opposed: boolean} | null}
 */
function truthOf(episode, step, agent) {
  const row = episode.truthAt.get(step);
  if (row === undefined) return null;
  const { truth, truth_error: errors, credit } = episode.arrays;
  const [value, error, told] = [truth[row * episode.n + agent], errors[row * episode.n + agent],
    credit[step * episode.n + agent]];
  const sure = Math.abs(value) > 3 * error && episode.told.kind !== "shared"; // Nobody's credit has no sign.
  return { truth: value, error, opposed: sure && told !== 0 && value !== 0 && Math.sign(told) !== Math.sign(value) };
}

/**
 * An action in words, or the numbers it consists of.
 * @param {Episode} episode @param {number} step @param {number} agent
 */
function actionText(episode, step, agent) {
  const { action } = episode.arrays, names = episode.told.action_names, at = step * episode.n + agent;
  if (!episode.continuous) return names?.[agent][action[at]] ?? String(action[at]);
  return Array.from(action.subarray(at * episode.actions, (at + 1) * episode.actions), fixed2).join(", ");
}
