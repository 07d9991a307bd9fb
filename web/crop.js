// Square crops around a box, with the bytes that lib/utils/crop.py and cv2.resize make.

const ONE = 1 << 11; // the weight 1 of OpenCV's bilinear resize, which computes bytes in integers

/** Round to the nearest integer, halves to the even one, as Python does. */
export function roundHalfEven(value) {
  const floor = Math.floor(value), rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/**
 * The window {x, y, side} of side ceil(sqrt(w h) * factor), in whole pixels, centered on the box.
 * @param {number[]} box x, y, w, h in pixels of the image.
 */
export function cropWindow([x, y, w, h], factor) {
  const side = Math.ceil(Math.sqrt(w * h) * factor);
  return { x: roundHalfEven(x + 0.5 * w - 0.5 * side), y: roundHalfEven(y + 0.5 * h - 0.5 * side), side };
}

/**
 * Left, top, right and bottom of what a window shows of an image; all 0 where that is nothing.
 *
 * Quirk: a window that reaches the right or bottom border loses the last column or row, as in the published code.
 */
export function shownPart({ x, y, side }, width, height) {
  const left = Math.max(x, 0), top = Math.max(y, 0);
  const right = Math.min(x + side, width - 1), bottom = Math.min(y + side, height - 1);
  return left < right && top < bottom ? { left, top, right, bottom } : { left: 0, top: 0, right: 0, bottom: 0 };
}

/**
 * Cut a window out of a frame, with black where it reaches outside, and resize it (bilinear).
 * @param {{width: number, height: number, read: Function}} frame read(left, top, width, height) gives RGBA bytes.
 * @returns {Uint8Array} RGB, size x size x 3.
 */
export function cutCrop(frame, window, size) {
  const { left, top, right, bottom } = shownPart(window, frame.width, frame.height);
  const crop = new Uint8Array(size * size * 3);
  const width = right - left;
  if (width === 0) return crop;
  const pixels = frame.read(left, top, width, bottom - top);
  const columns = axis(window.side, left - window.x, right - window.x, size, true);
  const rows = axis(window.side, top - window.y, bottom - window.y, size, false);
  for (let y = 0, at = 0; y < size; y++) {
    const upper = rows.places[0][y] * width, lower = rows.places[1][y] * width;
    const upperWeight = rows.weights[0][y], lowerWeight = rows.weights[1][y];
    for (let x = 0; x < size; x++) {
      const a = columns.places[0][x], b = columns.places[1][x];
      const aWeight = columns.weights[0][x], bWeight = columns.weights[1][x];
      for (let channel = 0; channel < 3; channel++) {
        const mixed = (row) =>
          (pixels[4 * (row + a) + channel] * aWeight + pixels[4 * (row + b) + channel] * bWeight) >> 4;
        crop[at++] = (((mixed(upper) * upperWeight) >> 16) + ((mixed(lower) * lowerWeight) >> 16) + 2) >> 2;
      }
    }
  }
  return crop;
}

/**
 * The two pixels that each pixel of an axis is mixed from, and their weights.
 *
 * Pixels are counted from `first`, the first of the window that shows the image; those from `end` on are black.
 */
function axis(side, first, end, size, horizontal) {
  const scale = 1 / (size / side), last = side - 1;
  const places = [new Int32Array(size), new Int32Array(size)], weights = [new Int32Array(size), new Int32Array(size)];
  for (let i = 0; i < size; i++) {
    const where = Math.fround((i + 0.5) * scale - 0.5), place = Math.floor(where);
    // OpenCV takes the pixels of the border alone in columns, but mixes them with themselves in rows.
    const share = horizontal && (place < 0 || place >= last) ? 0 : Math.fround(where - place);
    for (const [one, weight] of [Math.fround(1 - share), share].entries()) {
      const pixel = Math.min(Math.max(place + one, 0), last);
      if (pixel < first || pixel >= end) continue; // black: weight 0
      places[one][i] = pixel - first;
      weights[one][i] = roundHalfEven(weight * ONE);
    }
  }
  return { places, weights };
}
