// The tracker of lib/test/tracker/ostrack.py: crop around the last box, run the network, read the box, map it back.

import { cropWindow, cutCrop } from "./crop.js";

const INPUTS = ["template", "search", "box"], OUTPUTS = ["score_map", "size_map", "offset_map"];

/** What the tracker needs of the file that describes a network, as numbers. Throws: the network is of another kind. */
export function readSettings(description) {
  const { record, inputs, outputs, size_scale, size_smoothing, margin } = description;
  for (const name of Object.keys(inputs)) {
    if (!INPUTS.includes(name)) throw new Error(`the network has an input "${name}", which this page cannot give it`);
  }
  for (const name of OUTPUTS) {
    if (!(name in outputs)) throw new Error(`the network has no output "${name}", which this page reads its boxes from`);
  }
  const number = (key) => Number(record[key]);
  return {
    template: { size: number("template_size"), factor: number("template_factor") },
    search: { size: number("search_size"), factor: number("search_factor") },
    grid: number("search_size") / number("stride"),
    wantsBox: "box" in inputs,
    sizeScale: size_scale,
    sizeSmoothing: size_smoothing,
    margin,
  };
}

/** Tracks one target. Frames are those of cutCrop; boxes are x, y, w, h in pixels. */
export class Tracker {
  #settings;
  #run;
  #window;
  #first; // the inputs that stay the same: template, and box where the network wants it
  #box;

  /**
   * @param settings from readSettings.
   * @param {Function} run takes inputs and gives outputs, as typed arrays by name.
   */
  constructor(settings, run) {
    this.#settings = settings;
    this.#run = run;
    this.#window = hann2d(settings.grid);
  }

  /** Take the target from the first frame. Throws: the box has no area inside it. */
  start(frame, box) {
    const [x, y, w, h] = box;
    const inside = w > 0 && h > 0 && x < frame.width && y < frame.height && x + w > 0 && y + h > 0;
    if (!box.every(Number.isFinite) || !inside) {
      throw new Error(`the box ${box.join(", ")} has no area inside the ${frame.width} x ${frame.height} frame`);
    }
    const { size, factor } = this.#settings.template;
    const window = cropWindow(box, factor);
    this.#first = { template: cutCrop(frame, window, size) };
    if (this.#settings.wantsBox) this.#first.box = boxInTemplate(box, size / window.side, size);
    this.#box = [...box];
  }

  /** Find the target in the next frame: its box, its score in (0, 1), and the milliseconds of crop and network. */
  async step(frame) {
    const begin = performance.now(), { size, factor } = this.#settings.search;
    const window = cropWindow(this.#box, factor);
    const search = cutCrop(frame, window, size);
    const cropped = performance.now();
    const maps = await this.#run({ ...this.#first, search });
    const network = performance.now() - cropped;
    const { box, score } = decode(maps, this.#window, this.#settings);
    if (![...box, score].every(Number.isFinite)) throw new Error("the network gave no numbers");
    const pixels = smoothSize(toImage(box, this.#box, size / window.side, size), this.#box,
                              this.#settings.sizeSmoothing * (1 - score));
    this.#box = clipBox(pixels, frame.width, frame.height, this.#settings.margin);
    return { box: [...this.#box], score, crop: cropped - begin, network };
  }
}

/** A separable Hann window without its zeros, rows first; computed in float32 like the network's outputs. */
function hann2d(size) {
  const step = Math.fround((2 * Math.PI) / (size + 1));
  const line = Float32Array.from({ length: size }, (_, i) => 0.5 * (1 - Math.fround(Math.cos(Math.fround(step * (i + 1))))));
  return Float32Array.from({ length: size * size }, (_, i) => line[Math.floor(i / size)] * line[i % size]);
}

/** The target in its own template: float32 x, y, w, h as fractions of it. */
function boxInTemplate([, , w, h], resizeFactor, size) {
  const center = (size - 1) / 2; // Quirk: half a pixel off, as in the published code
  const [width, height] = [w * resizeFactor, h * resizeFactor];
  return Float32Array.of((center - width / 2) / size, (center - height / 2) / size, width / size, height / size);
}

/** The box at the best cell, center and size as fractions of the search region, and the score there. */
function decode({ score_map: scores, size_map: sizes, offset_map: offsets }, window, { grid, sizeScale }) {
  const cells = grid * grid;
  let cell = 0, best = -Infinity;
  for (let i = 0; i < cells; i++) {
    const value = Math.fround(window[i] * scores[i]);
    if (value > best) [cell, best] = [i, value];
  }
  const column = cell % grid, row = Math.floor(cell / grid), scale = Math.fround(sizeScale);
  const box = Float32Array.of(
    Math.fround(column + offsets[cell]) / grid, Math.fround(row + offsets[cells + cell]) / grid,
    scale * sizes[cell], scale * sizes[cells + cell],
  );
  return { box: [...box], score: scores[cell] };
}

/** Carry a box from the crop around `around` into the image. */
function toImage(box, around, resizeFactor, size) {
  const [cx, cy, w, h] = box.map((value) => (value * size) / resizeFactor);
  const half = (0.5 * size) / resizeFactor;
  const x = around[0] + 0.5 * around[2], y = around[1] + 0.5 * around[3];
  return [x - half + cx - 0.5 * w, y - half + cy - 0.5 * h, w, h];
}

/** The box about the same center, its sides mixed with those of `last`, whose share is `keep`. */
function smoothSize([x, y, w, h], last, keep) {
  const width = keep * last[2] + (1 - keep) * w, height = keep * last[3] + (1 - keep) * h;
  return [x + 0.5 * (w - width), y + 0.5 * (h - height), width, height];
}

/** Clip a box so that `margin` pixels of it stay inside the image, each way. */
function clipBox([x, y, w, h], width, height, margin) {
  const left = Math.min(Math.max(0, x), width - margin), top = Math.min(Math.max(0, y), height - margin);
  const right = Math.min(Math.max(margin, x + w), width), bottom = Math.min(Math.max(margin, y + h), height);
  return [left, top, Math.max(margin, right - left), Math.max(margin, bottom - top)];
}
