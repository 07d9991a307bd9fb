// Curves over thresholds: one plot each, with a cursor that follows the pointer or the arrow keys.

const PLOT = { width: 360, height: 270, left: 38, right: 10, top: 8, bottom: 40 };

function plot(curve) {
  const { width, height, left, right, top, bottom } = PLOT;
  const [start, end] = [left, width - right];
  const last = curve.x.at(-1);
  const toX = (value) => start + (value / last) * (end - start);
  const toY = (percent) => height - bottom - (percent / 100) * (height - top - bottom);

  const parts = [];
  for (let percent = 0; percent <= 100; percent += 20) {
    parts.push(svg("line.grid", { x1: start, x2: end, y1: toY(percent), y2: toY(percent) }));
    parts.push(svg("text", { x: start - 6, y: toY(percent) + 4, "text-anchor": "end" }, String(percent)));
  }
  for (let i = 0; i <= 5; i++) {
    const value = (last * i) / 5;
    parts.push(svg("line.grid", { x1: toX(value), x2: toX(value), y1: toY(0), y2: toY(100) }));
    parts.push(svg("text", { x: toX(value), y: toY(0) + 16, "text-anchor": "middle" }, String(+value.toFixed(2))));
  }
  const axis = { x: (start + end) / 2, y: height - 5, "text-anchor": "middle" };
  parts.push(svg("text", axis, curve.xLabel));
  parts.push(svg("line.frame", { x1: start, x2: end, y1: toY(0), y2: toY(0) }));
  if (curve.at !== null) parts.push(svg("line.read", { x1: toX(curve.at), x2: toX(curve.at), y1: toY(0), y2: toY(100) }));
  const cursor = svg("line.cursor", { y1: toY(0), y2: toY(100), hidden: "" });
  const dots = report.trackers.map((_, k) => belongs(tint(svg("circle.dot", { r: 3.5 }), k), k));
  const dotLayer = svg("g", { hidden: "" }, ...dots);
  const lines = report.trackers.map(({ dash }, k) => {
    const points = curve.x.map((x, i) => `${toX(x).toFixed(1)},${toY(curve.y[k][i]).toFixed(1)}`).join(" ");
    return belongs(tint(svg("polyline.curve", { points, "stroke-dasharray": dash }), k), k);
  });
  const label = `${curve.title}: ${curve.yLabel} over ${curve.xLabel}; the arrow keys read it`;
  const drawing = svg(
    "svg.axes",
    { viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0, "aria-label": label },
    ...parts, ...lines.reverse(), cursor, dotLayer, // the first tracker on top
  );
  const tip = h("div.tip", { "aria-live": "polite", hidden: "" });

  let at = 0;
  function read(i) {
    at = Math.max(0, Math.min(curve.x.length - 1, i));
    const x = toX(curve.x[at]);
    fill(cursor, { x1: x, x2: x }, []);
    dots.forEach((dot, k) => fill(dot, { cx: x, cy: toY(curve.y[k][at]) }, []));
    const order = report.trackers.map((_, k) => k).filter((k) => shown[k]);
    order.sort((a, b) => curve.y[b][at] - curve.y[a][at]);
    const values = order.map((k) =>
      h("p", {}, swatch(k), h("b", {}, number(curve.y[k][at])), h("span", {}, ...breakable(report.trackers[k].label))),
    );
    tip.replaceChildren(h("p", {}, `${curve.xLabel} ${+curve.x[at].toFixed(3)}`), ...values);
    for (const element of [cursor, dotLayer, tip]) element.toggleAttribute("hidden", false);
  }
  function leave() {
    for (const element of [cursor, dotLayer, tip]) element.toggleAttribute("hidden", true);
  }
  drawing.addEventListener("pointermove", (event) => {
    const box = drawing.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    read(Math.round(((x - start) / (end - start)) * (curve.x.length - 1)));
  });
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step) return;
    event.preventDefault();
    read(at + step);
  });
  const dashed = curve.at === null ? "" : `; dashed: ${curve.score}`;
  const caption = h("figcaption", {}, curve.title, h("small", {}, curve.yLabel + dashed));
  return h("figure.plot", {}, caption, drawing, tip);
}
