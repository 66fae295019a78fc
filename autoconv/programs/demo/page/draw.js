// The section Draw: a digit is drawn by mouse, finger or keys, and classified during and after each stroke.

import { byId } from "./dom.js";
import { Layers, picture } from "./maps.js";
import { Scores } from "./scores.js";
import { postBytes, quietly } from "./server.js";

const SENT = 140; // side in pixels of the picture that is sent to the server
const PEN = 20;
const KEYS = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] };

export class Draw {
  constructor(app) {
    this.app = app;
    this.paper = byId("paper");
    this.context = this.paper.getContext("2d", { willReadFrequently: true });
    this.small = new OffscreenCanvas(SENT, SENT).getContext("2d", { willReadFrequently: true });
    this.scores = new Scores(byId("draw-scores"));
    this.layers = new Layers(byId("draw-layers"), { wanted: ({ kind }) => kind !== "Flatten" });
    this.pen = { x: 140, y: 140, down: false };
    this.clear();
    this.listen();
    const again = () => this.paint();
    new ResizeObserver(again).observe(byId("draw-layers"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", again);
  }

  listen() {
    this.paper.addEventListener("pointerdown", (event) => {
      this.paper.setPointerCapture(event.pointerId);
      this.from = this.place(event);
      this.line(this.from);
      event.preventDefault();
    });
    this.paper.addEventListener("pointermove", (event) => {
      if (!this.from) return;
      for (const each of event.getCoalescedEvents?.() ?? [event]) this.line(this.place(each));
    });
    for (const end of ["pointerup", "pointercancel"]) this.paper.addEventListener(end, () => { this.from = null; });
    this.paper.addEventListener("keydown", (event) => this.key(event));
    this.paper.addEventListener("focus", () => this.moveMark());
    byId("clear").addEventListener("click", () => { this.clear(); this.ask(); });
    byId("inspect").addEventListener("click", () => {
      if (this.last?.ink) this.app.show("look", true);
    });
  }

  place(event) {
    const box = this.paper.getBoundingClientRect();
    return { x: ((event.clientX - box.left) / box.width) * 280, y: ((event.clientY - box.top) / box.height) * 280 };
  }

  clear() {
    this.context.fillStyle = "white";
    this.context.fillRect(0, 0, 280, 280);
    this.inked = false;
  }

  line(to) {
    const from = this.from ?? to;
    Object.assign(this.context, { lineWidth: PEN, lineCap: "round", lineJoin: "round", strokeStyle: "#16181d" });
    this.context.beginPath();
    this.context.moveTo(from.x, from.y);
    this.context.lineTo(to.x + 0.01, to.y);
    this.context.stroke();
    this.from = to;
    this.inked = true;
    this.ask();
  }

  // Arrow keys move the pen, space lifts and lowers it.
  key(event) {
    const move = KEYS[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    const before = { x: this.pen.x, y: this.pen.y };
    if (!move) this.pen.down = !this.pen.down;
    else {
      this.pen.x = Math.min(270, Math.max(10, this.pen.x + 10 * move[0]));
      this.pen.y = Math.min(270, Math.max(10, this.pen.y + 10 * move[1]));
    }
    if (this.pen.down) {
      this.from = before;
      this.line({ x: this.pen.x, y: this.pen.y });
      this.from = null;
    }
    this.moveMark();
  }

  // Shows the position of the keyboard's pen.
  moveMark() {
    const scale = this.paper.clientWidth / 280, pen = byId("pen");
    pen.style.left = `${this.pen.x * scale}px`;
    pen.style.top = `${this.pen.y * scale}px`;
    pen.classList.toggle("down", this.pen.down);
  }

  // Sends one request at a time; strokes drawn meanwhile are sent with the next request.
  ask() {
    if (this.asking) {
      this.again = true;
      return;
    }
    this.asking = true;
    quietly(async () => {
      try {
        do {
          this.again = false;
          await this.askOnce();
        } while (this.again);
      } finally {
        this.asking = false;
      }
    })();
  }

  async askOnce() {
    this.small.drawImage(this.paper, 0, 0, SENT, SENT);
    const { data } = this.small.getImageData(0, 0, SENT, SENT);
    const gray = new Uint8Array(SENT * SENT);
    for (let i = 0; i < gray.length; i++) gray[i] = data[4 * i];
    this.last = await postBytes("/api/draw", { width: SENT, height: SENT }, gray);
    this.app.drawing = this.last.ink ? this.last.picture.data : null;
    this.paint();
  }

  paint() {
    if (byId("draw").hidden || !this.last) return;
    const { picture: seen, layers, scores, classes, ink, step } = this.last;
    picture(byId("seen"), seen);
    this.layers.paint(layers);
    this.scores.paint(classes, scores);
    byId("answer").textContent = ink && step ? classes[scores.indexOf(Math.max(...scores))] : "?";
  }

  state(state) {
    const note = byId("draw-note");
    note.hidden = state.step > 0;
    note.textContent = "The net is not trained yet, so its answers are random. Start the training on the Learn tab: a few seconds are enough.";
    if (state.made !== this.made) this.stale = true;
    this.made = state.made;
    const now = performance.now();
    if (byId("draw").hidden || (state.step === this.last?.step && !this.stale) || now - (this.asked ?? 0) < 500) return;
    this.asked = now;
    this.stale = false;
    this.ask(); // classifies the same drawing again with the current net
  }

  shown() {
    this.ask();
  }
}
