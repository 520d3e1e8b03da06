// @ts-check
"use strict";
// One side of the page: a run's episode with its picture, its panels and its strips.

/**
 * @typedef {object} Shown
 * @property {Episode} episode
 * @property {HTMLElement} root
 * @property {Stage | null} stage
 * @property {Strips} strips
 * @property {Panel[]} panels
 * @property {HTMLElement} number
 * @property {HTMLElement} moment
 * @property {HTMLElement} roster
 */

const SIGNS = "Disc: a unit with its true radius; blue yours, orange theirs. Bars above it, from below: health, shield,"
  + " energy. White rim: hit just now. Line: a shot; green beam: healing. Shadow: it flies. Ring, then cross: it died"
  + " here. Yellow ring: the chosen agent. Grey: raised but not walkable; black: outside the map.";

/** @param {Episode} episode @param {number} index @param {number} horizon Steps of the longer side.
 * @param {Choose} choose @returns {Shown} */
function makeSide(episode, index, horizon, choose) {
  const { told } = episode, id = `side-${index}`;
  const number = make("b", { class: "step-number" }), moment = make("span", { class: "clock-time" });
  const roster = make("p", { class: "roster" });
  const facts = `${told.method} on ${told.env}${told.options === "" ? "" : ` (${told.options})`}; ${told.policy};`
    + ` ${told.play}; seed ${told.seed}, battle ${told.battle}`;
  const head = make("div", { class: "side-head" }, make("h2", { id }, told.name),
    make("p", { class: "told" }, `${facts}: `, make("b", { class: "outcome" }, told.outcome)),
    make("p", { class: "moment" }, "Step ", number, ` of 0 to ${episode.steps - 1}`, moment));
  const strips = makeStrips(episode, horizon, choose);
  const values = makeFacts(episode), agents = makeAgents(episode, choose);
  const stairs = makeStairs(episode, choose), detail = makeDetail(episode);
  const left = make("div", { class: "left" }), right = make("div", { class: "right" });
  const stage = told.picture === null ? null : addPicture(left, episode, told.picture, roster, choose);
  if (stage === null) left.append(values.root, agents.root);
  else right.append(values.root, agents.root);
  (stage === null ? right : left).append(stairs.root);
  right.append(detail.root);
  const columns = make("div", { class: stage === null ? "columns plain" : "columns" }, left, right);
  const root = make("section", { class: "side", "aria-labelledby": id }, head, columns, stripsSection(episode, strips));
  return { episode, root, stage, strips, panels: [values, agents, stairs, detail], number, moment, roster };
}

/** @param {HTMLElement} place @param {Episode} episode @param {BattleTold | SceneTold} picture
 * @param {HTMLElement} roster @param {Choose} choose */
function addPicture(place, episode, picture, roster, choose) {
  const canvas = make("canvas", { class: "field", role: "img" });
  const stage = makeStage(canvas, episode, picture);
  canvas.addEventListener("click", (event) => {
    const unit = unitAt(stage, event.offsetX, event.offsetY);
    if (unit < episode.n) choose(-1, unit);
  });
  const signs = picture.type === "scene" ? [] : [make("details", {}, make("summary", {}, "What the picture shows"),
    make("p", { class: "told" }, SIGNS))];
  place.append(make("figure", { class: "picture" }, canvas, make("figcaption", {}, roster, ...signs)));
  return stage;
}

/** @param {Episode} episode @param {Strips} strips */
function stripsSection(episode, strips) {
  const { truth_says: says } = episode.told;
  const wrong = [...episode.truthAt.keys()].reduce((sum, step) => sum
    + episode.agents.filter((_, agent) => truthOf(episode, step, agent)?.opposed).length, 0);
  const count = episode.truthAt.size;
  const measured = `Truth: ${says ?? "measured"}. ${count} of ${episode.steps} steps were measured (diamonds; filled`
    + ` where a sign is opposite). Of ${count * episode.n} credits ${wrong} ${wrong === 1 ? "has" : "have"} the`
    + " opposite sign, beyond three standard errors: framed. Line in a cell: the true credit.";
  const cross = episode.told.picture?.type === "battle" ? "it fell" : "no choice from here on";
  const key = "Credit of each agent: up for above zero, down and striped for below; faint: no choice;"
    + ` cross: ${cross}. Click on a cell to go there.`;
  return make("section", { class: "over-time", "aria-label": "Over time" }, make("h3", {}, "Over time"), strips.root,
    make("p", { class: "told" }, key), ...(count === 0 ? [] : [make("p", { class: "told truth-told" }, measured)]),
    stripsTable(episode));
}
