// @ts-check
"use strict";
// What ties the parts together: one clock and one chosen agent for all sides, buttons, keys, colours, paper.

const state = {
  at: 0, // The moment, in env steps; between two of them while a step is being executed.
  agent: -1,
  playing: false,
  then: 0, // When it was last drawn while playing, in milliseconds.
  owed: 0, // Steps that are due but not shown yet, where motion is reduced.
  drawnStep: -1,
  drawnAgent: -2,
  /** @type {"light" | "dark" | null} Once the button was used; before, what the system says. */
  scheme: null,
  printing: false,
  /** @type {Map<HTMLDetailsElement, boolean>} What was open before it was printed. */
  opened: new Map(),
};
/** @type {{sides: Side[]}} */
const data = JSON.parse(byId("data").textContent ?? "");
const darkness = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");
const paper = matchMedia("print");
const episodes = data.sides.map(prepare);
shareScales(episodes);
const horizon = Math.max(...episodes.map((episode) => episode.steps));
const truthSteps = [...new Set(episodes.flatMap((episode) => [...episode.truthAt.keys()]))]
  .sort((one, other) => one - other);
const shown = episodes.map((episode, index) => makeSide(episode, index, horizon, choose));
const training = makeTraining(data.sides);
const [scrub, follow, speed] = [/** @type {HTMLInputElement} */ (byId("scrub")),
  /** @type {HTMLSelectElement} */ (byId("follow")), /** @type {HTMLSelectElement} */ (byId("speed"))];
const dialog = /** @type {HTMLDialogElement} */ (byId("keys"));

/** @param {Episode} episode */
const stepAt = (episode) => clamp(Math.floor(state.at + 1e-6), 0, episode.steps - 1);
/** @param {Episode} episode */
const frameAt = (episode) => Math.min(state.at, episode.steps) * episode.k + 1e-6; // Lest 1 / k * k be less than 1.

/** Show the moment: the picture always, all else only when the step or the agent is another. */
function render() {
  const step = Math.min(Math.floor(state.at + 1e-6), horizon);
  for (const { stage, episode } of shown) if (stage !== null) drawStage(stage, frameAt(episode), chosenIn(episode));
  scrub.value = String(state.at);
  if (step === state.drawnStep && state.agent === state.drawnAgent) return;
  [state.drawnStep, state.drawnAgent] = [step, state.agent];
  for (const side of shown) renderSide(side);
  const last = step >= horizon;
  scrub.setAttribute("aria-valuetext", last ? `after the last step, ${horizon - 1}` : `step ${step}`);
  byId("time").textContent = last ? "the end" : `step ${step}`;
  if (!byId("training").hidden) training.draw(state.agent);
}

/** @param {Shown} side */
function renderSide({ episode, stage, strips, panels, number, moment, roster: names, root }) {
  const step = stepAt(episode), agent = chosenIn(episode), ended = state.at >= episode.steps;
  number.textContent = String(step);
  const seconds = (Math.min(state.at, episode.steps) * episode.k / episode.told.frames_per_second).toFixed(1);
  moment.textContent = `, ${seconds} s${ended ? ": it is over" : ""}`;
  for (const panel of panels) panel.show(step, agent);
  markStrips(strips, step, agent);
  root.classList.toggle("ended", ended);
  if (stage === null) return;
  const entries = roster(stage, clamp(Math.floor(frameAt(episode)), 0, stage.frames - 1));
  names.replaceChildren(...entries.map(({ text, kind }) => make("span", { class: `kind-${kind}` }, text)));
  const when = ended ? "After the last step" : `Step ${step}`;
  stage.canvas.setAttribute("aria-label", `${when}: ${entries.map((entry) => entry.text).join(", ")}`);
}

/** @param {Episode} episode */
const chosenIn = (episode) => state.agent < episode.n ? state.agent : -1;

/** Go to a moment, in env steps. @param {number} at */
function seek(at) {
  state.at = clamp(at, 0, horizon);
  render();
  if (!state.playing) tell();
}

/** @param {number} step @param {number | null} agent */
function choose(step, agent) {
  if (agent !== null) state.agent = agent;
  if (step >= 0) pause();
  seek(step >= 0 ? step : state.at);
}

/** For who listens: what changed, unless it changes by itself. */
function tell() {
  byId("said").textContent = episodes.map((episode) => {
    const step = stepAt(episode), agent = chosenIn(episode);
    return agent < 0 ? `step ${step}` : cellInWords(episode, step, agent);
  }).join("; ");
}

function play() {
  if (state.at >= horizon) state.at = 0;
  Object.assign(state, { playing: true, then: performance.now(), owed: 0 });
  byId("play").textContent = "Pause";
  requestAnimationFrame(tick);
}

function pause() {
  if (!state.playing) return;
  state.playing = false;
  byId("play").textContent = "Play";
}

/** @param {number} now */
function tick(now) {
  if (!state.playing) return;
  const { told, k } = episodes[0];
  const passed = clamp(now - state.then, 0, 250) / 1000; // After a pause of the window it goes on where it was.
  state.then = now;
  state.owed += passed * Number(speed.value) * told.frames_per_second / k;
  const due = stillness.matches ? Math.floor(state.owed) : state.owed;
  state.owed -= due;
  if (stillness.matches && due > 0) state.at = Math.floor(state.at + 1e-6);
  if (due > 0) seek(state.at + due);
  if (state.at >= horizon) pause();
  else requestAnimationFrame(tick);
}

/** @param {number} by Whole env steps, or frames. @param {boolean} frames */
function move(by, frames) {
  pause();
  const pace = frames ? episodes[0].k : 1, place = state.at * pace;
  seek((by > 0 ? Math.floor(place + 1e-6) + 1 : Math.ceil(place - 1e-6) - 1) / pace);
}

function nextTruth() {
  if (truthSteps.length === 0) return;
  pause();
  const here = Math.floor(state.at + 1e-6);
  seek(truthSteps.find((step) => step > here) ?? truthSteps[0]);
}

/** @param {number} by */
function chooseNext(by) {
  const n = Math.max(...episodes.map((episode) => episode.n));
  choose(-1, state.agent < 0 ? (by > 0 ? 0 : n - 1) : (state.agent + by + n) % n);
}

/** @param {number} unit */
function followUnit(unit) {
  follow.value = String(unit);
  for (const { stage } of shown) if (stage !== null) stage.follow = unit < stage.units ? unit : -1;
  fit();
}

/** @type {Record<string, (event: KeyboardEvent) => void>} */
const KEYS = {
  " ": () => state.playing ? pause() : play(),
  ArrowLeft: (event) => move(-1, event.shiftKey),
  ArrowRight: (event) => move(1, event.shiftKey),
  Home: () => { pause(); seek(0); },
  End: () => { pause(); seek(horizon); },
  ArrowUp: () => chooseNext(-1),
  ArrowDown: () => chooseNext(1),
  Escape: () => choose(-1, -1),
  t: nextTruth,
  f: () => followUnit(follow.value === "-1" ? state.agent : -1),
  "?": () => dialog.showModal(),
};

/** @param {KeyboardEvent} event */
function press(event) {
  const { target, key } = event, name = key.length === 1 ? key.toLowerCase() : key;
  if (!(target instanceof Element) || !Object.hasOwn(KEYS, name) || dialog.open) return;
  if (event.ctrlKey || event.metaKey || event.altKey || isOwnKey(target, key)) return;
  if (byId("episode").hidden && !["ArrowUp", "ArrowDown", "Escape", "?"].includes(name)) return;
  event.preventDefault();
  KEYS[name](event);
}

/** Whether what has the focus needs this key itself. @param {Element} target @param {string} key */
function isOwnKey(target, key) {
  if (target.matches("select")) return true;
  if (target.matches("button, summary") && key === " ") return true;
  if (target.matches("[role=tab]") && (key === "ArrowLeft" || key === "ArrowRight")) return true;
  if (!target.matches("[tabindex='0']")) return false;
  if (key === "ArrowUp" || key === "ArrowDown") return target.scrollHeight > target.clientHeight + 1;
  return (key === "ArrowLeft" || key === "ArrowRight") && target.scrollWidth > target.clientWidth + 1;
}

/** Fit everything into its box, and draw it anew. */
function fit() {
  for (const { stage, strips, root } of shown) {
    if (stage !== null) fitStage(stage, Math.max(100, stage.canvas.parentElement?.clientWidth ?? root.clientWidth));
    fitStrips(strips);
  }
  state.drawnStep = -1;
  render();
}

function recolour() {
  const effective = state.scheme ?? (darkness.matches ? "dark" : "light");
  document.documentElement.style.colorScheme = state.printing ? "light" : effective;
  byId("scheme").textContent = effective === "dark" ? "Light colours" : "Dark colours";
  if (state.drawnStep >= 0) for (const { strips } of shown) fitStrips(strips);
}

/** On paper: light, and nothing folded away. @param {boolean} begins */
function onPaper(begins) {
  if (begins === state.printing) return;
  state.printing = begins;
  for (const details of document.querySelectorAll("details")) {
    if (begins) state.opened.set(details, details.open);
    details.open = begins || state.opened.get(details) === true;
  }
  recolour();
}

/** @param {boolean} trained Whether the second tab is shown. */
function showTab(trained) {
  pause();
  byId("episode").hidden = trained;
  byId("training").hidden = !trained;
  for (const [id, on] of /** @type {[string, boolean][]} */ ([["tab-episode", !trained], ["tab-training", trained]])) {
    byId(id).setAttribute("aria-selected", String(on));
    byId(id).tabIndex = on ? 0 : -1;
  }
  if (trained) training.draw(state.agent);
  else fit();
}

function wireTabs() {
  if (training.root.children.length === 0) return;
  byId("tabs").hidden = false;
  for (const name of ["episode", "training"]) {
    const tab = byId(`tab-${name}`), trained = name === "training";
    byId(name).setAttribute("role", "tabpanel");
    byId(name).setAttribute("aria-labelledby", tab.id);
    tab.addEventListener("click", () => showTab(trained));
    tab.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      showTab(!trained);
      byId(trained ? "tab-episode" : "tab-training").focus();
    });
  }
  byId("tab-training").tabIndex = -1;
}

function wireFollow() {
  const first = shown.find(({ stage }) => stage !== null);
  byId("follow-label").hidden = first === undefined;
  if (first === undefined || first.stage === null) return;
  const { picture } = first.stage, { agents } = first.episode;
  picture.names.forEach((name, unit) => {
    const known = agents[unit]?.name ?? `${name}${picture.type === "battle" ? `, enemy ${unit - agents.length}` : ""}`;
    follow.append(make("option", { value: unit }, known));
  });
  follow.addEventListener("change", () => followUnit(Number(follow.value)));
}

function wire() {
  /** @type {Record<string, () => void>} */
  const clicks = {
    start: () => { pause(); seek(0); }, end: () => { pause(); seek(horizon); },
    back: () => move(-1, false), forward: () => move(1, false),
    play: () => state.playing ? pause() : play(), "next-truth": nextTruth, help: () => dialog.showModal(),
    scheme: () => {
      state.scheme = (state.scheme ?? (darkness.matches ? "dark" : "light")) === "dark" ? "light" : "dark";
      recolour();
    },
  };
  for (const [id, act] of Object.entries(clicks)) byId(id).addEventListener("click", act);
  scrub.max = String(horizon);
  scrub.addEventListener("input", () => {
    pause();
    const { k } = episodes[0];
    seek(Math.round(Number(scrub.value) * k) / k);
  });
  document.addEventListener("keydown", press);
  darkness.addEventListener("change", recolour);
  paper.addEventListener("change", () => onPaper(paper.matches));
  addEventListener("beforeprint", () => onPaper(true));
  addEventListener("afterprint", () => onPaper(false));
  wireTabs();
  wireFollow();
  byId("scheme").hidden = byId("clock").hidden = false;
  byId("next-truth").hidden = truthSteps.length === 0;
}

/** Anew whenever the page has another width; its height changes by what is drawn. */
function watchWidth() {
  let width = 0;
  new ResizeObserver(() => {
    const now = byId("main").clientWidth;
    if (now === width) return;
    width = now;
    if (byId("episode").hidden) training.draw(state.agent);
    else fit();
  }).observe(byId("main"));
}

byId("sides").append(...shown.map((side) => side.root));
byId("sides").classList.toggle("two", shown.length > 1);
byId("training").append(training.root);
wire();
recolour();
watchWidth();
