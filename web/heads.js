// Boxes from what the network gives, by the kind of its head: lib/models/layers/head.py.

const CELL_OUTPUTS = ["score_map", "size_map", "offset_map"];
const HEADS = {
  CENTER: { outputs: CELL_OUTPUTS, read: readCell, places: cellPlaces },
  MLP: { outputs: CELL_OUTPUTS, read: readCell, places: cellPlaces },
  CORNER: { outputs: ["pred_boxes", "corner_map"], read: readCorners },
};

/** Throws: this page cannot read boxes from such a head, or from such outputs. */
export function checkHead(head, outputs) {
  if (!(head in HEADS)) throw new Error(`the network has a head ${head}, which this page cannot read boxes from`);
  for (const name of HEADS[head].outputs) {
    if (!(name in outputs)) throw new Error(`the network has no output "${name}", which its boxes are read from`);
  }
}

/**
 * What reads {box, score} from outputs, typed arrays by name; boxes are cx, cy, w, h as parts of the search region.
 *
 * It also takes weights of the cells, or undefined for 1.
 */
export function boxReader({ head, search, stride, sizeScale }) {
  const grid = search.size / stride, hann = hann2d(grid);
  return (outputs, weights) => {
    const window = weights ? hann.map((value, cell) => value * weights[cell]) : hann;
    return HEADS[head].read(outputs, { grid, window, sizeScale });
  };
}

/** The places of all cells, [x, y] as parts of the search region; null of a head without cells. */
export function placesOf(outputs, { head, search, stride }) {
  return HEADS[head].places?.(outputs, search.size / stride) ?? null;
}

/** The centers of the boxes that the cells predict. */
function cellPlaces({ offset_map: offsets }, grid) {
  return Array.from({ length: grid * grid }, (_, cell) => cellPlace(offsets, cell, grid));
}

function cellPlace(offsets, cell, grid) {
  const x = cell % grid + offsets[cell], y = Math.floor(cell / grid) + offsets[grid * grid + cell];
  return [Math.fround(x) / grid, Math.fround(y) / grid];
}

/** The box at the cell whose score is best under the window, and its score without the window. */
function readCell({ score_map: scores, size_map: sizes, offset_map: offsets }, { grid, window, sizeScale }) {
  const cells = grid * grid;
  let cell = 0, best = -Infinity;
  for (let i = 0; i < cells; i++) {
    const value = Math.fround(window[i] * scores[i]);
    if (value > best) [cell, best] = [i, value];
  }
  const scale = Math.fround(sizeScale);
  const box = Float32Array.of(...cellPlace(offsets, cell, grid), scale * sizes[cell], scale * sizes[cells + cell]);
  return { box: [...box], score: scores[cell] };
}

/** The box of two corners; its score is the geometric mean of their best probabilities. */
function readCorners({ pred_boxes: box, corner_map: corners }) {
  const half = corners.length / 2, best = [corners.subarray(0, half), corners.subarray(half)].map((map) => map.reduce((a, b) => Math.max(a, b)));
  return { box: [...box], score: Math.sqrt(best[0] * best[1]) };
}

/** A separable Hann window without its zeros, rows first; computed in float32 like the network's outputs. */
function hann2d(size) {
  const step = Math.fround((2 * Math.PI) / (size + 1));
  const line = Float32Array.from({ length: size }, (_, i) => 0.5 * (1 - Math.fround(Math.cos(Math.fround(step * (i + 1))))));
  return Float32Array.from({ length: size * size }, (_, i) => line[Math.floor(i / size)] * line[i % size]);
}
