// @ts-check
"use strict";
// A scene on the canvas of stage.js: discs, their trails, lines.

const TRAIL = 12; // Steps for which the way of whoever moves can be seen.

/** Trails of whoever moves, discs, lines; agents with their numbers. @param {Stage} stage @param {number} frame
 * @param {SceneTold} picture @param {number} chosen */
function drawScene(stage, frame, picture, chosen) {
  const { brush, order, drawn, px, py, scale } = stage, thin = Math.max(1, stage.canvas.width / 360);
  brush.lineWidth = thin;
  for (const unit of order) drawTrail(stage, frame, unit, kindColour(picture, unit));
  for (const unit of order) {
    const colour = kindColour(picture, unit), radius = drawn.radius[unit] * scale;
    disc(brush, px[unit], py[unit], radius, thin, colour, colour);
    const size = Math.min(1.2 * radius, 9 * thin);
    if (picture.kinds[unit] === "agent") write(brush, String(unit), px[unit], py[unit], size);
  }
  const ends = drawn.lines ?? [], lines = ends.length / stage.frames;
  brush.strokeStyle = css(blend(PAINT.floor, PAINT.flash, 0.7));
  for (let i = frame * lines; i < (frame + 1) * lines; i += 4) {
    brush.beginPath();
    brush.moveTo((ends[i] - stage.left) * scale, (stage.top - ends[i + 1]) * scale);
    brush.lineTo((ends[i + 2] - stage.left) * scale, (stage.top - ends[i + 3]) * scale);
    brush.stroke();
  }
  if (chosen >= 0) ring(stage, chosen);
}

/** @param {SceneTold} picture @param {number} unit */
const kindColour = (picture, unit) =>
  ({ agent: PAINT.ally, other: PAINT.enemy })[picture.kinds[unit]] ?? PAINT.edge;

/** @param {Stage} stage @param {number} frame @param {number} unit @param {Colour} colour */
function drawTrail({ brush, drawn, units, px, py, left, top, scale }, frame, unit, colour) {
  brush.strokeStyle = css(blend(PAINT.floor, colour, 0.35));
  brush.beginPath();
  brush.moveTo(px[unit], py[unit]);
  for (let then = frame; then >= Math.max(0, frame - TRAIL); then -= 1) {
    brush.lineTo((drawn.x[then * units + unit] - left) * scale, (top - drawn.y[then * units + unit]) * scale);
  }
  brush.stroke();
}
