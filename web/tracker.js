// The tracker of lib/test/tracker/tracker.py: crop around the last box, run the network, read the box, map it back.

import { cropWindow, cutCrop } from "./crop.js";
import { cellWeights, findDistractors } from "./distractors.js";
import { boxReader, checkHead, placesOf } from "./heads.js";

// What a network may be given of its target's first frame, as initial_state() of lib/models/ostrack/inference.py has it.
const STATE = { template: ({ crop }) => crop, box: ({ box }) => box, mask: boxMask };

/** What the tracker needs of the file that describes a network, as numbers. Throws: the page cannot run the network. */
export function readSettings({ record, inputs, outputs }) {
  const state = Object.keys(inputs).filter((name) => name !== "search");
  for (const name of state) {
    if (!(name in STATE)) throw new Error(`the network has an input "${name}", which this page cannot give it`);
  }
  const number = (key) => {
    const value = Number(record[key] ?? NaN);
    if (!Number.isFinite(value)) throw new Error(`the network's record has no number "${key}": export it again`);
    return value;
  };
  const settings = {
    template: { size: number("template_size"), factor: number("template_factor") },
    search: { size: number("search_size"), factor: number("search_factor") },
    stride: number("stride"),
    head: record.head,
    sizeScale: number("trained_search_size") / number("search_size"),
    sizeSmoothing: number("size_smoothing"),
    minSize: number("min_size"),
    distractorWeight: number("distractor_weight"),
    state,
    changes: record.state ? record.state.split(",") : [], // entries of the state that a run gives anew
  };
  checkHead(settings.head, outputs);
  return settings;
}

/** Tracks one target. Frames are those of cutCrop; boxes are x, y, w, h in pixels. */
export class Tracker {
  #settings;
  #run;
  #read;
  #state; // inputs that the network has of its target, by name
  #box;
  #distractors; // places of the last frame

  /**
   * @param settings from readSettings.
   * @param {Function} run takes inputs and gives outputs, as typed arrays by name.
   */
  constructor(settings, run) {
    this.#settings = settings;
    this.#run = run;
    this.#read = boxReader(settings);
  }

  /** Take the target from the first frame. Throws: the box has no area inside it. */
  start(frame, box) {
    const [x, y, w, h] = box;
    const inside = w > 0 && h > 0 && x < frame.width && y < frame.height && x + w > 0 && y + h > 0;
    if (!box.every(Number.isFinite) || !inside) {
      throw new Error(`the box ${box.join(", ")} has no area inside the ${frame.width} x ${frame.height} frame`);
    }
    const { template, state, stride } = this.#settings, window = cropWindow(box, template.factor);
    const known = {
      crop: cutCrop(frame, window, template.size),
      box: boxInTemplate(box, template.size / window.side, template.size),
      size: template.size,
      stride,
    };
    this.#state = Object.fromEntries(state.map((name) => [name, STATE[name](known)]));
    this.#box = [...box];
    this.#distractors = [];
  }

  /** Find the target in the next frame: its box, its score in (0, 1), and the milliseconds of crop and network. */
  async step(frame) {
    const { search, changes, sizeSmoothing, minSize, distractorWeight } = this.#settings;
    const begin = performance.now(), window = cropWindow(this.#box, search.factor);
    const crop = cutCrop(frame, window, search.size);
    const cropped = performance.now();
    const outputs = await this.#run({ ...this.#state, search: crop });
    const network = performance.now() - cropped;
    const places = distractorWeight < 1 ? placesOf(outputs, this.#settings) : null, known = this.#distractors;
    const cells = places?.map((place) => placeInImage(place, this.#box, window.side));
    const weights = known.length ? cellWeights(cells, this.#box, known, distractorWeight) : undefined;
    const { box, score } = this.#read(outputs, weights);
    if (![...box, score].every(Number.isFinite)) throw new Error("the network gave no numbers");
    const pixels = smoothSize(toImage(box, this.#box, window.side), this.#box, sizeSmoothing * (1 - score));
    this.#box = clipBox(pixels, frame.width, frame.height, Math.min(minSize, frame.width, frame.height));
    if (cells) this.#distractors = findDistractors(outputs.score_map, cells, this.#box, score, known);
    for (const name of changes) this.#state[name] = outputs[`next_${name}`];
    return { box: [...this.#box], score, crop: cropped - begin, network };
  }
}

/** The target in its own template: float32 x, y, w, h as fractions of it. */
function boxInTemplate([, , w, h], resizeFactor, size) {
  const center = (size - 1) / 2; // Quirk: half a pixel off, as in the published code
  const [width, height] = [w * resizeFactor, h * resizeFactor];
  return Float32Array.of((center - width / 2) / size, (center - height / 2) / size, width / size, height / size);
}

/**
 * Cells of the template's grid that the box touches, as bytes 0 and 1, row by row; at least the one in the middle.
 *
 * As box_mask() of lib/models/layers/candidate_elimination.py, which draws the box in pixels and resizes it to the grid:
 * there each cell is the mean of the two pixels in its middle, each way.
 */
function boxMask({ box, size, stride }) {
  const grid = size / stride, [x, y, w, h] = box.map((value) => Math.fround(value * size));
  const touched = (start, length) => {
    const first = Math.trunc(start), last = Math.trunc(Math.fround(Math.fround(start + length) - 1));
    return Array.from({ length: grid }, (_, cell) => {
      const middle = (cell + 0.5) * stride - 0.5;
      return [Math.floor(middle), Math.ceil(middle)].some((pixel) => pixel >= first && pixel < last);
    });
  };
  const columns = touched(x, w), rows = touched(y, h);
  const mask = Uint8Array.from({ length: grid * grid }, (_, i) => rows[Math.floor(i / grid)] && columns[i % grid]);
  if (!mask.includes(1)) mask[(grid + 1) * Math.floor((grid - 1) / 2)] = 1;
  return mask;
}

/** Carry a place from the window of `side` pixels around `around` into the image. */
function placeInImage([cx, cy], around, side) {
  const x = around[0] + 0.5 * around[2], y = around[1] + 0.5 * around[3], half = 0.5 * side;
  return [x - half + cx * side, y - half + cy * side];
}

/** Carry a box from the window of `side` pixels around `around` into the image. */
function toImage([cx, cy, ...sides], around, side) {
  const [x, y] = placeInImage([cx, cy], around, side), [w, h] = sides.map((value) => value * side);
  return [x - 0.5 * w, y - 0.5 * h, w, h];
}

/** The box about the same center, its sides mixed with those of `last`, whose share is `keep`. */
function smoothSize([x, y, w, h], last, keep) {
  const width = keep * last[2] + (1 - keep) * w, height = keep * last[3] + (1 - keep) * h;
  return [x + 0.5 * (w - width), y + 0.5 * (h - height), width, height];
}

/** Clip a box so that `margin` pixels of it stay inside the image, each way; shorter sides grow to them. */
function clipBox([x, y, w, h], width, height, margin) {
  const left = Math.min(Math.max(0, x), width - margin), top = Math.min(Math.max(0, y), height - margin);
  const right = Math.min(Math.max(margin, x + w), width), bottom = Math.min(Math.max(margin, y + h), height);
  return [left, top, Math.max(margin, right - left), Math.max(margin, bottom - top)];
}
