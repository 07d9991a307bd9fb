// What a person does on the page, and what the page says: sources, tracking, numbers.

import { Engine } from "./engine.js";
import { openCamera, openFiles, openVideo } from "./frames.js";
import { LOST, View } from "./view.js";

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((element) => [element.id, element]));
const fields = [...page.box.querySelectorAll("input")];
const view = new View(page.view);

let source = null; // from frames.js
let choice = 0; // counts what was chosen: the last choice is shown, however long it takes to open
let place = null; // number or time of the frame that is shown
let given = false; // the box is a person's, and the tracker does not know it yet
let held = null; // a frame that was tracked while a person drew on the one before: it comes next
let rows = []; // what was tracked, for the file of boxes
let loop = null; // what goes on by itself: {stop, done}
let tracking = false;
let ended = false; // the source has no more frames
const times = []; // when the last frames were tracked

// ---------------------------------------------------------------- the network

const engine = new Engine(({ loaded, total }) => tell(`Loading the network: ${Math.round((100 * loaded) / total)} %`));
const ready = loadNetwork();
let broken = ""; // why there is no network
ready.catch((error) => {
  broken = `The network could not be loaded. ${error.message}`;
  tell("There is no network to track with.");
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
  // A GPU that the CPU plays is slower than WebAssembly.
  return Boolean(adapter) && !(adapter.info?.isFallbackAdapter ?? adapter.isFallbackAdapter);
}

// ---------------------------------------------------------------- what is on the page

function tell(text) {
  if (page.status.textContent !== text) page.status.textContent = text; // readers of the screen read out what changes
}

function hint(text) {
  page.hint.textContent = text;
  page.hint.hidden = !text;
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
  page.play.disabled = !loaded || !view.box || (ended && !given);
  page.step.disabled = page.play.disabled || tracking;
  page.reset.disabled = !source;
  page.save.disabled = rows.length === 0;
  for (const field of fields) field.disabled = !source || tracking;
  if (!fields.includes(document.activeElement)) writeFields();
}

function writeFields() {
  for (const [i, field] of fields.entries()) field.value = view.box ? +view.box[i].toFixed(1) : "";
}

function show({ bitmap, at, skipped }) {
  place = at;
  page.frame.textContent = source.unit === "seconds" ? `${at.toFixed(2)} s` : `${at}`;
  if (skipped) page.frame.textContent += `, ${skipped} skipped`;
  view.show(bitmap);
}

/** Show what the tracker found, and how fast. */
function report({ box, score, network, crop }) {
  view.setBox(box, score);
  rows.push([place, ...box, score]);
  const now = performance.now();
  times.push(now);
  while (times.length > 30 || now - times[0] > 3000) times.shift();
  const rate = times.length > 1 ? ((1000 * (times.length - 1)) / (now - times[0])).toFixed(1) : "–";
  page.meter.value = score;
  page.score.textContent = score.toFixed(2);
  page.speed.textContent = `${rate} frames/s (network ${network.toFixed(0)} ms, crop ${crop.toFixed(0)} ms)`;
  tell(score < LOST ? "The target may be lost." : "Tracking.");
}

// ---------------------------------------------------------------- sources

async function choose(open, byPerson = true) {
  const mine = ++choice;
  await stop();
  forgive();
  try {
    const opened = await open();
    if (mine !== choice) return opened.close();
    const first = await opened.first().catch((error) => {
      opened.close(); // what is on the page stays
      throw error;
    });
    if (mine !== choice) return opened.close();
    await stop();
    source?.close();
    source = opened;
    begin(first);
    if (byPerson) page.view.focus({ preventScroll: true }); // for its keys
  } catch (error) {
    if (mine === choice) fail(error);
  }
}

async function rewind() {
  await stop();
  forgive();
  begin(await source.first());
}

/** Show the first frame of the source, and forget what was before. */
function begin(first) {
  held?.bitmap.close();
  [held, given, ended, rows] = [null, false, false, []];
  page.score.textContent = page.speed.textContent = "–";
  page.meter.value = 0;
  view.setBox(null, null);
  show(first);
  hint("Drag a box around the target");
  if ("ready" in document.documentElement.dataset) tell("Ready.");
  update();
  if (source.live) run(preview);
}

async function openSample() {
  const response = await fetch("sample/helicopter.mp4").catch((error) => ({ ok: false, status: error.message }));
  if (!response.ok) throw new Error(`The sample clip could not be loaded (${response.status}): is the server still running?`);
  return openVideo(await response.blob());
}

const reset = () => (source ? rewind().catch(fail) : undefined);

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

async function stepOnce() {
  await advance(() => source.step());
  tell(ended ? "The end. Reset, or draw another box." : "Paused.");
  update();
}

/** Track in the next frame; false at the end. */
async function advance(next) {
  if (given) {
    await engine.ask("start", { box: view.box, bitmap: await createImageBitmap(view.frame) });
    if (rows.at(-1)?.[0] === place) rows.pop();
    rows.push([place, ...view.box, 1]);
    given = false;
  }
  const frame = held ?? (await next());
  held = null;
  ended = frame === null;
  if (ended) return false;
  const { bitmap, ...found } = await engine.ask("step", { bitmap: frame.bitmap }, [frame.bitmap]);
  const tracked = { ...frame, bitmap };
  if (await view.drawing) {
    held = tracked;
  } else {
    show(tracked);
    report(found);
    update();
  }
  return true;
}

const toggle = () => (tracking ? stop() : page.play.disabled ? undefined : run(track));

const step = () => (page.step.disabled ? undefined : run(stepOnce));

// ---------------------------------------------------------------- the box

/** Take a box that a person gave; it is moved into the frame. */
function setBox([x, y, w, h]) {
  const { width, height } = view.frame;
  const inside = (value, least, most) => Math.min(Math.max(value, least), most);
  const [across, down] = [inside(w, 1, width), inside(h, 1, height)];
  view.setBox([inside(x, 0, width - across), inside(y, 0, height - down), across, down], null);
  given = true;
  hint("");
  update();
}

view.onGrab = () => {
  hint("");
  stop();
};

view.onBox = async (box, byKey = false) => {
  await stop();
  setBox(box);
  if (!byKey) await ready.then(toggle, () => {});
};

view.onClick = async () => {
  await stop();
  if (!view.box) hint("Drag a box around the target");
  if (source.live && !view.box) run(preview);
};

page.view.addEventListener("keydown", (event) => {
  const action = { enter: toggle, " ": toggle, s: step, r: reset }[event.key.toLowerCase()];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
});

for (const field of fields) {
  field.addEventListener("change", async () => {
    const values = fields.map((one) => one.valueAsNumber);
    if (values.every(Number.isFinite)) {
      await stop();
      setBox(values);
    }
    if (view.box) writeFields(); // as it was taken, also where the cursor is still in a field
  });
}

// ---------------------------------------------------------------- buttons

page.sample.addEventListener("click", () => choose(openSample));
page.open.addEventListener("click", () => {
  page.files.value = ""; // or the same file would be no change
  page.files.click();
});
page.files.addEventListener("change", () => openChosen(page.files.files));
page.camera.addEventListener("click", () => choose(openCamera));
page.play.addEventListener("click", toggle);
page.step.addEventListener("click", step);
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

update();
choose(openSample, false); // something to try at once
