// Shows how a number of a map is computed: products, sums, bias, ReLU. All numbers come from the server.

import { element, matrix, number } from "./dom.js";

// Fills `host` with the server's explanation of one number.
export function explain(host, found, context) {
  const write = { Conv2D: convolution, MaxPooling2D: pooling, Dense: dense, Flatten: flatten }[found.kind];
  host.replaceChildren(...write(found, context));
}

const sign = (symbol) => element("span", { class: "sign", text: symbol, "aria-hidden": "true" });
const strong = (name, value) => element("strong", { "data-value": name, title: String(value), text: number(value) });
const plane = (values, channel) => values.map((row) => row.map((cell) => cell[channel]));

function convolution(found, { channel, before, pick }) {
  const several = found.sums.length > 1;
  const heading = several ? `${before}, map ${channel + 1}` : before;
  const parts = [
    element("h2", { text: several ? `One of ${found.sums.length} maps: window times kernel` : "Window times kernel" }),
    element("div", { class: "equation" },
      matrix(plane(found.window, channel), { label: heading }), sign("×"),
      matrix(plane(found.weights, channel), { label: "kernel", colour: true }), sign("="),
      matrix(plane(found.products, channel), { label: "products", colour: true }),
      element("figure", { class: "block" }, element("figcaption", { text: "their sum" }), strong("channel", found.sums[channel]))),
  ];
  if (several) parts.push(...channels(found, channel, pick));
  const total = found.sums.reduce((a, b) => a + b, 0);
  parts.push(element("h2", { text: "The sum, the bias, the ReLU" }), element("p", { class: "total" },
    element("span", {}, several ? `sum over ${found.sums.length} maps ` : "sum ", strong("sum", total)),
    sign("+"), element("span", {}, "bias ", strong("bias", found.bias)),
    sign("="), strong("total", found.sum), ...activated(found)));
  return [...parts, rounding()];
}

function activated(found) {
  if (found.activation !== "relu") return [];
  const how = found.sum > 0 ? "is positive, so it stays" : "is not positive, so it becomes 0";
  return [sign("→"), element("span", {}, `ReLU: ${how} `), strong("value", found.value)];
}

function channels(found, chosen, pick) {
  const most = Math.max(...found.sums.map(Math.abs), 1e-12);
  const chips = found.sums.map((value, i) => {
    const chip = element("button", { type: "button", class: `chip ${value < 0 ? "minus" : "plus"}`,
      "aria-pressed": String(i === chosen), title: `map ${i + 1}: ${value}`, onclick: () => pick(i) },
    element("small", { text: i + 1 }), number(value));
    chip.style.setProperty("--share", `${Math.round((60 * Math.abs(value)) / most)}%`);
    return chip;
  });
  return [element("h2", { text: "The sums of all maps" }), element("div", { class: "chips" }, ...chips)];
}

function pooling(found) {
  const [i, j] = found.winner;
  const values = plane(found.window, 0);
  return [
    element("h2", { text: "The window, and its winner" }),
    element("div", { class: "equation" },
      matrix(values, { label: "window", mark: (a, b) => (a === i && b === j ? "winner" : "") }), sign("→"),
      element("figure", { class: "block" }, element("figcaption", { text: "the largest" }), strong("value", found.value))),
    element("p", { class: "hint", text: `Row ${found.rows[i]}, column ${found.columns[j]} of the map below. In training, only this pixel receives the gradient.` }),
    rounding(),
  ];
}

function dense(found, { map, classes }) {
  const rows = found.listed.map(([i, x, weight, product]) => element("tr", {},
    ...[i + 1, x, weight, product].map((value) => element("td", { text: number(value) }))));
  const left = found.inputs - found.listed.length;
  const table = element("table", { class: "numbers list" },
    element("thead", {}, element("tr", {}, ...["input", "its value", "weight", "product"].map((text) => element("th", { text })))),
    element("tbody", {}, ...rows));
  const listed = found.listed.reduce((sum, item) => sum + item[3], 0);
  const name = found.activation === "softmax" ? `Class ${classes[map]}` : `Number ${map + 1}`;
  return [
    element("h2", { text: `${name}: ${found.inputs} products, largest first` }),
    element("div", { class: "scroll" }, table),
    element("p", { class: "total" }, element("span", {}, "these ", strong("listed", listed)),
      ...(left ? [sign("+"), element("span", {}, `the other ${left} `, strong("others", found.others))] : []),
      sign("+"), element("span", {}, "bias ", strong("bias", found.bias)),
      sign("="), strong("total", found.sum), ...activated(found)),
    ...softmax(found, classes, map), rounding(),
  ];
}

function softmax(found, classes, map) {
  if (!found.powers) return [];
  const sum = found.powers.reduce((a, b) => a + b, 0);
  return [
    element("h2", { text: "Softmax: the probability of this class" }),
    element("p", { class: "hint", text: `e to the power of each class's sum minus the largest sum, ${number(found.largest)}:` }),
    element("div", { class: "chips" }, ...found.powers.map((value, i) => element("span", {
      class: "chip", "aria-current": String(i === map) }, element("small", { text: classes[i] }), number(value)))),
    element("p", { class: "total" }, strong("power", found.powers[map]), sign("/"),
      element("span", {}, "their sum ", strong("powers", sum)), sign("="), strong("value", found.value)),
  ];
}

function flatten(found) {
  const [row, column, map] = found.from;
  return [element("h2", { text: "Its position in the layer below" }), element("p", { class: "total" },
    element("span", { text: `Row ${row}, column ${column} of map ${map + 1}: ` }), strong("value", found.value))];
}

const rounding = () => element("p", { class: "hint", text: "Rounded to four decimals; the tooltips of the bold numbers show the exact values." });
