// The page's side of worker.js, the thread that runs the tracker.

/** Sends commands of worker.js, and gives their answers. */
export class Engine {
  #worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #count = 0;

  /** @param {Function} onProgress takes {loaded, total}, bytes of the network, while it loads. */
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

  /** The answer to a command. Throws: what the worker threw. */
  ask(command, values, transferred = []) {
    return new Promise((resolve, reject) => {
      const id = this.#count++;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, command, ...values }, transferred);
    });
  }
}
