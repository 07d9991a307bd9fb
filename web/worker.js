// Loads the network and runs the tracker, away from the page's own thread, so that the page always answers.

import { readSettings, Tracker } from "./tracker.js";

// For each backend its build of onnxruntime-web; models/BACKEND.json names its network and says what that is.
const RUNTIMES = { webgpu: "ort/ort.webgpu.min.mjs", wasm: "ort/ort.wasm.min.mjs" };
// What they are not to join: products and sums, for the int8 of WebAssembly would not compute them, as in Python; and
// convolutions with what follows them, for with WebGPU they gave other scores (1.30).
const APART = { webgpu: "ConvActivationFusion", wasm: "MatMulAddFusion" };

let tracker;

const commands = {
  /** Load the network on the first of the backends that works; which one it was, and why not the others. */
  async load({ backends, threads }) {
    const problems = [];
    for (const backend of backends) {
      try {
        return { ...(await load(backend, threads)), problems };
      } catch (error) {
        problems.push(`${backend}: ${error.message}`);
      }
    }
    throw new Error(problems.join("; "));
  },

  start({ bitmap, box }) {
    tracker.start(new BitmapFrame(bitmap), box);
    bitmap.close();
    return {};
  },

  async step({ bitmap }) {
    const found = await tracker.step(new BitmapFrame(bitmap));
    return { ...found, bitmap };
  },
};

onmessage = async ({ data: { id, command, ...values } }) => {
  try {
    const answer = await commands[command](values);
    postMessage({ id, answer }, answer.bitmap ? [answer.bitmap] : []);
  } catch (error) {
    postMessage({ id, error: error.message ?? String(error) });
  }
};

async function load(backend, threads) {
  const description = await (await fetched(`models/${backend}.json`)).json();
  const settings = readSettings(description);
  const bytes = await withProgress(await fetched(`models/${description.file}`), description.bytes);
  const ort = await import(new URL(RUNTIMES[backend], import.meta.url));
  ort.env.wasm.wasmPaths = new URL("ort/", import.meta.url).href;
  ort.env.wasm.numThreads = threads;
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(bytes, {
    executionProviders: [backend],
    extra: { optimization: { disable_specified_optimizers: APART[backend] } },
  });
  async function run(inputs) {
    const tensors = Object.entries(inputs).map(([name, data]) => {
      const { type, shape } = description.inputs[name];
      return [name, new ort.Tensor(type, data, shape)];
    });
    const outputs = await session.run(Object.fromEntries(tensors));
    return Object.fromEntries(Object.entries(outputs).map(([name, tensor]) => [name, tensor.data]));
  }
  tracker = new Tracker(settings, run);
  await warmUp(settings);
  return { backend, description };
}

/** Run the network once: kernels are compiled, and a backend that cannot run it says so now. */
async function warmUp({ search }) {
  const black = { width: search.size, height: search.size, read: (x, y, width, height) => new Uint8Array(4 * width * height) };
  tracker.start(black, [search.size / 4, search.size / 4, search.size / 2, search.size / 2]);
  await tracker.step(black);
}

async function fetched(path) {
  let response;
  try {
    response = await fetch(new URL(path, import.meta.url));
  } catch (error) {
    throw new Error(`${path} could not be fetched (${error.message}): is the server still running?`);
  }
  if (!response.ok) throw new Error(`the server has no ${path} (status ${response.status}): run "make web" again`);
  return response;
}

/** The bytes of a response; the page is told how many have come. */
async function withProgress(response, total) {
  const bytes = new Uint8Array(total), reader = response.body.getReader();
  for (let count = 0; ; ) {
    const { done, value } = await reader.read();
    const end = count + (value?.length ?? 0);
    if (end > total || (done && end < total)) {
      throw new Error(`${new URL(response.url).pathname} is not of ${total} bytes: run "make web" again`);
    }
    if (done) return bytes;
    bytes.set(value, count);
    count = end;
    postMessage({ loaded: count, total });
  }
}

/** A picture of the page as cutCrop wants it. */
class BitmapFrame {
  static #context = new OffscreenCanvas(1, 1).getContext("2d", { alpha: false, willReadFrequently: true });

  constructor(bitmap) {
    this.bitmap = bitmap;
    this.width = bitmap.width;
    this.height = bitmap.height;
  }

  read(left, top, width, height) {
    const context = BitmapFrame.#context, { canvas } = context;
    if (canvas.width < width) canvas.width = width;
    if (canvas.height < height) canvas.height = height;
    context.drawImage(this.bitmap, left, top, width, height, 0, 0, width, height);
    return context.getImageData(0, 0, width, height).data;
  }
}
