// Helpers that create elements and format numbers.

export const byId = (id) => document.getElementById(id);

// Creates an element with properties (`class`, `text`, on... and attributes) and children.
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "text") made.textContent = value;
    else if (name === "class") made.className = value;
    else if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value, false, String(value) === String(chosen))));
}

// Formats a number with four decimals; whole numbers stay unchanged.
export function number(x) {
  if (Number.isInteger(x)) return String(x);
  if (Math.abs(x) < 0.00005) return x.toExponential(1);
  return x.toFixed(Math.abs(x) >= 1000 ? 1 : 4);
}

export const percent = (x) => `${(100 * x).toFixed(x > 0.99 && x < 1 ? 2 : 1)} %`;
export const count = (x) => Math.round(x).toLocaleString("en");
export const isDark = () => matchMedia("(prefers-color-scheme: dark)").matches;

// Creates a table of numbers; `mark(i, j)` gives a class for a cell.
export function matrix(rows, { mark = () => "", colour = null, label = "" } = {}) {
  const most = Math.max(...rows.flat().map(Math.abs), 1e-12);
  const body = rows.map((row, i) => element("tr", {}, ...row.map((value, j) => {
    const cell = element("td", { text: number(value), class: mark(i, j) });
    if (colour) cell.style.setProperty("--share", `${Math.round((60 * Math.abs(value)) / most)}%`);
    if (colour) cell.classList.add(value < 0 ? "minus" : "plus");
    return cell;
  })));
  const table = element("table", { class: "numbers" }, element("tbody", {}, ...body));
  return label ? element("figure", { class: "block" }, element("figcaption", { text: label }), table) : table;
}
