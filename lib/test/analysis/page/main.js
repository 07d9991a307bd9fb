// What stands where on the page.

const { trackers, scores } = report;
const part = (id, what) => document.querySelector(`#${id} ${what}`);
const named = (k) => [swatch(k), h("span.name", {}, ...breakable(trackers[k].label))];

/** A number, bold where it is the highest of several. */
function stress(value, values) {
  const best = many && value !== null && values.every((other) => other === null || other <= value);
  return best ? h("strong", {}, number(value)) : number(value);
}

function drawHeader() {
  const facts = [count(report.frames, "frame"), count(trackers.length, "tracker"), `protocol ${report.protocol}`];
  document.querySelector("#title").append(report.scope);
  document.querySelector("#scope").append(facts.join(", "));
  const lines = report.notes.map((note) => h(note.startsWith("WARNING") ? "li.warning" : "li", {}, note));
  part("summary", ".notes").append(...lines);
}

function drawSummary() {
  const columns = scores.map((title, i) => ({
    title,
    value: ({ scores }) => scores[i],
    cell: ({ scores, intervals, deviations }) => [
      deviations
        ? `${number(scores[i])} \u00b1 ${number(deviations[i])}` // of repeated runs
        : stress(scores[i], trackers.map((tracker) => tracker.scores[i])),
      h("small", {}, interval(intervals[i])),
    ],
  }));
  columns.unshift({
    title: "Tracker",
    text: true,
    value: ({ label }) => label,
    cell: (tracker) => {
      const k = trackers.indexOf(tracker);
      return k < 0 ? h("span.name", {}, ...breakable(tracker.label)) : named(k);
    },
  });
  const sort = { column: 1, descending: true };
  const rows = () => [...trackers, ...report.repeated];
  sortedTable(part("summary", ".table"), { label: "Scores", rows, columns, sort });
}

/** The other trackers against the first one. */
function drawComparison() {
  if (!many) return;
  document.querySelector("#comparison").hidden = false;
  part("comparison", ".hint").append(
    `Differences of ${scores[0]} from ${trackers[0].label} on the same sequences, in points, with the paired bootstrap ` +
      "interval and the p-value of a sign-flip permutation test (not corrected for the number of trackers).",
  );
  const columns = [
    { title: "Tracker", text: true, value: ({ label }) => label, cell: (tracker) => named(trackers.indexOf(tracker)) },
    {
      title: `${scores[0]} difference`,
      value: ({ difference }) => difference[0],
      cell: ({ difference: [mean, ...ends] }) => [signed(mean), h("small", {}, interval(ends, signed))],
    },
    { title: "p", value: ({ pValue }) => pValue, cell: ({ pValue }) => (pValue ? pValue.toFixed(4) : "< 0.0001") },
    { title: "Better on", value: ({ better }) => better },
    { title: "Worse on", value: ({ worse }) => worse },
    { title: "Verdict", text: true, value: ({ verdict }) => verdict },
  ];
  const rows = () => trackers.slice(1);
  const sort = { column: 1, descending: true };
  sortedTable(part("comparison", ".table"), { label: "Differences from the best tracker", rows, columns, sort });
}

function drawDifferences() {
  document.querySelector("#differences").hidden = !report.differences.length;
  const lines = report.differences.map((line) => h(line.startsWith(" ") ? "p.reason" : "p", {}, line.trim()));
  part("differences", ".lines").append(...lines);
}

/** A table of rows with scores[tracker][score]: all scores of a single tracker, or a choice of one score of several. */
function scoreTable(id, label, { before, rows, sort, open }) {
  let score = 0;
  const value = (k) => (row) => row.scores[k][score];
  const columns = many
    ? trackers.map((_, k) => ({
        title: named(k),
        tracker: k,
        value: value(k),
        cell: (row) => stress(value(k)(row), row.scores.map((values) => values[score])),
      }))
    : scores.map((title, i) => {
        const read = (row) => row.scores[0][i];
        return { title, value: read, cell: (row) => number(read(row)) };
      });
  const redraw = sortedTable(part(id, ".table"), { label, columns: [...before, ...columns], rows, sort, open });
  if (many) {
    const change = (i) => {
      score = i;
      redraw();
    };
    part(id, ".tools").append(choice("Score", scores, change));
  }
  return redraw;
}

function drawAttributes() {
  if (!report.attributes.length) return;
  document.querySelector("#attributes").hidden = false;
  const before = [
    { title: "Attribute", text: true, value: ({ name }) => name },
    { title: "Sequences", value: ({ sequences }) => sequences },
  ];
  scoreTable("attributes", "Scores by attribute", { before, rows: () => report.attributes });
}

function drawSequences() {
  const wanted = { text: "", attribute: null };
  const kept = h("output", { "aria-live": "polite" });
  function rows() {
    const found = report.sequences.filter(
      ({ name, attributes }) =>
        name.toLowerCase().includes(wanted.text.toLowerCase()) &&
        (wanted.attribute === null || attributes.includes(wanted.attribute)),
    );
    kept.replaceChildren(`${found.length} of ${count(report.sequences.length, "sequence")}`);
    return found;
  }

  const before = [
    { title: "Sequence", text: true, value: ({ name }) => name },
    { title: "Frames", value: ({ frames }) => frames },
    { title: "No target", value: ({ absent }) => absent },
  ];
  const sort = { column: before.length, descending: false }; // the worst of the first tracker at the top
  const redraw = scoreTable("sequences", "Scores by sequence", { before, rows, sort, open: sequenceDetail });
  const filter = h("input", { type: "search", size: 18 });
  filter.addEventListener("input", () => {
    wanted.text = filter.value;
    redraw();
  });
  const tools = part("sequences", ".tools");
  tools.append(h("label", {}, "Name contains", filter));
  if (report.attributes.length) {
    const options = report.attributes.map(({ name, sequences }) => `${name} (${sequences})`);
    const change = (i) => {
      wanted.attribute = i ? report.attributes[i - 1].name : null;
      redraw();
    };
    tools.append(choice("Attribute", ["any", ...options], change));
  }
  tools.append(kept);
}

drawHeader();
drawSummary();
drawComparison();
drawDifferences();
part("curves", ".tools").append(legend());
part("curves", ".plots").append(...report.curves.map(plot));
drawAttributes();
drawSequences();
