"use strict";
// The report, helpers that make elements, and which trackers are shown. Text goes in as text, never as markup.

const report = JSON.parse(document.getElementById("data").textContent);
const many = report.trackers.length > 1;
const shown = report.trackers.map(() => true);

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

/** An HTML element; "td.text" has a class. */
function h(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  return fill(element, attributes, children);
}

/** The same in SVG. */
function svg(tag, attributes = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  if (classes.length) element.setAttribute("class", classes.join(" "));
  return fill(element, attributes, children);
}

/** A number as it stands in all tables. */
function number(value) {
  return value === null ? "\u2013" : value.toFixed(2);
}

function signed(value) {
  return value === null ? "\u2013" : (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(2);
}

/** An interval, low to high. */
function interval([low, high], write = number) {
  return low === null ? "" : `${write(low)} to ${write(high)}`;
}

function count(amount, noun) {
  return `${amount.toLocaleString("en")} ${noun}${amount === 1 ? "" : "s"}`;
}

/** A name that may break after "/" and "_". */
function breakable(name) {
  const parts = name.split(/(?<=[/_])/);
  return parts.flatMap((part, i) => (i ? [h("wbr"), part] : [part]));
}

/** Give an element the color of tracker k. */
function tint(element, k) {
  element.classList.add("tracker");
  element.style.setProperty("--tracker", report.trackers[k].color);
  return element;
}

/** Let an element come and go with tracker k. */
function belongs(element, k) {
  element.classList.add(`of-${k}`);
  element.toggleAttribute("hidden", !shown[k]);
  return element;
}

function show(k, on) {
  shown[k] = on;
  for (const element of document.querySelectorAll(`.of-${k}`)) element.toggleAttribute("hidden", !on);
  for (const button of document.querySelectorAll(`.toggle-${k}`)) button.setAttribute("aria-pressed", on);
}

/** The line of tracker k as it looks in the plots. */
function swatch(k) {
  const line = svg("line", { x1: 0, y1: 5, x2: 24, y2: 5, "stroke-dasharray": report.trackers[k].dash });
  return tint(svg("svg.swatch", { viewBox: "0 0 24 10", "aria-hidden": "true" }, line), k);
}

/** Line and name of tracker k; where there are several, a button that shows and hides it wherever it appears. */
function legendEntry(k) {
  const content = [swatch(k), h("span", {}, ...breakable(report.trackers[k].label))];
  if (!many) return h("span.entry", {}, ...content);
  const button = h(`button.entry.toggle-${k}`, { type: "button", "aria-pressed": shown[k] }, ...content);
  button.addEventListener("click", () => show(k, !shown[k]));
  return button;
}

function legend() {
  const entries = report.trackers.map((_, k) => legendEntry(k));
  for (const [label, on] of report.trackers.length > 2 ? [["all", true], ["none", false]] : []) {
    const button = h("button.all", { type: "button" }, label);
    button.addEventListener("click", () => shown.forEach((_, k) => show(k, on)));
    entries.push(button);
  }
  return h("div.legend", { role: "group", "aria-label": "Trackers shown" }, ...entries);
}

/** A labeled choice; `change` is called with the index chosen. */
function choice(label, options, change) {
  const select = h("select", {}, ...options.map((option, i) => h("option", { value: i }, option)));
  select.addEventListener("change", () => change(Number(select.value)));
  return h("label", {}, label, select);
}
