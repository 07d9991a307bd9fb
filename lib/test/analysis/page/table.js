/**
 * A table whose headers sort, put into `host`. Numbers sort from the highest, text from "a"; where there is no number a
 * row goes to the end.
 *
 * columns: {title, value(row), cell(row) if the value is not what is written, text: flush left, tracker: its number,
 *   title may be a list of nodes, then `name` says it in words}.
 * rows(): what to show, anew after each redraw().
 * sort: {column, descending} at the start.
 * open(row): the content of a row that can be opened, if any.
 */
function sortedTable(host, { label, columns, rows, sort = null, open = null }) {
  const body = h("tbody");
  const headers = columns.map((column, i) => {
    const button = h("button", { type: "button" }, ...[column.title].flat());
    button.addEventListener("click", () => {
      const first = !column.text; // descending at the first click
      sort = { column: i, descending: sort?.column === i ? !sort.descending : first };
      redraw();
    });
    return styled(h("th", { scope: "col" }, button), column);
  });
  let opened = null;

  function styled(cell, column) {
    if (column.text) cell.classList.add("text");
    return column.tracker === undefined ? cell : belongs(cell, column.tracker);
  }

  function compare(a, b) {
    const { value } = columns[sort.column];
    const [x, y] = [value(a), value(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const order = typeof x === "number" ? x - y : x.localeCompare(y, "en", { numeric: true });
    return sort.descending ? -order : order;
  }

  function drawRow(row) {
    const cells = columns.map((column) => {
      const content = column.cell ? column.cell(row) : column.value(row);
      return styled(h("td", {}, ...[content].flat()), column);
    });
    const element = h("tr", {}, ...cells);
    if (!open) return [element];
    const button = h("button", { type: "button", "aria-expanded": row === opened }, ...cells[0].childNodes);
    cells[0].replaceChildren(button);
    element.classList.add("opens");
    element.addEventListener("click", () => toggle(row, element, button));
    return row === opened ? [element, detail(row)] : [element];
  }

  function detail(row) {
    return h("tr.detail", {}, h("td", { colspan: columns.length }, h("div", {}, open(row))));
  }

  function toggle(row, element, button) {
    body.querySelector("tr.detail")?.remove();
    body.querySelector("[aria-expanded=true]")?.setAttribute("aria-expanded", false);
    opened = row === opened ? null : row;
    if (!opened) return;
    element.after(detail(row));
    button.setAttribute("aria-expanded", true);
  }

  function redraw() {
    headers.forEach((header, i) => {
      const order = sort.descending ? "descending" : "ascending";
      header.setAttribute("aria-sort", i === sort.column ? order : "none");
    });
    body.replaceChildren(...[...rows()].sort(compare).flatMap(drawRow));
  }

  sort ??= { column: 0, descending: false };
  redraw();
  const table = h("table", { "aria-label": label }, h("thead", {}, h("tr", {}, ...headers)), body);
  host.replaceChildren(h("div.scroll", {}, table));
  return redraw;
}
