// @ts-check
"use strict";
// The battle on a canvas: the look of `seca watch` (docs/watch.md), at any moment between two frames. What is common to
// battles and scenes (scene.js) is here too: the camera, the size, who was clicked on.

/**
 * @typedef {[number, number, number]} Colour
 * @typedef {{left: number, bottom: number, right: number, top: number}} View
 *
 * @typedef {object} Stage
 * @property {HTMLCanvasElement} canvas
 * @property {CanvasRenderingContext2D} brush
 * @property {Episode} episode
 * @property {BattleTold | SceneTold} picture
 * @property {Record<string, Numbers>} drawn
 * @property {number} units Units, or discs.
 * @property {number} frames
 * @property {View} view Map units that are shown when nobody is followed.
 * @property {number} scale Device pixels per map unit.
 * @property {number} left Map unit at the left rim of the canvas, as `top`.
 * @property {number} top
 * @property {HTMLCanvasElement} ground What is the same in all frames, over all of `view`.
 * @property {Map<string, HTMLCanvasElement>} sprites
 * @property {number[]} order Who is drawn first.
 * @property {Int32Array} death Frame in which each unit is dead for the first time.
 * @property {Float64Array} px Pixels of each unit at the moment drawn.
 * @property {Float64Array} py
 * @property {number} follow Unit, or -1.
 */

/** @type {Record<string, Colour>} */
const PAINT = {
  void: [13, 16, 21], floor: [31, 37, 47], grid: [36, 43, 54], rock: [66, 70, 78], edge: [104, 110, 120],
  text: [232, 236, 241], shadow: [20, 24, 31], ally: [86, 180, 233], enemy: [230, 159, 0], health: [64, 201, 140],
  shield: [176, 205, 255], energy: [204, 121, 167], heal: [70, 240, 150], flash: [255, 255, 255],
  chosen: [240, 228, 66],
};
const SHOT_FRAMES = 5, FLASH_FRAMES = 3, DEATH_FRAMES = 10;
const LARGEST = 60; // CSS pixels per map unit.
const CLOSER = 1.8; // How much larger everything is while someone is followed.
const TALLEST = 560; // CSS pixels.

/** @param {Colour} under @param {Colour} over @param {number} share @returns {Colour} */
function blend(under, over, share) {
  return [0, 1, 2].map((i) => Math.round(under[i] + (over[i] - under[i]) * share)).reduce(
    (/** @type {Colour} */ made, value, i) => { made[i] = value; return made; }, [0, 0, 0]);
}

/** @param {Colour} colour @param {number} [opacity] */
const css = (colour, opacity = 1) => `rgb(${colour[0]} ${colour[1]} ${colour[2]} / ${opacity})`;

/** @param {HTMLCanvasElement} canvas @param {boolean} [alpha] Whether what lies under it is seen. */
function brushOf(canvas, alpha = true) {
  const brush = canvas.getContext("2d", { alpha });
  if (brush === null) throw new Error("no canvas to draw on");
  return brush;
}

/** @param {HTMLCanvasElement} canvas @param {Episode} episode @param {BattleTold | SceneTold} picture
 * @returns {Stage} */
function makeStage(canvas, episode, picture) {
  const { drawn } = episode, units = picture.names.length, frames = drawn.x.length / units;
  const battle = picture.type === "battle";
  // Flyers last, they pass over the others; marks first.
  const layer = (/** @type {number} */ unit) => battle ? drawn.flies[unit] : Number(picture.kinds[unit] !== "mark");
  return {
    canvas, brush: brushOf(canvas, false), episode, picture, drawn, units, frames,
    view: battle ? cropBattle(drawn, picture) : cropScene(drawn, picture),
    scale: 1, left: 0, top: 0, ground: document.createElement("canvas"), sprites: new Map(),
    order: picture.names.map((_, unit) => unit).sort((one, other) => layer(one) - layer(other)),
    death: battle ? deaths(drawn.health, units, frames) : new Int32Array(units).fill(frames),
    px: new Float64Array(units), py: new Float64Array(units), follow: -1,
  };
}

/** @param {Numbers} health @param {number} units @param {number} frames */
function deaths(health, units, frames) {
  return Int32Array.from({ length: units }, (_, unit) => {
    for (let frame = 1; frame < frames; frame += 1) {
      const at = frame * units + unit;
      if (health[at] <= 0 && health[at - units] > 0) return frame;
    }
    return frames;
  });
}

/** Fit the canvas into a width of CSS pixels, and paint the ground anew. @param {Stage} stage @param {number} width */
function fitStage(stage, width) {
  const { canvas, view } = stage, ratio = Math.min(window.devicePixelRatio, 2);
  const [across, up] = [view.right - view.left, view.top - view.bottom];
  const most = stage.picture.type === "battle" ? LARGEST : Infinity;
  const scale = Math.min(width / across, Math.min(TALLEST, window.innerHeight * 0.72) / up, most);
  const height = Math.round(Math.max(scale * up, Math.min(160, width / 2)));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  stage.scale = scale * ratio * (stage.follow >= 0 ? CLOSER : 1);
  stage.sprites.clear();
  paintGround(stage);
}

/** Draw a moment; `at` counts frames, and may lie between two. @param {Stage} stage @param {number} at
 * @param {number} chosen Agent, or -1. */
function drawStage(stage, at, chosen) {
  const { brush, canvas, ground, picture } = stage;
  const frame = clamp(Math.floor(at), 0, stage.frames - 1);
  aim(stage, frame, clamp(at, 0, stage.frames - 1) - frame);
  brush.fillStyle = css(PAINT.void);
  brush.fillRect(0, 0, canvas.width, canvas.height);
  brush.drawImage(ground, Math.round((stage.view.left - stage.left) * stage.scale),
    Math.round((stage.top - stage.view.top) * stage.scale));
  brush.lineCap = "round";
  if (picture.type === "battle") drawBattle(stage, frame, at, picture, chosen);
  else drawScene(stage, frame, picture, chosen);
}

/** Point the camera, and place everyone. @param {Stage} stage @param {number} frame @param {number} share Of the way to
 * the next frame. */
function aim(stage, frame, share) {
  const { drawn, units, view, scale, canvas, follow } = stage;
  const here = frame * units, next = Math.min(frame + 1, stage.frames - 1) * units;
  const mid = (/** @type {Numbers} */ a, /** @type {number} */ unit) =>
    a[here + unit] + share * (a[next + unit] - a[here + unit]);
  const [wide, high] = [canvas.width / scale, canvas.height / scale];
  const x = follow < 0 ? (view.left + view.right) / 2 : mid(drawn.x, follow);
  const y = follow < 0 ? (view.bottom + view.top) / 2 : mid(drawn.y, follow);
  stage.left = middle(x, wide, view.left, view.right) - wide / 2;
  stage.top = middle(y, high, view.bottom, view.top) + high / 2;
  for (let unit = 0; unit < units; unit += 1) {
    stage.px[unit] = (mid(drawn.x, unit) - stage.left) * scale;
    stage.py[unit] = (stage.top - mid(drawn.y, unit)) * scale;
  }
}

/** As near to `wanted` as the rim allows. @param {number} wanted @param {number} size @param {number} low
 * @param {number} high */
function middle(wanted, size, low, high) {
  return high - low <= size ? (low + high) / 2 : clamp(wanted, low + size / 2, high - size / 2);
}

/** @param {Stage} stage @param {number} frame @param {number} at @param {BattleTold} picture @param {number} chosen */
function drawBattle(stage, frame, at, picture, chosen) {
  const { order, drawn, units } = stage;
  const lives = (/** @type {number} */ unit) => drawn.health[frame * units + unit] > 0;
  for (const unit of order) if (frame >= stage.death[unit]) drawDeath(stage, at, unit, picture);
  for (const unit of order) drawAttacks(stage, frame, at, unit, picture);
  for (const unit of order) if (lives(unit)) drawUnit(stage, frame, unit, picture);
  if (chosen >= 0) ring(stage, chosen);
  for (const unit of order) if (lives(unit)) drawBars(stage, frame, unit);
}

/** @param {BattleTold} picture @param {number} unit */
const teamColour = (picture, unit) => unit < picture.n_agents ? PAINT.ally : PAINT.enemy;

/** A cross where a unit fell, and a ring that spreads and fades. @param {Stage} stage @param {number} at
 * @param {number} unit @param {BattleTold} picture */
function drawDeath(stage, at, unit, picture) {
  const { brush, scale } = stage, x = stage.px[unit], y = stage.py[unit], arm = 0.22 * scale;
  brush.strokeStyle = css(teamColour(picture, unit), 0.4);
  brush.lineWidth = 0.07 * scale;
  brush.beginPath();
  brush.moveTo(x - arm, y - arm);
  brush.lineTo(x + arm, y + arm);
  brush.moveTo(x - arm, y + arm);
  brush.lineTo(x + arm, y - arm);
  brush.stroke();
  const age = (at - stage.death[unit]) / DEATH_FRAMES;
  if (age >= 1) return;
  brush.strokeStyle = css(teamColour(picture, unit), 0.9 * (1 - age));
  brush.lineWidth = 0.08 * scale;
  circle(brush, x, y, stage.drawn.radius[unit] * (1 + age) * scale);
  brush.stroke();
}

/** @param {CanvasRenderingContext2D} brush @param {number} x @param {number} y @param {number} radius */
function circle(brush, x, y, radius) {
  brush.beginPath();
  brush.arc(x, y, radius, 0, 2 * Math.PI);
}

/** Lines to whom a unit shot in the last frames, fading; a beam to whom it heals. @param {Stage} stage
 * @param {number} frame @param {number} at @param {number} unit @param {BattleTold} picture */
function drawAttacks(stage, frame, at, unit, picture) {
  const { drawn, units, brush, scale } = stage;
  for (let then = Math.max(0, frame - SHOT_FRAMES + 1); then <= frame; then += 1) {
    if (drawn.shot[then * units + unit] === 0) continue;
    const strength = clamp(1 - (at - then) / SHOT_FRAMES, 0, 1);
    brush.strokeStyle = css(blend(teamColour(picture, unit), PAINT.flash, 0.5), strength);
    brush.lineWidth = Math.max(1, (0.06 + 0.08 * strength) * scale);
    lineTo(stage, unit, drawn.target[then * units + unit]);
  }
  if (!heals(stage, frame, unit, picture)) return;
  const target = drawn.target[frame * units + unit];
  for (const [width, opacity] of [[0.3, 0.45], [0.1, 1]]) {
    brush.strokeStyle = css(PAINT.heal, opacity);
    brush.lineWidth = width * scale;
    lineTo(stage, unit, target);
  }
}

/** @param {Stage} stage @param {number} unit @param {number} target */
function lineTo({ brush, px, py }, unit, target) {
  if (target < 0) return;
  brush.beginPath();
  brush.moveTo(px[unit], py[unit]);
  brush.lineTo(px[target], py[target]);
  brush.stroke();
}

/** Whether a unit heals: told so, or seen: in range of a friend, and paying energy for it. @param {Stage} stage
 * @param {number} frame @param {number} unit @param {BattleTold} picture */
function heals({ drawn, units }, frame, unit, picture) {
  const at = frame * units + unit, target = drawn.target[at];
  if (target < 0) return false;
  if (drawn.heals !== undefined) return drawn.heals[at] === 1;
  if (drawn.energy_max[unit] <= 0 || drawn.engaged[at] === 0 || frame === 0) return false;
  const friend = (target < picture.n_agents) === (unit < picture.n_agents);
  return friend && drawn.energy[at] < drawn.energy[at - units];
}

/** @param {Stage} stage @param {number} frame @param {number} unit @param {BattleTold} picture */
function drawUnit(stage, frame, unit, picture) {
  const image = sprite(stage, unit, isHit(stage, frame, unit), picture);
  stage.brush.drawImage(image, stage.px[unit] - image.width / 2, stage.py[unit] - image.height / 2);
}

/** It lost health or shield just now. @param {Stage} stage @param {number} frame @param {number} unit */
function isHit({ drawn, units }, frame, unit) {
  for (let then = Math.max(1, frame - FLASH_FRAMES + 1); then <= frame; then += 1) {
    const at = then * units + unit, before = at - units;
    if (drawn.health[at] + drawn.shield[at] - drawn.health[before] - drawn.shield[before] < -0.05) return true;
  }
  return false;
}

/** A disc of the true radius with its sign, drawn once for all units that look the same. @param {Stage} stage
 * @param {number} unit @param {boolean} hit @param {BattleTold} picture */
function sprite(stage, unit, hit, picture) {
  const team = teamColour(picture, unit), radius = stage.drawn.radius[unit] * stage.scale, rim = 0.09 * stage.scale;
  const key = `${team[0]} ${picture.glyphs[unit]} ${radius} ${hit} ${stage.drawn.flies[unit]}`;
  const known = stage.sprites.get(key);
  if (known !== undefined) return known;
  const drop = 0.25 * stage.scale, half = Math.ceil(radius + rim + drop);
  const made = make("canvas", { width: 2 * half, height: 2 * half });
  const brush = brushOf(made);
  if (stage.drawn.flies[unit]) {
    brush.fillStyle = css(PAINT.shadow, 0.75);
    circle(brush, half + drop, half + drop, radius);
    brush.fill();
  }
  disc(brush, half, half, radius, rim, team, hit ? PAINT.flash : team);
  write(brush, picture.glyphs[unit], half, half, 1.25 * radius);
  stage.sprites.set(key, made);
  return made;
}

/** @param {CanvasRenderingContext2D} brush @param {number} x @param {number} y @param {number} radius
 * @param {number} rim @param {Colour} inner @param {Colour} outer */
function disc(brush, x, y, radius, rim, inner, outer) {
  circle(brush, x, y, Math.max(0.5, radius - rim / 2));
  brush.fillStyle = css(blend(PAINT.void, inner, 0.55));
  brush.fill();
  brush.strokeStyle = css(outer);
  brush.lineWidth = rim;
  brush.stroke();
}

/** @param {CanvasRenderingContext2D} brush @param {string} text @param {number} x @param {number} y
 * @param {number} size */
function write(brush, text, x, y, size) {
  brush.fillStyle = css(PAINT.text);
  brush.font = `600 ${Math.max(1, size)}px system-ui, "DejaVu Sans", sans-serif`;
  brush.textAlign = "center";
  brush.textBaseline = "middle";
  brush.fillText(text, x, y + 0.06 * size);
}

/** Above a unit, from below: health; shield and energy where it has any. @param {Stage} stage @param {number} frame
 * @param {number} unit */
function drawBars(stage, frame, unit) {
  const { brush, drawn, scale } = stage, at = frame * stage.units + unit, radius = drawn.radius[unit];
  const wide = 2 * Math.max(radius, 0.4) * scale, thick = Math.max(2, 0.13 * scale);
  let y = stage.py[unit] - (radius + 0.08) * scale - thick;
  for (const name of ["health", "shield", "energy"]) {
    const most = drawn[`${name}_max`][unit];
    if (most <= 0) continue;
    brush.fillStyle = css(PAINT.shadow);
    brush.fillRect(stage.px[unit] - wide / 2, y, wide, thick);
    brush.fillStyle = css(PAINT[name]);
    brush.fillRect(stage.px[unit] - wide / 2, y, wide * clamp(drawn[name][at] / most, 0, 1), thick);
    y -= thick + 0.03 * scale;
  }
}

/** Around whom is chosen. @param {Stage} stage @param {number} unit */
function ring(stage, unit) {
  const { brush, scale } = stage, radius = (stage.drawn.radius[unit] + 0.02 * (stage.view.right - stage.view.left)
    / CLOSER) * scale;
  for (const [colour, width] of /** @type {[Colour, number][]} */ ([[PAINT.void, 5], [PAINT.chosen, 2.5]])) {
    brush.strokeStyle = css(colour, 0.9);
    brush.lineWidth = width * Math.min(window.devicePixelRatio, 2);
    circle(brush, stage.px[unit], stage.py[unit], radius);
    brush.stroke();
  }
}

/** Who is drawn at a point of the canvas, in CSS pixels; -1: nobody. @param {Stage} stage @param {number} x
 * @param {number} y */
function unitAt(stage, x, y) {
  const ratio = stage.canvas.width / stage.canvas.clientWidth;
  let [found, nearest] = [-1, Infinity];
  for (let unit = 0; unit < stage.units; unit += 1) {
    const away = Math.hypot(stage.px[unit] - x * ratio, stage.py[unit] - y * ratio);
    const reach = Math.max(stage.drawn.radius[unit] * stage.scale, 12 * ratio); // Fingers are not small.
    if (away <= reach && away < nearest) [found, nearest] = [unit, away];
  }
  return found;
}

/** Who lives, by type: what the signs in the picture mean. @param {Stage} stage @param {number} frame
 * @returns {{text: string, kind: string}[]} */
function roster(stage, frame) {
  const { picture, drawn, units } = stage;
  if (picture.type === "scene") {
    return picture.names.map((text, unit) => ({ text, kind: picture.kinds[unit] }));
  }
  /** @type {Map<string, {name: string, kind: string, lives: number, all: number}>} */
  const counts = new Map();
  picture.names.forEach((name, unit) => {
    const kind = unit < picture.n_agents ? "agent" : "other", key = `${kind} ${picture.glyphs[unit]}`;
    const type = name.replace(/ \d+$/, "").replaceAll("_", " ");
    const count = counts.get(key) ?? { name: `${picture.glyphs[unit]} ${type}`, kind, lives: 0, all: 0 };
    count.all += 1;
    count.lives += Number(drawn.health[frame * units + unit] > 0);
    counts.set(key, count);
  });
  return [...counts.values()].map(({ name, kind, lives, all }) => ({ text: `${name} ${lives}/${all}`, kind }));
}
