// What a person sees and does: sources, the box, playing, and what the tracker says.

import { openCamera, openFiles, openVideo } from "./frames.js";

const LOST = 0.3; // below this score a box is dashed, as in tracking/video_demo.py
const SMALLEST = 4; // pixels of the frame that a drawn box has at least; what is less was a click

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const fields = [...page.box.querySelectorAll("input")];
const context = page.view.getContext("2d", { alpha: false });

let source = null;
let shown = null; // the picture on the page, kept to start from
let place = null; // its number or time
let box = null;
let score = null; // of the box; null where a person drew it
let drawn = false; // the tracker does not know the box yet
let drag = null; // where on the frame a drag began
let rows = []; // what was tracked, for the file of boxes
let loop = null; // what goes on by itself: {stop, done}
let tracking = false;
let ended = false;
const times = []; // when the last frames were tracked

/** The thread that runs the tracker; its commands are in worker.js. */
class Engine {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #count = 0;

  constructor(onProgress) {
    this.#worker.onmessage = ({ data: { id, answer, error, ...progress } }) => {
      if (id === undefined) return onProgress(progress);
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(answer);
      else reject(new Error(error));
    };
    this.#worker.onerror = (event) => {
      const error = new Error(event.message || "worker.js could not be loaded: is the server still running?");
      for (const { reject } of this.#waiting.values()) reject(error);
    };
  }

  ask(command, values, transferred = []) {
    return new Promise((resolve, reject) => {
      const id = this.#count++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, command, ...values }, transferred);
    });
  }
}

// ---------------------------------------------------------------- the network

const engine = new Engine(({ loaded, total }) => tell(`Loading the network: ${Math.round((100 * loaded) / total)} %`));
const ready = loadNetwork();
let broken = ""; // why there is no network
ready.catch((error) => {
  broken = `The network could not be loaded. ${error.message}`;
  fail({ message: broken });
});

async function loadNetwork() {
  const asked = new URLSearchParams(location.search);
  const backends = asked.has("backend") ? [asked.get("backend")] : [...((await hasGPU()) ? ["webgpu"] : []), "wasm"];
  const cores = navigator.hardwareConcurrency || 1;
  // Threads need memory that is shared, which browsers give to pages with the headers that "make web" sends.
  const threads = crossOriginIsolated ? Number(asked.get("threads")) || Math.min(cores, Math.max(2, cores >> 1), 8) : 1;
  tell("Loading the network");
  const { backend, description, problems } = await engine.ask("load", { backends, threads });
  const { experiment, precision } = description.record;
  const how = backend === "webgpu" ? "WebGPU" : `WebAssembly, ${threads === 1 ? "1 thread" : `${threads} threads`}`;
  page.network.textContent = `${experiment}, ${precision} (${(description.bytes / 1e6).toFixed(0)} MB), ${how}`;
  page.network.title = problems.join("\n");
  document.documentElement.dataset.ready = backend;
  tell(crossOriginIsolated ? "Ready." : "Ready, with one thread: this server does not send the headers that threads need.");
  update();
}

async function hasGPU() {
  const adapter = await navigator.gpu?.requestAdapter().catch(() => null);
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter); // a GPU that the CPU plays is slower than WebAssembly
}

// ---------------------------------------------------------------- what is on the page

function tell(text) {
  page.status.textContent = text;
}

function fail(error) {
  page.problem.textContent = error.message;
  page.problem.hidden = false;
}

function forgive() {
  page.problem.textContent = broken;
  page.problem.hidden = !broken;
}

function update() {
  const loaded = "ready" in document.documentElement.dataset;
  page.play.textContent = tracking ? "Pause" : "Track";
  page.play.disabled = !loaded || !box || (ended && !drawn);
  page.step.disabled = page.play.disabled || tracking;
  page.reset.disabled = !source;
  page.save.disabled = rows.length === 0;
  for (const field of fields) field.disabled = !source || tracking;
  if (!fields.includes(document.activeElement)) writeFields();
}

function writeFields() {
  for (const [i, field] of fields.entries()) field.value = box ? +box[i].toFixed(1) : "";
}

function draw() {
  const { view } = page;
  if (!shown) return;
  if (view.width !== shown.width || view.height !== shown.height) {
    [view.width, view.height] = [shown.width, shown.height];
    view.style.setProperty("--ratio", shown.width / shown.height);
  }
  context.drawImage(shown, 0, 0);
  if (!box) return;
  const pixel = view.width / view.clientWidth; // of the screen, in pixels of the frame
  context.setLineDash(score !== null && score < LOST ? [6 * pixel, 4 * pixel] : []);
  for (const [color, width] of [["#000a", 4], [score === null ? "#ffd23f" : "#4de08a", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width * pixel;
    context.strokeRect(...box);
  }
}

function show(frame) {
  shown?.close();
  shown = frame.bitmap;
  place = frame.at;
  page.frame.textContent = source.unit === "seconds" ? `${place.toFixed(2)} s` : `${place}`;
  draw();
}

function report(found, skipped) {
  const now = performance.now();
  times.push(now);
  while (times.length > 30 || now - times[0] > 3000) times.shift();
  const rate = times.length > 1 ? (1000 * (times.length - 1)) / (now - times[0]) : 0;
  page.meter.value = score;
  page.score.textContent = score.toFixed(2);
  page.speed.textContent =
    `${rate ? rate.toFixed(1) : "–"} frames/s (network ${found.network.toFixed(0)} ms, crop ${found.crop.toFixed(0)} ms)`;
  rows.push([place, ...box, score]);
  if (skipped) page.frame.textContent += `, ${skipped} skipped`;
}

// ---------------------------------------------------------------- sources

async function choose(open) {
  await stop();
  forgive();
  try {
    const opened = await open();
    source?.close();
    source = opened;
    page.hint.hidden = true;
    await rewind();
    page.view.focus({ preventScroll: true });
  } catch (error) {
    fail(error);
  }
}

async function rewind() {
  await stop();
  [box, score, drawn, ended, rows] = [null, null, false, false, []];
  page.score.textContent = page.speed.textContent = "–";
  page.meter.value = 0;
  show(await source.first());
  tell("Drag a box around the target.");
  update();
  if (source.live) run(preview);
}

async function fetchSample() {
  const response = await fetch("sample/helicopter.mp4").catch((error) => ({ ok: false, status: error.message }));
  if (!response.ok) throw new Error(`The sample clip could not be loaded (${response.status}): is the server still running?`);
  return openVideo(await response.blob());
}

const reset = () => rewind().catch(fail);

const openChosen = (files) => (files.length ? choose(() => openFiles([...files])) : undefined);

// ---------------------------------------------------------------- going on

/** Let `body` go on until it ends or is stopped. */
async function run(body) {
  while (loop) await stop();
  const mine = (loop = { stop: false });
  mine.done = body(mine).catch(fail).finally(() => {
    if (loop === mine) loop = null;
  });
  await mine.done;
}

async function stop() {
  if (!loop) return;
  loop.stop = true;
  await loop.done;
}

/** Show what a camera sees, until there is a box. */
async function preview(mine) {
  while (!mine.stop) {
    const frame = await source.next();
    if (mine.stop) frame.bitmap.close();
    else show(frame); // while a person draws, the frame stands still
  }
}

async function track(mine) {
  tracking = true;
  forgive();
  times.length = 0;
  tell("Tracking.");
  update();
  try {
    while (!mine.stop && (await advance(() => source.next())));
  } finally {
    tracking = false;
    source.pause();
    tell(ended ? "The end. Reset, or draw another box." : "Paused.");
    update();
  }
}

/** Track in the next frame; false at the end. */
async function advance(next) {
  if (drawn) {
    await engine.ask("start", { box, bitmap: await createImageBitmap(shown) });
    if (!rows.length) rows.push([place, ...box, 1]);
    drawn = false;
  }
  const frame = await next();
  ended = frame === null;
  if (ended) return false;
  const found = await engine.ask("step", { bitmap: frame.bitmap }, [frame.bitmap]);
  if (drag) {
    found.bitmap.close(); // a person draws on the frame before
    return true;
  }
  [box, score] = [found.box, found.score];
  show({ ...frame, bitmap: found.bitmap });
  report(found, frame.skipped);
  update();
  return true;
}

async function toggle() {
  if (tracking) return stop();
  if (!page.play.disabled) return run(track);
}

const stepOnce = () => (page.step.disabled ? undefined : run(async () => {
  await advance(() => source.step());
  tell(ended ? "The end. Reset, or draw another box." : "Paused.");
  update();
}));

// ---------------------------------------------------------------- the box

/** Take a box that a person gave; it is moved into the frame. */
function setBox([x, y, w, h]) {
  const width = Math.min(Math.max(w, 1), page.view.width), height = Math.min(Math.max(h, 1), page.view.height);
  box = [Math.min(Math.max(x, 0), page.view.width - width), Math.min(Math.max(y, 0), page.view.height - height), width, height];
  [score, drawn] = [null, true];
  tell("Press Track or Step.");
  draw();
  update();
}

function onFrame(event) {
  const around = page.view.getBoundingClientRect();
  const across = (event.clientX - around.left) / around.width, down = (event.clientY - around.top) / around.height;
  return [page.view.width * Math.min(Math.max(across, 0), 1), page.view.height * Math.min(Math.max(down, 0), 1)];
}

const between = ([a, b], [c, d]) => [Math.min(a, c), Math.min(b, d), Math.abs(a - c), Math.abs(b - d)];

page.view.addEventListener("pointerdown", (event) => {
  if (!source || !event.isPrimary || event.button !== 0) return;
  drag = onFrame(event);
  page.view.setPointerCapture(event.pointerId);
  stop();
});

page.view.addEventListener("pointermove", (event) => {
  if (!drag) return;
  const [x, y, w, h] = between(drag, onFrame(event));
  if (w >= SMALLEST && h >= SMALLEST) {
    [box, score] = [[x, y, w, h], null];
    draw();
  }
});

page.view.addEventListener("pointerup", async (event) => {
  if (!drag) return;
  const found = between(drag, onFrame(event));
  await stop(); // what was on its way when the drag began is not shown: drag is still set
  drag = null;
  if (found[2] >= SMALLEST && found[3] >= SMALLEST) {
    setBox(found);
    await ready.then(toggle, () => {});
  } else if (source.live && !drawn) {
    run(preview); // it was a click
  }
});

page.view.addEventListener("pointercancel", () => (drag = null));

page.view.addEventListener("keydown", async (event) => {
  if (!source || event.ctrlKey || event.metaKey || event.altKey) return;
  const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
  const action = { enter: toggle, " ": toggle, s: stepOnce, r: reset }[event.key.toLowerCase()];
  if (!direction && !action) return;
  event.preventDefault();
  if (action) return action();
  await stop();
  const { width, height } = page.view, by = Math.max(1, Math.round(width / 100));
  const [x, y, w, h] = box ?? [3 * width / 8, 3 * height / 8, width / 4, height / 4];
  const [dx, dy] = box ? direction.map((one) => one * by) : [0, 0];
  setBox(event.shiftKey ? [x, y, w + dx, h + dy] : [x + dx, y + dy, w, h]);
});

for (const field of fields) {
  field.addEventListener("change", async () => {
    const values = fields.map((one) => one.valueAsNumber);
    if (!values.every(Number.isFinite)) return;
    await stop();
    setBox(values);
  });
}

// ---------------------------------------------------------------- buttons

page.sample.addEventListener("click", () => choose(fetchSample));
page.open.addEventListener("click", () => page.files.click());
page.files.addEventListener("change", () => openChosen(page.files.files));
page.camera.addEventListener("click", () => choose(openCamera));
page.play.addEventListener("click", toggle);
page.step.addEventListener("click", stepOnce);
page.reset.addEventListener("click", reset);

page.save.addEventListener("click", () => {
  const lines = rows.map(([at, ...values]) => [at, ...values.map((value) => value.toFixed(4))].join(","));
  const blob = new Blob([[`${source.unit},x,y,w,h,score`, ...lines, ""].join("\n")], { type: "text/csv" });
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: "boxes.csv" });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

page.stage.addEventListener("dragover", (event) => event.preventDefault());
page.stage.addEventListener("drop", (event) => {
  event.preventDefault();
  openChosen(event.dataTransfer.files);
});

addEventListener("resize", draw);
update();
