// The section Look inside: one pixel of a map, its window and its sum. The window can slide over the map.

import { byId, element } from "./dom.js";
import { Images } from "./images.js";
import { largest, Layers, paintMap, size, titles, unpack } from "./maps.js";
import { get, post, quietly } from "./server.js";
import { explain } from "./sums.js";

const KEYS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };

export class Look {
  constructor(app) {
    Object.assign(this, { app, at: { layer: 0, map: 0, row: 0, column: 0 }, channel: 0, playing: false, asked: 0 });
    this.images = new Images(byId("look-images"), byId("look-more"), (image) => this.take({ image }));
    this.layers = new Layers(byId("look-layers"), {
      onPick: (name, place) => this.go({ layer: this.seen.layers.findIndex((l) => l.name === name), ...place }),
    });
    this.listen();
    new ResizeObserver(() => this.repaint()).observe(byId("look-layers"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.repaint());
  }

  listen() {
    byId("look-drawing").addEventListener("click", quietly(() => this.take({ picture: this.app.drawing })));
    byId("look-again").addEventListener("click", quietly(() => this.take(this.wanted)));
    byId("look-back").addEventListener("click", () => this.move(-1));
    byId("look-forward").addEventListener("click", () => this.move(1));
    byId("look-play").addEventListener("click", () => this.play(!this.playing));
    for (const [id, name, less] of [["look-map", "map", 1], ["look-row", "row", 0], ["look-column", "column", 0]]) {
      byId(id).addEventListener("input", () => {
        if (byId(id).value !== "") this.go({ [name]: Number(byId(id).value) - less });
      });
    }
    byId("above").addEventListener("click", (event) => this.go(this.under(event)));
    byId("above").addEventListener("keydown", (event) => {
      const move = KEYS[event.key];
      if (event.key === " ") this.play(!this.playing);
      else if (move) this.go({ row: this.at.row + move[0], column: this.at.column + move[1] });
      else return;
      event.preventDefault();
    });
  }

  async shown() {
    byId("look-drawing").hidden = !this.app.drawing;
    if (!this.app.state) return;
    await this.images.follow(this.app.state.data);
    if (this.app.drawing && this.app.drawing !== this.wanted?.picture) await this.take({ picture: this.app.drawing });
    else if (!this.seen || this.made !== this.app.state.made) await this.take(this.wanted ?? { image: this.app.state.image });
    else this.repaint();
  }

  state(state) {
    if (byId("look").hidden || !this.made || (this.made === state.made && this.seen)) return;
    quietly(() => this.shown())();
  }

  // Requests all maps of an image, with the current weights.
  async take(wanted) {
    this.made = this.app.state.made;
    const seen = await post("/api/look", wanted);
    const same = this.seen && this.seen.layers.map((l) => l.name).join() === seen.layers.map((l) => l.name).join();
    Object.assign(this, { seen, wanted });
    this.images.mark(wanted.image ?? null);
    this.outputs = seen.layers.map(({ maps }) => unpack(maps));
    this.inputs = [unpack(seen.picture), ...this.outputs];
    this.titles = titles(seen.layers);
    this.pills();
    this.layers.paint(seen.layers);
    await this.go(same ? {} : { layer: 0, ...this.brightest(0) });
  }

  pills() {
    byId("look-layer").replaceChildren(...this.titles.map((title, i) => element("button", {
      type: "button", class: "pill", text: title, "aria-pressed": "false", onclick: () => this.go({ layer: i, ...this.brightest(i) }),
    })));
  }

  // Finds the position of a layer's largest number.
  brightest(layer) {
    const { values, width, count } = this.outputs[layer];
    const at = values.indexOf(Math.max(...values)), pixel = Math.floor(at / count);
    return { map: at % count, row: Math.floor(pixel / width), column: pixel % width };
  }

  get above() {
    return this.outputs[this.at.layer];
  }

  // Moves to a position, or to the nearest valid one, and shows its sum.
  async go(change) {
    if (!change || !this.seen) return;
    if (change.layer !== undefined && change.layer !== this.at.layer) this.begun = false;
    Object.assign(this.at, change);
    const { height, width, count } = this.above;
    for (const [name, most] of [["map", count], ["row", height], ["column", width]]) {
      this.at[name] = Math.min(Math.max(Math.trunc(this.at[name]) || 0, 0), most - 1);
    }
    const { layer, map, row, column } = this.at;
    const place = this.seen.layers[layer].maps.shape.length === 1 ? [map] : [row, column, map];
    const asked = ++this.asked;
    const found = await get("/api/explain", { look: this.seen.look, layer: this.seen.layers[layer].name, place: place.join() })
      .catch(() => null);
    if (!found || asked !== this.asked) return;
    this.found = found;
    if (found.sums && this.chosenFor !== `${layer} ${map}`) {
      this.chosenFor = `${layer} ${map}`;
      this.channel = found.sums.indexOf(found.sums.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a)));
    }
    this.paint();
  }

  // Moves to the next pixel in reading order, for layers that have a window.
  move(by) {
    const { height, width } = this.above;
    const next = (this.at.row * width + this.at.column + by + height * width) % (height * width);
    return this.go({ row: Math.floor(next / width), column: next % width });
  }

  // Slides the window from the beginning, or from where it stopped.
  async play(on) {
    if (on === this.playing) return;
    const turn = (this.turn = (this.turn ?? 0) + 1);
    this.playing = on;
    byId("look-play").textContent = on ? "Pause" : "Play";
    if (!on) return this.paint();
    const { layer } = this.at, { width, height } = this.above, last = width * height - 1;
    if (!this.begun) {
      this.begun = true;
      await this.go({ row: 0, column: 0 });
    }
    while (this.at.layer === layer && !byId("look").hidden && this.at.row * width + this.at.column < last) {
      await new Promise((done) => setTimeout(done, 1000 / byId("look-speed").value));
      if (turn !== this.turn) return;
      await this.move(1);
    }
    this.begun = false; // the next playback starts from the beginning
    this.play(false);
  }

  repaint() {
    if (byId("look").hidden || !this.seen) return;
    this.layers.paint(this.seen.layers);
    if (this.found) this.paint();
  }

  paint() {
    const { layer, map, row, column } = this.at;
    const title = this.titles[layer], before = layer ? this.titles[layer - 1] : "The image, divided by 255";
    [...byId("look-layer").children].forEach((pill, i) => pill.setAttribute("aria-pressed", i === layer));
    this.channel = Math.min(this.channel, this.inputs[layer].count - 1);
    const channel = this.found.kind === "Conv2D" ? this.channel : this.found.kind === "Flatten" ? this.found.from[2] : map;
    this.paintBelow(layer, before, Math.min(channel, this.inputs[layer].count - 1));
    this.paintAbove(title);
    const flat = this.seen.layers[layer].maps.shape.length === 1;
    byId("player").hidden = flat;
    byId("look-map-name").textContent = flat ? "Number" : "Map";
    for (const [id, value, most] of [["look-map", map + 1, this.above.count], ["look-row", row, this.above.height - 1],
      ["look-column", column, this.above.width - 1]]) {
      byId(id).max = most;
      if (document.activeElement !== byId(id)) byId(id).value = value;
      byId(id).parentElement.hidden = flat && id !== "look-map";
    }
    byId("look-how").textContent = HOW[this.found.kind] ?? "";
    explain(byId("sum"), this.found, {
      channel: this.channel, before, map, classes: this.seen.classes,
      pick: (c) => { this.channel = c; this.paint(); },
    });
  }

  // Returns the width in pixels available for each of the two large maps.
  room() {
    return Math.min(312, byId("look").clientWidth - 40);
  }

  paintBelow(layer, before, channel) {
    const maps = this.inputs[layer], flat = maps.height === 1;
    const canvas = byId("below");
    canvas.parentElement.hidden = flat;
    if (flat) return;
    const cell = paintMap(canvas, maps, channel, this.room());
    byId("below-title").textContent = `${before}${maps.count > 1 ? `, map ${channel + 1} of ${maps.count}` : ""} (${maps.height} x ${maps.width})`;
    this.say("below-extent", maps, layer ? channel : null);
    const { rows, columns, from, winner } = this.found;
    if (rows) frame(canvas, columns[0] * cell, rows[0] * cell, (columns.at(-1) - columns[0] + 1) * cell, (rows.at(-1) - rows[0] + 1) * cell);
    if (winner) frame(canvas, columns[winner[1]] * cell, rows[winner[0]] * cell, cell, cell, true);
    if (from) frame(canvas, from[1] * cell, from[0] * cell, cell, cell);
  }

  paintAbove(title) {
    const { map, row, column } = this.at, maps = this.above, canvas = byId("above");
    byId("above-title").textContent = `${title}${maps.height > 1 ? `, map ${map + 1} of ${maps.count} (${maps.height} x ${maps.width})` : `: ${size([maps.count])}`}`;
    this.say("above-extent", maps, maps.height === 1 ? 0 : map);
    byId("above-extent").hidden = maps.height === 1;
    if (maps.height === 1) {
      const strip = { ...maps, height: Math.ceil(maps.count / 32), width: Math.min(32, maps.count), count: 1 };
      this.cell = paintMap(canvas, strip, 0, this.room());
      frame(canvas, (map % 32) * this.cell, Math.floor(map / 32) * this.cell, this.cell, this.cell);
    } else {
      this.cell = paintMap(canvas, maps, map, this.room());
      if (this.playing) this.hide(canvas, maps);
      frame(canvas, column * this.cell, row * this.cell, this.cell, this.cell);
    }
    canvas.setAttribute("aria-label", `${title}, map ${map + 1}, row ${row}, column ${column}: arrow keys move`);
  }

  // Explains the gray levels of a map.
  say(id, maps, map) {
    const high = map === null ? 1 : largest(maps, map);
    byId(id).textContent = `black 0, white about ${high.toPrecision(2)}`;
  }

  // Hides the pixels that the sliding kernel has not reached yet.
  hide(canvas, { height, width }) {
    const context = canvas.getContext("2d");
    for (let i = this.at.row * width + this.at.column + 1; i < height * width; i++) {
      context.clearRect((i % width) * this.cell, Math.floor(i / width) * this.cell, this.cell, this.cell);
    }
  }

  under(event) {
    const canvas = byId("above"), box = canvas.getBoundingClientRect(), scale = canvas.width / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale) / this.cell);
    const row = Math.floor(((event.clientY - box.top) * scale) / this.cell);
    if (this.above.height > 1) return { row, column };
    const map = row * 32 + column;
    return map < this.above.count ? { map } : null;
  }
}

const HOW = {
  Conv2D: "Each number of a map is a sum over all maps below: the window times the filter's kernel, plus the bias. A ReLU sets negative sums to 0.",
  MaxPooling2D: "Each number is the maximum of its window.",
  Flatten: "All maps as one list of numbers: row by row, pixel by pixel, and map by map within a pixel.",
  Dense: "Each number is a weighted sum of all numbers of the layer below, plus the bias.",
};

// Draws a frame that is visible on bright and on dark pixels.
function frame(canvas, x, y, width, height, strong = false) {
  const context = canvas.getContext("2d");
  for (const [line, colour] of [[strong ? 6 : 5, "#101114"], [strong ? 3 : 2.5, strong ? "#ff5d5d" : "#ffcf33"]]) {
    context.lineWidth = line;
    context.strokeStyle = colour;
    context.strokeRect(Math.max(x, 1), Math.max(y, 1), Math.min(width, canvas.width - x - 1), Math.min(height, canvas.height - y - 1));
  }
}
