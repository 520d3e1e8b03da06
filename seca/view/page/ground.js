// @ts-check
"use strict";
// What of the map, or of the plane, is shown, and what is the same in all frames: painted once per size.

const MARGIN = 3, RIM = 1; // Cells shown around where units go, and around the ground.
const LEVEL = 4; // How much a cell's number grows by a cliff level.

/** Where units go, with a margin; nothing beyond the rim of the ground. @param {Record<string, Numbers>} drawn
 * @param {BattleTold} picture @returns {View} */
function cropBattle(drawn, picture) {
  const [across, up] = picture.arrays.ground.shape;
  const spots = { left: Infinity, bottom: Infinity, right: -Infinity, top: -Infinity };
  const cells = { ...spots };
  for (let i = 0; i < drawn.x.length; i += 1) if (drawn.health[i] > 0) widen(spots, drawn.x[i], drawn.y[i], 0);
  for (let i = 0; i < across * up; i += 1) {
    if (drawn.ground[i] >= 2) widen(cells, Math.floor(i / up) + 0.5, i % up + 0.5, 0.5);
  }
  return {
    left: Math.floor(Math.max(spots.left - MARGIN, Math.min(cells.left, spots.left) - RIM)),
    bottom: Math.floor(Math.max(spots.bottom - MARGIN, Math.min(cells.bottom, spots.bottom) - RIM)),
    right: Math.ceil(Math.min(spots.right + MARGIN, Math.max(cells.right, spots.right) + RIM)),
    top: Math.ceil(Math.min(spots.top + MARGIN, Math.max(cells.top, spots.top) + RIM)),
  };
}

/** The area, and whatever leaves it. @param {Record<string, Numbers>} drawn @param {SceneTold} picture
 * @returns {View} */
function cropScene(drawn, picture) {
  const [left, bottom, right, top] = picture.area, discs = picture.names.length;
  const view = { left, bottom, right, top };
  for (let i = 0; i < drawn.x.length; i += 1) widen(view, drawn.x[i], drawn.y[i], drawn.radius[i % discs]);
  return view;
}

/** @param {View} view @param {number} x @param {number} y @param {number} reach */
function widen(view, x, y, reach) {
  view.left = Math.min(view.left, x - reach);
  view.right = Math.max(view.right, x + reach);
  view.bottom = Math.min(view.bottom, y - reach);
  view.top = Math.max(view.top, y + reach);
}

/** @param {Stage} stage */
function paintGround(stage) {
  const { ground, view, scale, picture } = stage;
  ground.width = Math.round((view.right - view.left) * scale);
  ground.height = Math.round((view.top - view.bottom) * scale);
  const brush = brushOf(ground);
  brush.fillStyle = css(picture.type === "battle" ? PAINT.void : PAINT.floor);
  brush.fillRect(0, 0, ground.width, ground.height);
  if (picture.type === "battle") paintCells(stage, brush, picture);
  else paintGrid(stage, brush);
}

/** Floor, shaded by level; rock; an edge where the floor ends. @param {Stage} stage
 * @param {CanvasRenderingContext2D} brush @param {BattleTold} picture */
function paintCells(stage, brush, picture) {
  const { view, scale, drawn } = stage, [across, up] = picture.arrays.ground.shape;
  const cell = (/** @type {number} */ i, /** @type {number} */ j) =>
    i >= 0 && j >= 0 && i < across && j < up ? drawn.ground[i * up + j] : 0;
  const lowest = Array.from(drawn.ground).reduce((least, level) => level >= 2 ? Math.min(least, level) : least, 255);
  const line = Math.max(1, Math.round(scale / 24));
  for (let i = view.left; i < view.right; i += 1) {
    for (let j = view.bottom; j < view.top; j += 1) {
      const here = cell(i, j);
      if (here === 0) continue;
      const [x, y] = [Math.round((i - view.left) * scale), Math.round((view.top - j - 1) * scale)];
      const [right, low] = [Math.round((i + 1 - view.left) * scale), Math.round((view.top - j) * scale)];
      brush.fillStyle = css(here === 1 ? PAINT.rock : PAINT.grid);
      brush.fillRect(x, y, right - x, low - y);
      if (here === 1) continue;
      brush.fillStyle = css(blend(PAINT.floor, PAINT.rock, 0.3 * Math.min(1, (here - lowest) / LEVEL)));
      brush.fillRect(x, y, right - x - line, low - y - line);
      brush.fillStyle = css(PAINT.edge);
      if (cell(i + 1, j) < 2) brush.fillRect(right - line, y, 2 * line, low - y);
      if (cell(i - 1, j) < 2) brush.fillRect(x - line, y, 2 * line, low - y);
      if (cell(i, j + 1) < 2) brush.fillRect(x, y - line, right - x, 2 * line);
      if (cell(i, j - 1) < 2) brush.fillRect(x, low - line, right - x, 2 * line);
    }
  }
}

/** A line for each unit, or for ten of them, or a hundred. @param {Stage} stage
 * @param {CanvasRenderingContext2D} brush */
function paintGrid(stage, brush) {
  const { view, scale, ground } = stage;
  const widest = Math.max(view.right - view.left, view.top - view.bottom);
  const unit = 10 ** Math.max(0, Math.ceil(Math.log10(widest / 20)));
  brush.fillStyle = css(PAINT.grid);
  for (let x = Math.ceil(view.left / unit) * unit; x <= view.right; x += unit) {
    brush.fillRect((x - view.left) * scale, 0, 1, ground.height);
  }
  for (let y = Math.ceil(view.bottom / unit) * unit; y <= view.top; y += unit) {
    brush.fillRect(0, (view.top - y) * scale, ground.width, 1);
  }
}
