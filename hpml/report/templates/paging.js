const expanded = coded => {
  let text = "";
  return coded.map(part => {
    if (typeof part === "string") text = part;
    else if (part !== 0) text = text.slice(0, part[0]) + part[2] + text.slice(text.length - part[1]);
    return text;
  });
};
const made = (parent, tag, properties) => parent.appendChild(Object.assign(document.createElement(tag), properties));
for (const wide of document.querySelectorAll(".paged")) {
  const table = wide.querySelector("table");
  const headings = [...table.tHead.rows[0].cells];
  const data = JSON.parse(wide.querySelector("script").textContent);
  const names = expanded(data.columns[0].texts), count = names.length;
  const parts = names.map(name => name.split(/[,=/]/));
  const filled = coded => expanded(coded).map((text, row) => text.replace(/[\x0e-\x1f]/g, part => parts[row][part.charCodeAt(0) - 14]));
  const columns = data.columns.map(column => ({
    keys: column.keys.length === 1 ? Array(count).fill(column.keys[0]) : column.keys, texts: expanded(column.texts),
    links: column.links && filled(column.links), commands: column.commands && filled(column.commands),
  }));
  const whole = columns.map(column => column.texts.map((text, row) => (text + " " + (column.commands ? column.commands[row] : "")).toLowerCase()));
  let order = [...Array(count).keys()], shown = order, start = 0;

  const controls = document.createElement("div");
  controls.className = "controls";
  wide.before(controls);
  const search = made(controls, "input", {type: "search", placeholder: "search", ariaLabel: "search the rows"});
  const filters = [];
  columns.forEach((column, index) => {
    const texts = [...new Set(column.texts)];
    const named = index < data.names || column.keys.every(key => key === true || key === null);
    if (!named || column.links || texts.length < 2 || texts.length > 30) return;
    const label = made(controls, "label", {textContent: headings[index].textContent});
    const select = made(label, "select", {});
    made(select, "option", {textContent: "all", value: "-1"});
    texts.forEach((text, place) => made(select, "option", {textContent: text, value: String(place)}));
    filters.push(row => select.value === "-1" || column.texts[row] === texts[select.value]);
    select.addEventListener("change", () => choose());
  });
  const back = made(controls, "button", {type: "button", textContent: "previous"});
  const where = made(controls, "span", {ariaLive: "polite"});
  const next = made(controls, "button", {type: "button", textContent: "next"});

  const draw = () => {
    const rows = document.createDocumentFragment();
    for (const row of shown.slice(start, start + data.size)) {
      const line = made(rows, "tr", {});
      columns.forEach((column, index) => {
        const cell = made(line, "td", {className: index < data.names ? "name" : ""});
        if (column.links && column.links[row]) made(cell, "a", {href: column.links[row], textContent: column.texts[row]});
        else cell.append(column.texts[row]);
        if (column.commands && column.commands[row]) made(cell, "code", {textContent: column.commands[row]});
      });
    }
    table.tBodies[0].replaceChildren(rows);
    const some = shown.length ? `${(start + 1).toLocaleString("en")} to ${Math.min(start + data.size, shown.length).toLocaleString("en")} of ` : "";
    where.textContent = `${some}${shown.length.toLocaleString("en")} ${shown.length === 1 ? "row" : "rows"}`;
    back.disabled = start === 0;
    next.disabled = start + data.size >= shown.length;
  };
  const choose = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = row => words.every(word => whole.some(texts => texts[row].includes(word)));
    shown = order.filter(row => found(row) && filters.every(filter => filter(row)));
    start = 0;
    draw();
  };
  headings.forEach((heading, index) => heading.querySelector("button").addEventListener("click", () => {
    const upwards = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of headings) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", upwards ? "ascending" : "descending");
    const {keys, texts} = columns[index];
    const numeric = keys.every(key => key === null || typeof key === "number");
    const collator = new Intl.Collator();
    const compare = (a, b) => numeric ? keys[a] - keys[b] : collator.compare(texts[a], texts[b]);
    const every = [...order.keys()], known = every.filter(row => keys[row] !== null);
    known.sort((a, b) => upwards ? compare(a, b) : compare(b, a));
    order = [...known, ...every.filter(row => keys[row] === null)];
    choose();
  }));
  search.addEventListener("input", choose);
  back.addEventListener("click", () => { start -= data.size; draw(); });
  next.addEventListener("click", () => { start += data.size; draw(); });
  draw();
}
