// Objects that look like the target, remembered from one frame to the next: lib/test/tracker/distractors.py.

// Scores, in (0, 1); distances as multiples of the target's side, the square root of its box's area.
const LEAST_SCORE = 0.1, SURE = 0.5, WEAKER = 0.5, STRONGEST = 3, APART = 0.5, SAME = 1;

/**
 * A weight for each cell: less than 1 near a distractor of the last frame, unless the target's last box is nearer.
 *
 * Places, of cells and of distractors, are [x, y] in pixels of the image.
 */
export function cellWeights(places, box, known, weight) {
  const center = centerOf(box), near = SAME * sideOf(box);
  return places.map((place) => {
    const nearest = nearestOf(place, known);
    return nearest < near && nearest < distance(place, center) ? weight : 1;
  });
}

/** The places of the distractors of a frame, from the scores of its cells, row by row, and the target's new box. */
export function findDistractors(scores, places, box, score, known) {
  const grid = Math.sqrt(scores.length), center = centerOf(box), side = sideOf(box);
  return places.filter((place, cell) => {
    const peak = scores[cell];
    if (!(peak > LEAST_SCORE) || peak > STRONGEST * score || !isPeak(scores, cell, grid)) return false;
    const seen = nearestOf(place, known) < SAME * side, weaker = score >= SURE && peak <= WEAKER * score;
    return distance(place, center) > APART * side && (seen || weaker);
  });
}

/** Whether none of the cells around has a higher score. */
function isPeak(scores, cell, grid) {
  const column = cell % grid, row = Math.floor(cell / grid);
  for (let y = Math.max(row - 1, 0); y <= Math.min(row + 1, grid - 1); y++) {
    for (let x = Math.max(column - 1, 0); x <= Math.min(column + 1, grid - 1); x++) {
      if (scores[y * grid + x] > scores[cell]) return false;
    }
  }
  return true;
}

const distance = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
const nearestOf = (place, others) => Math.min(...others.map((other) => distance(place, other)));
const centerOf = ([x, y, w, h]) => [x + w / 2, y + h / 2];
const sideOf = (box) => Math.sqrt(box[2] * box[3]);
