// A sequence that was opened: overlap over time and the trackers' own scores, a strip for each, and pictures of the
// worst frames.

function sequenceDetail(sequence) {
  const { strips, point } = drawStrips(sequence);
  const facts = [count(sequence.frames, "frame")];
  if (sequence.absent) facts.push(`${sequence.absent} without target`);
  facts.push(...sequence.attributes);
  const parts = [h("h3", {}, sequence.name), h("p.facts", {}, facts.join(" \u00b7 "))];
  parts.push(strips, ...lowScores(sequence));
  if (sequence.pictures.length) {
    const key = svg("svg.swatch.truth", { viewBox: "0 0 16 12" }, svg("rect", { x: 2, y: 2, width: 12, height: 8 }));
    parts.push(h("p.facts", {}, key, `ground truth. The frames (\u25b4) in which ${report.trackers[0].label} is worst:`));
    parts.push(h("div.pictures", {}, ...sequence.pictures.map((picture) => drawPicture(picture, point))));
  }
  const whole = h("div.sequence", {}, ...parts);
  whole.addEventListener("click", (event) => event.stopPropagation());
  return whole;
}

/** A line for each tracker that told scores: in how many frames they were low, and in which. */
function lowScores({ frames, told }) {
  return told.flatMap((one, k) => {
    if (!one) return [];
    const where = one.stretches.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`));
    if (one.more) where.push(`and ${one.more} more`);
    const text = ` score below ${report.lostBelow} in ${one.low} of ${count(frames, "frame")}`;
    const line = h("p.facts.low", {}, swatch(k), report.trackers[k].label, text + (one.low ? `: ${where.join(", ")}` : ""));
    return [belongs(line, k)];
  });
}

// Of the bytes of strips: percent, of a low score 101 more.
const overlapText = (value) => (value === report.noTarget ? "\u2013" : (value / 100).toFixed(2));
const scoreText = (value) => (value === report.noScore ? "\u2013" : ((value % 101) / 100).toFixed(2));
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

function drawStrips(sequence) {
  const { frames } = sequence;
  const columns = bytes(sequence.strips[0]).length;
  const lines = []; // overlaps and scores, in the order in which they stand
  function line(k, title, text, drawn, write, said) {
    const cursor = svg("line.cursor", { y1: 0, y2: 100, hidden: "" });
    const cell = belongs(h("span.value"), k);
    const values = bytes(text);
    lines.push({ values, write, said, cursor, cell });
    return [title, belongs(drawn(values, cursor, k), k), cell];
  }
  const rows = report.trackers.flatMap(({ label }, k) => {
    const overlap = line(k, legendEntry(k), sequence.strips[k], drawStrip, overlapText, label);
    if (!sequence.told[k]) return overlap;
    const title = belongs(h("span.entry.told", {}, "its score"), k);
    return [...overlap, ...line(k, title, sequence.told[k].strip, drawScores, scoreText, "its score")];
  });

  const limits = { "aria-valuemin": 0, "aria-valuemax": columns - 1 };
  const axis = h("div.axis", { tabindex: 0, role: "slider", "aria-label": "Frame", ...limits });
  for (const frame of new Set([0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * (frames - 1))))) {
    const mark = h("span", {}, frame ? String(frame) : "frame 0");
    mark.style.left = `${(100 * (frame + 0.5)) / frames}%`;
    axis.append(mark);
  }
  for (const { frame } of sequence.pictures) {
    const mark = h("i");
    mark.style.left = `${(100 * (frame + 0.5)) / frames}%`;
    axis.append(mark);
  }

  const rest = [
    "Overlap (IoU) from 0 to 1, dotted at 0.5. ",
    sequence.told.some((one) => one) ? `Scores that the trackers told, the lowest of each column; red below ${report.lostBelow}. ` : "",
    ...(sequence.absent ? [h("i.key"), "no target. "] : []),
    columns < frames ? `Means over up to ${count(Math.ceil(frames / columns), "frame")}.` : "",
  ];
  const readout = h("p.readout", {}, ...rest);
  const strips = h("div.strips", {}, ...rows, axis, readout);

  let at = 0;
  function point(column) {
    at = Math.max(0, Math.min(columns - 1, column));
    const first = Math.floor((at * frames) / columns);
    const last = Math.floor(((at + 1) * frames) / columns) - 1;
    const where = first === last ? `Frame ${first}` : `Frames ${first} to ${last}, mean`;
    const absent = lines[0].values[at] === report.noTarget ? ", no target" : "";
    const spoken = lines.map(({ values, write, said, cursor, cell }) => {
      fill(cursor, { x1: at + 0.5, x2: at + 0.5 }, []).removeAttribute("hidden");
      cell.replaceChildren(write(values[at]));
      return `${said} ${write(values[at])}`;
    });
    readout.replaceChildren(where + absent);
    fill(axis, { "aria-valuenow": at, "aria-valuetext": `${where}${absent}: ${spoken.join(", ")}` }, []);
  }
  function leave() {
    lines.forEach(({ cursor, cell }) => {
      cursor.setAttribute("hidden", "");
      cell.replaceChildren();
    });
    readout.replaceChildren(...rest);
  }
  strips.addEventListener("pointermove", (event) => {
    const box = axis.getBoundingClientRect();
    if (event.clientX < box.left || event.clientX > box.right) return;
    point(Math.floor(((event.clientX - box.left) / box.width) * columns));
  });
  strips.addEventListener("pointerleave", leave);
  axis.addEventListener("blur", leave);
  axis.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    if (!step) return;
    event.preventDefault();
    point(at + step);
  });
  const columnOf = (frame) => Math.ceil(((frame + 1) * columns) / frames) - 1;
  return { strips, point: (frame) => (frame === null ? leave() : point(columnOf(frame))) };
}

/** Overlap as an area of steps; the pieces without target gray. */
function drawStrip(row, cursor, k) {
  const area = ["M0,100"];
  const absent = [];
  row.forEach((value, column) => {
    const gone = value === report.noTarget;
    area.push(`V${gone ? 100 : 100 - value}H${column + 1}`);
    if (gone) absent.push(`M${column},0h1v100h-1z`);
  });
  return svg(
    "svg.strip",
    { viewBox: `0 0 ${row.length} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path.absent", { d: absent.join("") }),
    tint(svg("path.area", { d: `${area.join("")}V100z` }), k),
    svg("line.half", { x1: 0, x2: row.length, y1: 50, y2: 50 }),
    cursor,
  );
}

/** A tracker's own scores as steps, red where they are low; nothing where it told none. */
function drawScores(row, cursor, k) {
  const steps = (height) => [...row].map((value, i) => (value === report.noScore ? "" : height(value, i))).join("");
  const level = 100 - 100 * report.lostBelow;
  return svg(
    "svg.strip.scores",
    { viewBox: `0 0 ${row.length} 100`, preserveAspectRatio: "none", "aria-hidden": "true" },
    svg("path.low", { d: steps((value, i) => (value > 100 ? `M${i},0h1v100h-1z` : "")) }),
    tint(svg("path.area", { d: steps((value, i) => `M${i},100v${-(value % 101)}h1v${value % 101}z`) }), k),
    svg("line.half", { x1: 0, x2: row.length, y1: level, y2: level }),
    cursor,
  );
}

function drawPicture(picture, point) {
  const [x, y, width, height] = picture.region;
  const box = ([left, top, w, h]) => {
    const place = { x: left, y: top, width: Math.max(w, 1), height: Math.max(h, 1) };
    return svg("g", {}, svg("rect.rim", place), svg("rect.box", place));
  };
  const truth = box(picture.truth);
  truth.classList.add("truth");
  const boxes = picture.boxes.map((one, k) => belongs(tint(box(one), k), k));
  const image = { href: `data:image/jpeg;base64,${picture.jpeg}`, x, y, width, height, preserveAspectRatio: "none" };
  const values = picture.overlaps.map((value, k) => belongs(h("span", {}, swatch(k), number(value)), k));
  const label = `Frame ${picture.frame} with the boxes of ground truth and trackers`;
  const figure = h(
    "figure",
    {},
    svg("svg.picture", { viewBox: picture.region.join(" "), role: "img", "aria-label": label },
      svg("image", image), truth, ...boxes.reverse()),
    h("figcaption", {}, h("b", {}, `frame ${picture.frame}`), ...values),
  );
  figure.addEventListener("pointerenter", () => point(picture.frame));
  figure.addEventListener("pointerleave", () => point(null));
  return figure;
}
