// @ts-check
"use strict";
// The moment in words and bars: the team's values, a row per agent, and all that is known of the chosen agent.

/**
 * @typedef {(step: number, agent: number | null) => void} Choose Where to go (-1: stay), whom to choose (null: as is).
 * @typedef {{root: HTMLElement, show: (step: number, agent: number) => void}} Panel
 */

const SLOT = 10; // Units of a small policy picture per action.

/** @param {Episode} episode @returns {Panel} */
function makeFacts(episode) {
  const { value, error, reward } = episode.arrays;
  /** @type {[string, string, string, (step: number) => string][]} */
  const facts = [
    ["value", "Critic value", "discounted return that the critic expects; docs/view.md says before what is known", (step) => fixed3(value?.[step])],
    ["error", "TD error", "of the critic", (step) => fixed3(error?.[step])],
    ["reward", "Reward", "of this step", (step) => fixed2(reward[step])],
    ["return", "Return", "up to and with this step", (step) => fixed2(episode.returns[step])],
  ];
  const values = facts.map(([name]) => make("dd", { class: name }));
  const root = make("dl", { class: "facts facts-all" }, ...facts.map(([, label, says], i) =>
    make("div", { title: says }, make("dt", {}, label), values[i])));
  return { root, show: (step) => facts.forEach(([, , , tell], i) => { values[i].textContent = tell(step); }) };
}

/**
 * A bar to the right of a middle line for above zero, to the left and striped for below; where the truth is known, a
 * diamond and its whisker under it.
 */
function makeBar() {
  const [fill, whisker, truth] = ["fill", "whisker", "diamond"].map((name) => make("i", { class: name }));
  return { root: make("span", { class: "bar", "aria-hidden": "true" }, fill, whisker, truth), fill, whisker, truth };
}

/** @param {ReturnType<typeof makeBar>} bar @param {number} value @param {number} full
 * @param {ReturnType<typeof truthOf>} measured */
function setBar({ fill, whisker, truth }, value, full, measured) {
  const across = (/** @type {number} */ at) => 50 + 50 * clamp(at / full, -1, 1);
  fill.className = `fill ${value < 0 ? "minus" : "plus"}${Math.abs(value) > full ? " beyond" : ""}`;
  fill.style.left = `${Math.min(50, across(value))}%`;
  fill.style.width = `${Math.abs(across(value) - 50)}%`;
  whisker.hidden = truth.hidden = measured === null;
  if (measured === null) return;
  const [low, high] = [-3, 3].map((errors) => across(measured.truth + errors * measured.error));
  whisker.style.left = `${low}%`;
  whisker.style.width = `${high - low}%`;
  truth.style.left = `${across(measured.truth)}%`;
}

/** @param {Episode} episode @param {Choose} choose @returns {Panel} */
function makeAgents(episode, choose) {
  const { told, arrays } = episode, withTruth = episode.truthAt.size > 0;
  const rows = episode.agents.map((_, agent) => makeRow(episode, agent, choose, withTruth));
  const heads = [["agent", ""], ["action", ""], ["credit", ""],
    ...(withTruth ? [["true credit", "± its standard error"]] : []),
    ...(arrays.policy === undefined ? [] : [["policy", "p of the action taken"]]),
    ...(episode.place === null ? [] : [["place", "0 is first"]]),
    ...(arrays.contribution === undefined ? [] : [["contri\u00adbution", ""]])];
  const top = make("tr", {}, ...heads.map(([name, says]) =>
    make("th", { scope: "col" }, name, ...(says === "" ? [] : [make("small", {}, says)]))));
  const body = make("tbody", {}, ...rows.map((row) => row.root));
  const table = make("table", { class: "agents" }, make("thead", {}, top), body);
  const box = make("div", { class: "wide", tabindex: 0, role: "group", "aria-label": "Agents, one row each" }, table);
  const says = make("p", { class: "told says" }, `Credit, ${told.kind}: ${told.says}.`);
  const root = make("section", { class: "by-agent", "aria-label": "Agents" }, make("h3", {}, "Agents"), says, box,
    barKey(episode, withTruth));
  return { root, show: (step, chosen) => rows.forEach((row) => row.show(step, chosen)) };
}

/** @param {Episode} episode @param {boolean} withTruth */
function barKey(episode, withTruth) {
  const text = `Right of the middle line: above zero; left and striped: below. A full bar is ${fixed3(episode.reach)}.`;
  const truth = " Diamond: the true credit; its line reaches three standard errors either way. ≠: the true credit is"
    + " surely of the other sign.";
  return make("p", { class: "told" }, text, withTruth ? truth : "");
}

/** @param {Episode} episode @param {number} agent @param {Choose} choose @param {boolean} withTruth
 * @returns {Panel} */
function makeRow(episode, agent, choose, withTruth) {
  const { arrays, n, place } = episode, { credit, contribution, policy } = arrays;
  const pick = make("button", { type: "button", class: "pick" }, episode.agents[agent].name);
  const [action, idle] = [make("span", { class: "action" }), make("small", { class: "idle" }, "no choice")];
  const told = make("span", { class: "credit-value" });
  const opposed = make("small", { class: "opposed", title: "opposite sign" }, "≠",
    make("span", { class: "unseen" }, " opposite sign"));
  const [truth, error] = [make("span", { class: "truth-value" }), make("span", { class: "truth-error" })];
  const [where, gave] = [make("td", { class: "place number" }), make("td", { class: "contribution-value number" })];
  const bar = makeBar(), small = makeSmallPolicy(episode, agent);
  const root = make("tr", { "data-agent": agent }, make("th", { scope: "row" }, pick),
    make("td", {}, action, " ", idle), make("td", {}, make("span", { class: "judged" }, bar.root, told)));
  if (withTruth) root.append(make("td", { class: "true" }, truth, " ", error, opposed));
  if (policy !== undefined) root.append(make("td", {}, small.root));
  if (place !== null) root.append(where);
  if (contribution !== undefined) root.append(gave);
  root.addEventListener("click", () => choose(-1, root.classList.contains("chosen") ? -1 : agent));
  const show = (/** @type {number} */ step, /** @type {number} */ chosen) => {
    const at = step * n + agent, measured = truthOf(episode, step, agent);
    action.textContent = action.title = actionText(episode, step, agent);
    idle.hidden = episode.choice[at] === 1;
    root.classList.toggle("off", episode.choice[at] === 0);
    root.classList.toggle("chosen", agent === chosen);
    pick.setAttribute("aria-pressed", String(agent === chosen));
    told.textContent = fixed3(credit[at]);
    setBar(bar, credit[at], episode.reach, measured);
    truth.textContent = measured === null ? "–" : fixed3(measured.truth);
    error.textContent = measured === null ? "" : `± ${fixed3(measured.error)}`;
    opposed.hidden = measured?.opposed !== true;
    root.classList.toggle("opposed-row", measured?.opposed === true);
    if (policy !== undefined) small.show(step, chosen);
    where.textContent = place === null ? "" : String(place[at]);
    gave.textContent = fixed3(contribution?.[at]);
  };
  return { root, show };
}

/** A policy as small bars, one slot per action: what was taken stands out, what was not available has no foot.
 * @param {Episode} episode @param {number} agent @returns {Panel} */
function makeSmallPolicy(episode, agent) {
  const { actions, n, arrays, continuous } = episode;
  const [others, taken] = ["others", "taken"].map((name) => makeSvg("path", { class: name })), wide = actions * SLOT;
  const picture = makeSvg("svg", { class: "small-policy", viewBox: `0 0 ${wide} 22`, preserveAspectRatio: "none",
    "aria-hidden": "true" }, others, taken);
  picture.style.width = `${clamp(actions * 6, 36, 84)}px`;
  const share = make("span", { class: "probability" });
  const show = (/** @type {number} */ step) => {
    const at = step * n + agent;
    if (continuous) {
      share.textContent = gaussText(episode, at);
      return;
    }
    const from = at * actions, action = arrays.action[at];
    let d = "";
    for (let i = 0; i < actions; i += 1) {
      if (i !== action && arrays.avail[from + i] === 1) d += slot(i, arrays.policy[from + i]);
    }
    others.setAttribute("d", d);
    taken.setAttribute("d", slot(action, arrays.policy[from + action]));
    share.textContent = percent(arrays.policy[from + action]);
  };
  const root = make("span", { class: "policy" }, ...(continuous ? [] : [picture]), share);
  return { root, show };
}

/** @param {number} i @param {number} share */
function slot(i, share) {
  const tall = Math.round(18 * share);
  return `M${i * SLOT + 1} 22V${20 - tall}H${(i + 1) * SLOT - 1}V22Z`;
}

/** @param {Episode} episode @param {number} at Row of the policy: step and agent. */
function gaussText({ arrays, actions }, at) {
  return Array.from({ length: actions }, (_, i) => {
    const [mean, variance] = [arrays.policy[2 * at * actions + i], arrays.policy[(2 * at + 1) * actions + i]];
    return `${fixed2(mean)} ± ${fixed2(Math.sqrt(variance))}`;
  }).join(", ");
}

/** All that is known of the chosen agent. @param {Episode} episode @returns {Panel} */
function makeDetail(episode) {
  const title = make("h3"), numbers = make("dl", { class: "facts" });
  const hint = make("p", { class: "told" });
  const list = make("ul", { class: "choices", tabindex: 0, "aria-label": "Policy over the available actions" });
  const root = make("section", { class: "detail", "aria-label": "Chosen agent" }, title, numbers, hint, list);
  const show = (/** @type {number} */ step, /** @type {number} */ agent) => {
    numbers.hidden = list.hidden = agent < 0;
    title.textContent = agent < 0 ? "Policy" : `${episode.agents[agent].name} in step ${step}`;
    hint.textContent = "Choose an agent (↑ ↓, or a click on it) to see its whole policy.";
    if (agent < 0) return;
    const entries = chosenNumbers(episode, step, agent);
    numbers.replaceChildren(...entries.map(([name, text]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, text))));
    const choices = episode.continuous ? drawnFrom(episode, step, agent) : weighed(episode, step, agent);
    list.replaceChildren(...choices);
    list.hidden = choices.length === 0;
    hint.textContent = choiceText(episode, step, agent, choices.length);
  };
  return { root, show };
}

/** @param {Episode} episode @param {number} step @param {number} agent @returns {[string, string][]} */
function chosenNumbers(episode, step, agent) {
  const { credit, contribution, signal } = episode.arrays, at = step * episode.n + agent;
  const measured = truthOf(episode, step, agent);
  /** @type {[string, string][]} */
  const numbers = [["Credit", fixed3(credit[at])]];
  if (measured !== null) numbers.push(["True credit", `${fixed3(measured.truth)} ± ${fixed3(measured.error)}`]);
  if (signal !== undefined) numbers.push(["Policy follows", fixed3(signal[at])]);
  if (episode.place !== null) numbers.push(["Place", String(episode.place[at])]);
  if (contribution !== undefined) numbers.push(["Contribution", fixed3(contribution[at])]);
  return numbers;
}

/** @param {Episode} episode @param {number} step @param {number} agent @param {number} count */
function choiceText(episode, step, agent, count) {
  if (episode.continuous) return "";
  if (episode.choice[step * episode.n + agent] === 0) return "No choice: one action is available.";
  const how = episode.arrays.policy === undefined ? "; its policy is not recorded" : "";
  return `${count} of ${episode.actions} actions are available${how}. The one taken is marked.`;
}

/** @param {Episode} episode @param {number} step @param {number} agent */
function weighed({ arrays, actions, n, told }, step, agent) {
  const at = step * n + agent, from = at * actions;
  return Array.from({ length: actions }, (_, i) => i).filter((i) => arrays.avail[from + i] === 1).map((i) => {
    const share = arrays.policy?.[from + i], bar = make("i", { class: "share" });
    if (share !== undefined) bar.style.width = `${100 * share}%`;
    const name = make("span", { class: "name" }, told.action_names?.[agent][i] ?? String(i));
    const row = make("li", {}, name, make("span", { class: "track" }, bar),
      make("span", { class: "number" }, share === undefined ? "" : percent(share)));
    if (i === arrays.action[at]) {
      row.className = "taken";
      name.append(make("small", {}, " taken"));
    }
    return row;
  });
}

/** @param {Episode} episode @param {number} step @param {number} agent */
function drawnFrom({ arrays, actions, n }, step, agent) {
  const at = step * n + agent;
  return Array.from({ length: actions }, (_, i) => {
    const took = `number ${i}: ${fixed3(arrays.action[at * actions + i])}`;
    const row = make("li", { class: "drawn" }, make("span", { class: "name" }, took));
    if (arrays.policy !== undefined) {
      const [mean, variance] = [arrays.policy[2 * at * actions + i], arrays.policy[(2 * at + 1) * actions + i]];
      const from = `drawn from mean ${fixed3(mean)}, deviation ${fixed3(Math.sqrt(variance))}`;
      row.append(make("span", { class: "number" }, from));
    }
    return row;
  });
}
