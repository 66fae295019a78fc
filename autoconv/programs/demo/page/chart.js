// A chart of lines over training steps, as SVG; the colours come from the style.

const NS = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [420, 262, 40, 10, 10, 24];

function svg(tag, attributes, text = "") {
  const made = document.createElementNS(NS, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

export class Chart {
  // lines: {name: class}; top: upper end of the axis, null for the data's maximum without rare peaks; form: formats a value.
  constructor(host, { label, lines, top = null, form }) {
    Object.assign(this, { top, form, lines, data: {}, last: 1, epoch: 0 });
    this.root = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
    this.grid = svg("g", {});
    this.root.append(this.grid);
    this.paths = Object.fromEntries(Object.entries(lines).map(([name, style]) => {
      const path = svg("path", { class: `line ${style}` });
      this.root.append(path);
      return [name, path];
    }));
    this.cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    this.reading = svg("text", { class: "reading", y: TOP + 12, visibility: "hidden" });
    this.root.append(this.cursor, this.reading);
    this.root.addEventListener("pointermove", (event) => this.read(event));
    this.root.addEventListener("pointerleave", () => this.hide());
    host.append(this.root);
    this.paint({}, 1, 0);
  }

  // data: {name: [[step, value], ...]}; last: the step at the right end; epoch: number of steps per epoch; usual: a value
  // that is always on the axis. A peak of fewer than a tenth of the points is cut off at the top of the axis.
  paint(data, last, epoch, usual = 0) {
    Object.assign(this, { data, last: Math.max(last, 1), epoch });
    const all = Object.values(data).flat().map(([, value]) => value).sort((a, b) => a - b);
    const most = all.at(-1) ?? 0, common = all[Math.floor(0.9 * all.length)] ?? 0;
    const high = this.top ?? Math.max(Math.min(most, 1.25 * Math.max(common, usual)), 0.1);
    this.x = (step) => LEFT + ((WIDTH - LEFT - RIGHT) * step) / this.last;
    this.y = (value) => HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * Math.min(value, high)) / high;
    for (const [name, path] of Object.entries(this.paths)) {
      const points = (data[name] ?? []).map(([step, v]) => `${this.x(step).toFixed(1)} ${this.y(v).toFixed(1)}`);
      path.setAttribute("d", points.length ? `M${points.join("L")}` : "");
    }
    this.drawGrid(high);
  }

  drawGrid(high) {
    const key = `${high.toPrecision(2)} ${this.last} ${this.epoch}`;
    if (key === this.gridKey) return;
    this.gridKey = key;
    const parts = [];
    for (let i = 0; i <= 4; i++) {
      const y = this.y((high * i) / 4);
      parts.push(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }));
      parts.push(svg("text", { class: "tick", x: LEFT - 6, y: y + 4, "text-anchor": "end" }, this.form((high * i) / 4)));
    }
    const epochs = this.epoch ? Math.floor(this.last / this.epoch) : 0;
    const every = Math.max(1, Math.ceil(epochs / 8));
    for (let e = every; e <= epochs; e += every) {
      const x = this.x(e * this.epoch);
      parts.push(svg("line", { class: "grid", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
      parts.push(svg("text", { class: "tick", x, y: HEIGHT - 7, "text-anchor": "end" }, e === every ? `epoch ${e}` : e));
    }
    this.grid.replaceChildren(...parts);
  }

  read(event) {
    const box = this.root.getBoundingClientRect();
    const step = (((event.clientX - box.left) / box.width) * WIDTH - LEFT) / (WIDTH - LEFT - RIGHT) * this.last;
    const found = Object.entries(this.data).map(([name, points]) => [name, nearest(points, step)]).filter(([, p]) => p);
    if (!found.length) return;
    const x = this.x(found[0][1][0]);
    for (const name of ["x1", "x2"]) this.cursor.setAttribute(name, x);
    const right = x > WIDTH / 2;
    this.reading.setAttribute("x", right ? x - 6 : x + 6);
    this.reading.setAttribute("text-anchor", right ? "end" : "start");
    this.reading.setAttribute("y", HEIGHT - BOTTOM - 10);
    this.reading.textContent = `step ${found[0][1][0]}: ${found.map(([name, p]) => `${name} ${p[1].toFixed(4)}`).join(", ")}`;
    for (const part of [this.cursor, this.reading]) part.setAttribute("visibility", "visible");
  }

  hide() {
    for (const part of [this.cursor, this.reading]) part.setAttribute("visibility", "hidden");
  }
}

function nearest(points, step) {
  let best = null;
  for (const point of points) if (!best || Math.abs(point[0] - step) < Math.abs(best[0] - step)) best = point;
  return best;
}
