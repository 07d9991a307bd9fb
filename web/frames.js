// Where frames come from: a video, a camera, or a series of pictures. Each frame is {bitmap, at, skipped}: the picture,
// its place (seconds, or a number from 0), and how many frames before it were not handed out.

/** Throws: the browser cannot show the files. */
export async function openFiles(files) {
  const pictures = files.filter((file) => file.type.startsWith("image/"));
  if (pictures.length && pictures.length === files.length) return new Pictures(pictures);
  if (files.length !== 1) throw new Error("choose one video, or the pictures of one sequence");
  return Video.open(files[0]);
}

/** Files of pictures, in the order of their names. */
class Pictures {
  unit = "frame";
  live = false;
  #files;
  #next = 0;

  constructor(files) {
    const order = new Intl.Collator(undefined, { numeric: true });
    this.#files = files.sort((a, b) => order.compare(a.name, b.name));
  }

  async first() {
    this.#next = 0;
    return this.next();
  }

  /** The next frame, or null at the end. */
  async next() {
    const at = this.#next, file = this.#files[at];
    if (!file) return null;
    this.#next++;
    try {
      // As they are in the file, as OpenCV reads them: no conversion to the screen's colors.
      return { bitmap: await createImageBitmap(file, { colorSpaceConversion: "none" }), at, skipped: 0 };
    } catch {
      throw new Error(`${file.name} is no picture that this browser can show`);
    }
  }

  step() {
    return this.next();
  }

  pause() {}

  close() {}
}

const SLOW = 0.25, SLOWEST = 0.0625; // speeds of a video; browsers go no slower

/** A video that waits for whoever asks for its frames, if need be after each of them. A camera does not wait. */
class Video {
  unit = "seconds";
  live = false;
  #video;
  #url;
  #at = 0;
  #spacing = Infinity; // seconds between frames, as far as seen
  #busy = Infinity; // seconds that a frame takes whoever asks for frames; Infinity before that is known
  #handed = null; // when the last one was handed out, while the video plays

  constructor(video) {
    this.#video = video;
  }

  static async open(blob) {
    const video = element(), opened = new Video(video);
    opened.#url = URL.createObjectURL(blob);
    try {
      await loaded(video, () => (video.src = opened.#url));
      if (!video.videoWidth) throw new Error("it has sound alone");
    } catch {
      opened.close();
      throw new Error(`${blob.name ?? "the clip"} is no video that this browser can play (MP4 with H.264 and WebM are safe)`);
    }
    return opened;
  }

  static async camera() {
    if (!navigator.mediaDevices) throw new Error("browsers give the camera to pages of this computer or by https alone");
    let stream;
    try {
      stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    } catch (error) {
      const reasons = {
        NotAllowedError: "this page may not use it; allow it in the browser's settings of this page",
        NotFoundError: "none was found",
        NotReadableError: "another program uses it",
      };
      throw new Error(`no picture from the camera: ${reasons[error.name] ?? error.message}`);
    }
    const video = element(), opened = new Video(video);
    opened.live = true;
    await loaded(video, () => (video.srcObject = stream));
    await video.play();
    return opened;
  }

  async first() {
    this.pause();
    if (!this.live && this.#video.currentTime !== 0) await this.#seek(0);
    this.#at = 0;
    return this.#frame(await shownBy(this.#video), 0);
  }

  /**
   * The next frame as the video plays, or null at the end.
   *
   * A video that is paused after each frame plays slowly in between, for a quarter of the time that a frame takes: a
   * browser that is late with the pause would skip frames.
   */
  async next() {
    if (this.#handed !== null) this.#busy = (performance.now() - this.#handed) / 1000;
    if (this.#video.ended) return null;
    const rate = (4 * this.#spacing) / this.#busy; // no number before both are known
    if (!this.live) this.#video.playbackRate = Number.isFinite(rate) ? Math.min(Math.max(rate, SLOWEST), 1) : SLOW;
    const frame = await this.#arrival();
    this.#handed = performance.now();
    return frame;
  }

  /** The frame after this one, where the video stops. */
  async step() {
    this.pause();
    this.#busy = Infinity;
    const frame = await this.next();
    this.pause();
    return frame;
  }

  pause() {
    this.#handed = null;
    if (!this.live) this.#video.pause();
  }

  close() {
    this.#video.srcObject?.getTracks().forEach((track) => track.stop());
    this.#video.pause();
    if (this.#url) URL.revokeObjectURL(this.#url);
    this.#video.remove();
  }

  #frame(bitmap, skipped) {
    return { bitmap, at: this.#at, skipped };
  }

  async #seek(time) {
    const arrived = new Promise((resolve) => this.#video.addEventListener("seeked", resolve, { once: true }));
    this.#video.currentTime = time;
    await arrived;
  }

  /** The next frame that the browser shows and that was not handed out before; null when the video ends instead. */
  #arrival() {
    const video = this.#video;
    return new Promise((resolve, reject) => {
      let waiting;
      const end = () => {
        video.cancelVideoFrameCallback(waiting);
        resolve(null);
      };
      const shown = (_, { mediaTime }) => {
        const passed = mediaTime - this.#at;
        if (!this.live && passed <= 0) {
          waiting = video.requestVideoFrameCallback(shown); // it shows the frame where it stood once more
          return;
        }
        video.removeEventListener("ended", end);
        if (passed > 0) this.#spacing = Math.min(this.#spacing, passed);
        if (!this.live && this.#busy > 0.7 * this.#spacing) video.pause();
        this.#at = mediaTime;
        const skipped = this.live ? 0 : Math.max(0, Math.round(passed / this.#spacing) - 1);
        createImageBitmap(video).then((bitmap) => resolve(this.#frame(bitmap, skipped)), reject);
      };
      video.addEventListener("ended", end, { once: true });
      waiting = video.requestVideoFrameCallback(shown);
      video.play().catch((error) => {
        if (error.name !== "AbortError") reject(error); // that is our own pause
      });
    });
  }
}

export const openCamera = Video.camera;
export const openVideo = Video.open;

/** A video element behind the canvas, which hides it: browsers decode in full only what is on the page. */
function element() {
  const video = document.createElement("video");
  Object.assign(video, { muted: true, playsInline: true, preload: "auto", tabIndex: -1 });
  video.setAttribute("aria-hidden", "true");
  document.getElementById("stage").prepend(video);
  return video;
}

/** What a paused video shows. On a busy machine it has no picture yet for a moment after it has loaded. */
async function shownBy(video) {
  for (let tries = 0; ; tries++) {
    try {
      return await createImageBitmap(video);
    } catch (error) {
      if (error.name !== "InvalidStateError" || tries === 100) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function loaded(video, begin) {
  return new Promise((resolve, reject) => {
    video.addEventListener("loadeddata", resolve, { once: true });
    video.addEventListener("error", () => reject(video.error), { once: true });
    begin();
  });
}
