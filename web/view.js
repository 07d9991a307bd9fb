// The canvas: shows a frame with a box on it, on which a person draws another by mouse, finger or keys.

export const LOST = 0.3; // below this score a box is dashed, as in tracking/video_demo.py
const SMALLEST = 4; // pixels of the frame that a drawn box has at least; what is less was a click
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export class View {
  frame = null; // the bitmap that is shown; it is kept to start from
  box = null; // x, y, w, h in pixels of the frame
  score = null; // of the box; null where a person gave it
  drawing = null; // while a person draws: a promise of whether that gives a box
  onGrab = () => {}; // a person begins to draw
  onBox = () => {}; // and gives a box,
  onClick = () => {}; // or none
  #canvas;
  #context;
  #draft = null;

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    canvas.addEventListener("pointerdown", (event) => this.#grab(event));
    canvas.addEventListener("keydown", (event) => this.#moveByKey(event));
    addEventListener("resize", () => this.draw());
  }

  /** Show a frame in place of the last. */
  show(bitmap) {
    this.frame?.close();
    this.frame = bitmap;
    this.draw();
  }

  setBox(box, score) {
    [this.box, this.score] = [box, score];
    this.draw();
  }

  draw() {
    const canvas = this.#canvas, context = this.#context, frame = this.frame;
    if (!frame) return;
    if (canvas.width !== frame.width || canvas.height !== frame.height) {
      [canvas.width, canvas.height] = [frame.width, frame.height];
      canvas.parentElement.style.setProperty("--ratio", frame.width / frame.height);
    }
    context.drawImage(frame, 0, 0);
    const box = this.#draft ?? this.box, score = this.#draft ? null : this.score;
    if (!box) return;
    const pixel = canvas.width / canvas.clientWidth; // of the screen, in pixels of the frame
    context.setLineDash(score !== null && score < LOST ? [6 * pixel, 4 * pixel] : []);
    for (const [color, width] of [["#0009", 5], [score === null ? "#ffd23f" : "#4de08a", 3]]) {
      context.strokeStyle = color;
      context.lineWidth = width * pixel;
      context.strokeRect(...box);
    }
  }

  #grab(event) {
    if (!this.frame || this.drawing || !event.isPrimary || event.button !== 0) return;
    const canvas = this.#canvas, listening = new AbortController(), { signal } = listening;
    const start = this.#place(event);
    let end;
    this.drawing = new Promise((resolve) => (end = resolve));
    canvas.setPointerCapture(event.pointerId);
    this.onGrab();
    canvas.addEventListener("pointermove", (moved) => {
      const [x, y] = this.#place(moved), [w, h] = [Math.abs(x - start[0]), Math.abs(y - start[1])];
      this.#draft = w >= SMALLEST && h >= SMALLEST ? [Math.min(x, start[0]), Math.min(y, start[1]), w, h] : null;
      this.draw();
    }, { signal });
    const finish = ({ type }) => {
      const box = type === "pointerup" ? this.#draft : null;
      listening.abort();
      this.#draft = this.drawing = null;
      end(box !== null);
      if (box) this.onBox(box);
      else this.onClick();
      this.draw();
    };
    canvas.addEventListener("pointerup", finish, { signal });
    canvas.addEventListener("pointercancel", finish, { signal });
  }

  /** Where on the frame a pointer is. */
  #place(event) {
    const around = this.#canvas.getBoundingClientRect(), part = (value, all) => Math.min(Math.max(value / all, 0), 1);
    return [
      this.#canvas.width * part(event.clientX - around.left, around.width),
      this.#canvas.height * part(event.clientY - around.top, around.height),
    ];
  }

  /** Arrows move the box by a hundredth of the frame's width, with Shift its lower right corner; the first gives one. */
  #moveByKey(event) {
    const direction = ARROWS[event.key];
    if (!this.frame || !direction || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { width, height } = this.frame, by = Math.max(1, Math.round(width / 100));
    const [dx, dy] = direction.map((one) => one * by);
    if (!this.box) return this.onBox([(3 * width) / 8, (3 * height) / 8, width / 4, height / 4], true);
    const [x, y, w, h] = this.box;
    this.onBox(event.shiftKey ? [x, y, w + dx, h + dy] : [x + dx, y + dy, w, h], true);
  }
}
