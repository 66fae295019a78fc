// The section Kernels: convolves a picture in the browser, so the user's pictures are not sent anywhere.

import { byId, element, matrix, number, options } from "./dom.js";
import { drawPhoto } from "./photo.js";
import { done, say } from "./notes.js";

const LARGEST = 480; // maximum pixels of the longer side
const LARGER = { "gaussian 5 x 5": "1/256 1/64 3/128 1/64 1/256 / 1/64 1/16 3/32 1/16 1/64 / 3/128 3/32 9/64 3/32 3/128 / 1/64 1/16 3/32 1/16 1/64 / 1/256 1/64 3/128 1/64 1/256" };
const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Kernels {
  constructor({ offered }) {
    this.place = null;
    this.kernels = { ...offered.kernels, ...LARGER };
    options(byId("preset"), [...Object.keys(this.kernels).map((name) => [name, name]), ["", "your own"]]);
    drawPhoto(byId("before"));
    this.choose("sharpen");
    byId("preset").addEventListener("change", () => { if (byId("preset").value) this.choose(byId("preset").value); });
    byId("size").addEventListener("change", () => this.resize(Number(byId("size").value)));
    byId("matrix").addEventListener("input", () => {
      byId("preset").value = "";
      this.run();
    });
    for (const id of ["show", "gray"]) byId(id).addEventListener("change", () => this.run());
    byId("file").addEventListener("change", () => this.open(byId("file").files[0]));
    this.listen();
  }

  listen() {
    const after = byId("after");
    after.addEventListener("pointermove", (event) => { if (!this.fixed) this.explain(this.under(event)); });
    after.addEventListener("click", (event) => {
      this.fixed = true;
      this.explain(this.under(event));
    });
    after.addEventListener("keydown", (event) => {
      const move = KEYS[event.key];
      if (!move) return;
      event.preventDefault();
      this.fixed = true;
      this.explain({ row: this.place.row + move[0], column: this.place.column + move[1] });
    });
  }

  under(event) {
    const canvas = byId("after"), box = canvas.getBoundingClientRect();
    return { row: Math.floor(((event.clientY - box.top) / box.height) * canvas.height),
      column: Math.floor(((event.clientX - box.left) / box.width) * canvas.width) };
  }

  choose(name) {
    byId("preset").value = name;
    const rows = this.kernels[name].split(" / ").map((row) => row.split(" ").map(fraction));
    byId("size").value = rows.length;
    this.fill(rows);
  }

  // Adds a frame of zeros to the kernel, or removes one.
  resize(size) {
    const old = this.texts(), shift = (size - old.length) / 2;
    this.fill(Array.from({ length: size }, (_, i) => Array.from({ length: size }, (_, j) => old[i - shift]?.[j - shift] ?? "0")));
  }

  fill(rows) {
    const host = byId("matrix");
    host.style.setProperty("--side", rows.length);
    host.replaceChildren(...rows.flatMap((row, i) => row.map((text, j) => element("input", {
      value: text, "aria-label": `row ${i + 1}, column ${j + 1}`, inputmode: "text", size: 4, spellcheck: "false",
      "aria-describedby": "kernel-wrong" }))));
    this.run();
  }

  texts() {
    const all = [...byId("matrix").children].map((input) => input.value), side = Math.sqrt(all.length);
    return Array.from({ length: side }, (_, i) => all.slice(i * side, (i + 1) * side));
  }

  // Reads the typed kernel. If an entry is invalid, it is reported, and the last valid kernel stays.
  read() {
    const inputs = [...byId("matrix").children], values = inputs.map((input) => parse(input.value));
    inputs.forEach((input, i) => input.setAttribute("aria-invalid", values[i] === null));
    const wrong = inputs.filter((_, i) => values[i] === null), side = Math.sqrt(values.length);
    this.blame(wrong);
    if (!wrong.length) this.kernel = Array.from({ length: side }, (_, i) => values.slice(i * side, (i + 1) * side));
  }

  blame(wrong) {
    const named = wrong.slice(0, 3).map((input) => `${input.ariaLabel} (${input.value.trim() || "empty"})`);
    if (wrong.length > 3) named.push(`and ${wrong.length - 3} more`);
    byId("kernel-wrong").textContent = `Not a number: ${named.join("; ")}. The picture shows the last valid kernel.`;
    byId("kernel-wrong").hidden = byId("kernel-last").hidden = !wrong.length;
  }

  run() {
    this.read();
    const { kernel } = this;
    const before = byId("before");
    const { data } = before.getContext("2d", { willReadFrequently: true }).getImageData(0, 0, before.width, before.height);
    this.source = { width: before.width, height: before.height, planes: planes(data, byId("gray").checked) };
    this.sums = this.source.planes.map((plane) => convolve(plane, before.width, before.height, kernel));
    this.paint();
    this.place ??= { row: Math.floor(0.48 * before.height), column: Math.floor(0.37 * before.width) };
    this.explain(this.place);
  }

  paint() {
    const after = byId("after"), { width, height } = this.source;
    if (after.width !== width || after.height !== height) [after.width, after.height] = [width, height];
    const image = new ImageData(width, height), shown = scaling(this.sums, byId("show").value);
    for (let i = 0; i < width * height; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = shown(this.sums[c % this.sums.length][i]);
      image.data[4 * i + 3] = 255;
    }
    after.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
  }

  // Shows one pixel of the result: its window, the kernel, the products and their sum.
  explain({ row, column }) {
    const { width, height, planes: [plane] } = this.source, side = this.kernel.length, reach = (side - 1) / 2;
    row = Math.min(Math.max(row, 0), height - 1);
    column = Math.min(Math.max(column, 0), width - 1);
    this.place = { row, column };
    const at = (i, j) => (i < 0 || j < 0 || i >= height || j >= width ? 0 : plane[i * width + j]);
    const window = this.kernel.map((line, i) => line.map((_, j) => at(row + i - reach, column + j - reach)));
    const products = window.map((line, i) => line.map((value, j) => value * this.kernel[i][j]));
    const sum = products.flat().reduce((a, b) => a + b, 0);
    const shown = scaling(this.sums, byId("show").value)(sum);
    byId("pixel").replaceChildren(
      element("h2", { text: `Row ${row}, column ${column}${this.sums.length > 1 ? ", red channel" : ""}` }),
      element("div", { class: "equation" },
        matrix(window, { label: "window" }), element("span", { class: "sign", text: "×" }),
        matrix(this.kernel, { label: "kernel", colour: true }), element("span", { class: "sign", text: "=" }),
        matrix(products, { label: "products", colour: true }),
        element("figure", { class: "block" }, element("figcaption", { text: "their sum" }),
          element("strong", { "data-value": "sum", title: String(sum), text: number(sum) })),
        element("figure", { class: "block" }, element("figcaption", { text: "shown as" }),
          element("strong", { "data-value": "shown", text: String(Math.round(Math.min(255, Math.max(0, shown)))) }))),
      element("p", { class: "hint", text: "Pixels outside the picture count as 0. Move over the result, or click a pixel to keep it." }));
  }

  // Reads a picture from the disk, and shrinks it if it is large. It is not sent anywhere.
  async open(file) {
    if (!file) return;
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return say("file", `${file.name} is not a picture that this browser can read.`);
    }
    done("file");
    const scale = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height)), before = byId("before");
    before.width = Math.max(1, Math.round(scale * bitmap.width));
    before.height = Math.max(1, Math.round(scale * bitmap.height));
    const context = before.getContext("2d", { willReadFrequently: true });
    context.fillStyle = "white";
    context.fillRect(0, 0, before.width, before.height);
    context.drawImage(bitmap, 0, 0, before.width, before.height);
    bitmap.close();
    this.place = null;
    this.fixed = false;
    this.run();
  }
}

// Parses "-1", "0.5", "0,5" or "1/9" as a number; returns null for anything else.
function parse(text) {
  const found = /^\s*([+-]?\d*[.,]?\d+|[+-]?\d+[.,]?)\s*(?:\/\s*(\d*[.,]?\d+))?\s*$/.exec(text.replace("−", "-"));
  if (!found) return null;
  const [top, bottom] = [found[1], found[2] ?? "1"].map((part) => Number(part.replace(",", ".")));
  return Number.isFinite(top / bottom) ? top / bottom : null;
}

// Formats 0.1111111111111111 as "1/9".
function fraction(text) {
  const parts = 1 / Number(text);
  return text.includes(".") && Math.abs(parts - Math.round(parts)) < 1e-9 ? `1/${Math.round(parts)}` : text;
}

function planes(data, gray) {
  const size = data.length / 4, made = Array.from({ length: gray ? 1 : 3 }, () => new Float32Array(size));
  for (let i = 0; i < size; i++) {
    const [r, g, b] = [data[4 * i], data[4 * i + 1], data[4 * i + 2]];
    if (gray) made[0][i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
    else [made[0][i], made[1][i], made[2][i]] = [r, g, b];
  }
  return made;
}

// Convolves one plane, padded with zeros, so that the result has the same size.
function convolve(plane, width, height, kernel) {
  const side = kernel.length, reach = (side - 1) / 2;
  const padded = new Float32Array((width + 2 * reach) * (height + 2 * reach)), wide = width + 2 * reach;
  for (let y = 0; y < height; y++) padded.set(plane.subarray(y * width, (y + 1) * width), (y + reach) * wide + reach);
  const result = new Float32Array(width * height);
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      const weight = kernel[i][j];
      if (!weight) continue;
      for (let y = 0; y < height; y++) {
        const from = (y + i) * wide + j, to = y * width;
        for (let x = 0; x < width; x++) result[to + x] += weight * padded[from + x];
      }
    }
  }
  return result;
}

// Functions that map sums to brightness.
function scaling(sums, how) {
  if (how === "absolute") return Math.abs;
  if (how !== "stretch") return (sum) => sum;
  let [low, high] = [Infinity, -Infinity];
  for (const plane of sums) for (const sum of plane) [low, high] = [Math.min(low, sum), Math.max(high, sum)];
  return (sum) => (high > low ? (255 * (sum - low)) / (high - low) : 0);
}
