// Draws arrays: the server sends bytes 0..255 between `low` and `high`, in base64.

import { element, isDark } from "./dom.js";

const GAP = 3; // screen pixels between two maps

// Unpacks an array (H, W), (H, W, maps) or (units,) from the server to {height, width, count, values, low, high}.
export function unpack(packed) {
  const shape = packed.shape;
  const [height, width, count] = shape.length === 1 ? [1, 1, shape[0]] : [shape[0], shape[1], shape[2] ?? 1];
  const text = atob(packed.data);
  const values = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) values[i] = text.charCodeAt(i);
  return { height, width, count, values, low: packed.low, high: packed.high };
}

// Colours of the bytes: bright is large; if some numbers are negative, orange is positive and blue negative.
export function palette(low, high) {
  const colours = new Uint8ClampedArray(256 * 4);
  const zero = isDark() ? [38, 41, 46] : [240, 240, 236];
  const most = Math.max(-low, high, 1e-12);
  for (let i = 0; i < 256; i++) {
    const share = (low + (i / 255) * (high - low)) / most;
    const end = share < 0 ? (isDark() ? [96, 170, 255] : [24, 92, 180]) : (isDark() ? [255, 164, 84] : [196, 88, 10]);
    const grey = [i, i, i];
    colours.set(low < 0 ? zero.map((z, c) => z + Math.abs(share) * (end[c] - z)) : grey, 4 * i);
    colours[4 * i + 3] = 255;
  }
  return colours;
}

// Draws all maps of a layer side by side on one canvas.
export class Atlas {
  // most: maximum number of maps per row; by default the width decides.
  constructor(host, label = "", { gap = GAP, most = null } = {}) {
    Object.assign(this, { gap, most });
    this.canvas = element("canvas", { class: "atlas", role: "img", "aria-label": label });
    host.append(this.canvas);
    this.host = host;
  }

  paint(packed) {
    const { height, width, count, values, low, high } = unpack(packed);
    Object.assign(this, { height, width, count, ...this.layout(height, width, count) });
    const { columns, across, down } = this, rows = Math.ceil(count / columns);
    const [w, h] = [columns * (across + this.gap) - this.gap, rows * (down + this.gap) - this.gap];
    if (this.canvas.width !== w || this.canvas.height !== h) [this.canvas.width, this.canvas.height] = [w, h];
    const small = new OffscreenCanvas(columns * width, rows * height);
    const image = new ImageData(columns * width, rows * height);
    const pixels = new Uint32Array(image.data.buffer), colours = new Uint32Array(palette(low, high).buffer);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        for (let map = 0; map < count; map++, at++) {
          const column = map % columns, row = (map - column) / columns;
          pixels[(row * height + y) * columns * width + column * width + x] = colours[values[at]];
        }
      }
    }
    small.getContext("2d").putImageData(image, 0, 0);
    const context = this.canvas.getContext("2d");
    context.clearRect(0, 0, w, h);
    context.imageSmoothingEnabled = false;
    for (let map = 0; map < count; map++) {
      const column = map % columns, row = (map - column) / columns;
      context.drawImage(small, column * width, row * height, width, height,
        column * (across + this.gap), row * (down + this.gap), across, down);
    }
  }

  // Chooses the number of maps per row (8, 16, 32, 64 or 128, so that rows are full) and their size on the screen.
  layout(height, width, count) {
    const room = Math.max(this.host.clientWidth, 120), kind = height > 1 ? 0 : count > 100 ? 2 : 1;
    const columns = Math.min(count, this.most ?? (room < 480 ? 8 : room < 1100 ? 16 : 32) * 2 ** kind);
    const across = Math.max(Math.min(Math.floor((room + this.gap) / columns) - this.gap, [58, 22, 12][kind]), 2);
    return { columns, across, down: Math.round((across * height) / width) };
  }

  // Returns {map, row, column} under a pointer, or null between the maps.
  at(event) {
    const box = this.canvas.getBoundingClientRect(), scale = this.canvas.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    const [right, below] = [this.across + this.gap, this.down + this.gap];
    const map = Math.floor(y / below) * this.columns + Math.floor(x / right);
    const column = Math.floor(((x % right) / this.across) * this.width);
    const row = Math.floor(((y % below) / this.down) * this.height);
    if (map < 0 || map >= this.count || column >= this.width || row >= this.height) return null;
    return { map, row, column };
  }
}

function brightest({ values, count }, map) {
  let most = 1;
  for (let i = map; i < values.length; i += count) most = Math.max(most, values[i]);
  return most;
}

// Returns the approximate maximum of one map, which is known only as a byte.
export const largest = (maps, map) => maps.low + (brightest(maps, map) / 255) * (maps.high - maps.low);

// Draws one map (H, W) as large as `size` allows, with its maximum in white. Returns the size of a pixel.
export function paintMap(canvas, maps, map, size) {
  const { height, width, count, values, low, high } = maps;
  const cell = Math.max(1, Math.floor(size / Math.max(width, height)));
  canvas.width = width * cell;
  canvas.height = height * cell;
  const context = canvas.getContext("2d");
  const colours = palette(low, high), most = low < 0 ? 255 : brightest(maps, map);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const c = 4 * Math.round((255 * values[(y * width + x) * count + map]) / most);
      context.fillStyle = `rgb(${colours[c]} ${colours[c + 1]} ${colours[c + 2]})`;
      context.fillRect(x * cell, y * cell, cell, cell);
    }
  }
  return cell;
}

export const picture = (canvas, packed) => {
  const maps = unpack(packed);
  canvas.width = maps.width;
  canvas.height = maps.height;
  const image = new ImageData(maps.width, maps.height);
  for (let i = 0; i < maps.values.length; i++) image.data.set([maps.values[i], maps.values[i], maps.values[i], 255], 4 * i);
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0);
};

const KINDS = { Conv2D: "Convolution", MaxPooling2D: "Max pooling", Dense: "Dense", Flatten: "Flatten" };

// "Convolution 2" for the second convolution of a net, and so on.
export function titles(layers) {
  const seen = {};
  return layers.map(({ kind }) => {
    seen[kind] = (seen[kind] ?? 0) + 1;
    const several = layers.filter((other) => other.kind === kind).length > 1;
    return (KINDS[kind] ?? kind) + (several ? ` ${seen[kind]}` : "");
  });
}

// "26 x 26, 32 maps"
export function size(shape) {
  return shape.length === 1 ? `${shape[0]} numbers` : `${shape[0]} x ${shape[1]}, ${shape[2] ?? 1} maps`;
}

// Creates a heading and an atlas for each layer; recreates them only for a different net.
export class Layers {
  constructor(host, { onPick = null, wanted = () => true } = {}) {
    Object.assign(this, { host, onPick, wanted, key: "", atlases: [] });
  }

  paint(layers) {
    const shown = layers.filter(this.wanted);
    const key = shown.map(({ name, maps }) => `${name} ${maps.shape}`).join("|");
    if (key !== this.key) this.make(layers, shown, key);
    shown.forEach(({ maps }, i) => this.atlases[i].paint(maps));
  }

  make(layers, shown, key) {
    this.key = key;
    this.host.replaceChildren();
    const named = titles(layers);
    this.atlases = shown.map((layer) => {
      const title = named[layers.indexOf(layer)];
      const part = element("div", { class: "layer" },
        element("h3", {}, `${title} `, element("small", { text: size(layer.maps.shape) })));
      this.host.append(part);
      const atlas = new Atlas(part, `${title}: ${size(layer.maps.shape)}`);
      if (this.onPick) {
        atlas.canvas.classList.add("pick");
        atlas.canvas.addEventListener("click", (event) => {
          const found = atlas.at(event);
          if (found) this.onPick(layer.name, found);
        });
      }
      return atlas;
    });
  }
}
