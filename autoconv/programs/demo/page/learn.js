// The section Learn: settings, curves, and the net's outputs for one image during training.

import { byId, count, element, options, percent } from "./dom.js";
import { Chart } from "./chart.js";
import { Images } from "./images.js";
import { Atlas, Layers } from "./maps.js";
import { Scores } from "./scores.js";
import { commands, post, quietly } from "./server.js";

const GO = { new: "Start", starting: "Pause", learning: "Pause", paused: "Resume", finished: "Learn on", failed: "Start" };

export class Learn {
  constructor(app) {
    this.app = app;
    this.form = byId("settings").elements;
    this.curves = { learned: [], tests: [] };
    this.accuracy = new Chart(byId("accuracy"), { label: "Accuracy over the training steps", top: 1,
      lines: { training: "train", test: "test" }, form: (v) => `${Math.round(100 * v)}%` });
    this.loss = new Chart(byId("loss"), { label: "Loss over the training steps", lines: { training: "train" },
      form: (v) => v.toFixed(2) });
    this.filters = new Atlas(byId("filters"), "The filters of the first layer", { gap: 9, most: 8 });
    this.layers = new Layers(byId("learn-layers"), { wanted: ({ maps }) => maps.shape.length === 3 });
    this.scores = new Scores(byId("learn-scores"));
    this.images = new Images(byId("learn-images"), byId("learn-more"), (image) => post("/api/image", { image }));
    this.offer(app.offered);
    this.listen();
    new ResizeObserver(() => this.paintView()).observe(byId("learn-layers"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.paintView());
  }

  offer({ nets, data, optimizers, batch_sizes: sizes }) {
    options(this.form.net, Object.entries(nets));
    options(this.form.data, Object.entries(data));
    options(this.form.optimizer, Object.keys(optimizers).map((name) => [name, name]));
    options(this.form.batch_size, sizes.map((size) => [size, size]));
  }

  listen() {
    byId("settings").addEventListener("submit", (event) => event.preventDefault()); // Enter only applies the field's value
    byId("go").addEventListener("click", quietly(() => byId("settings").reportValidity() && this.go()));
    byId("step").addEventListener("click", quietly(() => post("/api/step")));
    byId("anew").addEventListener("click", quietly(() => this.renew("/api/start")));
    for (const name of ["net", "data", "batch_size"]) {
      this.form[name].addEventListener("change", quietly(() => {
        if (this.app.state.phase === "new") return this.renew("/api/anew");
      }));
    }
    this.form.optimizer.addEventListener("change", quietly(() => {
      this.form.learning_rate.value = this.app.offered.optimizers[this.form.optimizer.value];
      return post("/api/optimizer", this.optimizer());
    }));
    this.form.learning_rate.addEventListener("change", quietly(() => post("/api/rate", this.optimizer())));
  }

  optimizer() {
    return { optimizer: this.form.optimizer.value, learning_rate: typed(this.form.learning_rate) };
  }

  settings() {
    return { net: this.form.net.value, data: this.form.data.value, batch_size: Number(this.form.batch_size.value),
      epochs: typed(this.form.epochs), ...this.optimizer() };
  }

  // Builds a new net with the settings that the page shows.
  async renew(path) {
    this.made = (await post(path, this.settings())).made;
  }

  go() {
    const { phase } = this.app.state;
    if (phase === "new" || phase === "failed") return this.renew("/api/start");
    return post(phase === "starting" || phase === "learning" ? "/api/pause" : "/api/resume");
  }

  state(state) {
    if (state.made !== this.made) this.follow(state);
    this.made = state.made;
    const focused = document.activeElement;
    const { learning_rate: rate } = this.form;
    if (focused !== rate && rate.ariaInvalid !== "true" && !commands.waiting) rate.value = state.learning_rate;
    if (focused !== this.form.optimizer) this.form.optimizer.value = state.optimizer;
    byId("go").textContent = GO[state.phase];
    byId("anew").disabled = state.phase === "new";
    byId("step").disabled = state.phase === "failed";
    quietly(() => this.images.follow(state.data))();
    this.images.mark(state.image);
    this.figures(state);
  }

  // Shows the settings of a new net, usually built from another window. Later changes in this window's fields are kept.
  follow(state) {
    if (commands.waiting) return;
    for (const name of ["net", "data", "batch_size", "epochs"]) this.form[name].value = state[name];
  }

  figures(state) {
    const last = this.curves.learned.at(-1);
    const epoch = state.step / state.steps_per_epoch;
    const shown = {
      "training accuracy": last ? percent(last[2]) : "–",
      "test accuracy": state.test_accuracy === null ? "–" : percent(state.test_accuracy),
      "images a second": state.images_per_s ? count(state.images_per_s) : "–",
      "step": `${count(state.step)}${state.steps ? ` of ${count(state.steps)}` : ""}`,
      "epoch": epoch.toFixed(1),
      "parameters": count(state.parameters),
    };
    const list = byId("figures");
    if (!list.children.length) {
      for (const name of Object.keys(shown)) list.append(element("div", {}, element("dt", { text: name }), element("dd")));
    }
    Object.values(shown).forEach((text, i) => { list.children[i].lastChild.textContent = text; });
    list.children[1].title = state.phase === "finished" ? "on all test images" : `on ${state.tested} test images`;
  }

  points(news) {
    for (const [name, { begin, points }] of Object.entries(news)) {
      this.curves[name].length = Math.min(this.curves[name].length, begin);
      this.curves[name].push(...points);
    }
    if (!byId("learn").hidden) this.paintCurves();
  }

  paintCurves() {
    const { learned, tests } = this.curves;
    const last = learned.at(-1)?.[0] ?? 1, epoch = this.app.state.steps_per_epoch;
    this.accuracy.paint({ training: learned.map(([step, , value]) => [step, value]), test: tests }, last, epoch);
    const guessing = Math.log(this.app.state.classes.length); // the loss of a net that guesses
    this.loss.paint({ training: learned.map(([step, value]) => [step, value]) }, last, epoch, guessing);
    this.figures(this.app.state);
  }

  view(view) {
    this.last = view;
    this.paintView();
  }

  paintView() {
    if (!this.last || byId("learn").hidden) return;
    this.filters.paint(this.last.filters);
    this.layers.paint(this.last.layers);
    this.scores.paint(this.app.state.classes, this.last.scores, this.app.state.label);
  }

  shown() {
    this.paintCurves();
    this.paintView();
  }
}

// Returns the number in a field; invalid text is returned unchanged, so that the server reports it.
function typed({ value }) {
  const number = Number(value.replace(",", "."));
  return value.trim() && Number.isFinite(number) ? number : value;
}
