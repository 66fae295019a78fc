// Shows the class scores as bars.

import { element } from "./dom.js";

export class Scores {
  constructor(host) {
    this.host = host;
    this.key = "";
  }

  // label: the true class, if it is known.
  paint(classes, scores, label = null) {
    const key = classes.join("|");
    if (key !== this.key) this.make(classes, key);
    const best = scores.indexOf(Math.max(...scores));
    this.rows.forEach(({ row, bar, text }, i) => {
      bar.style.width = `${100 * scores[i]}%`;
      text.textContent = scores[i] < 0.0005 ? "0" : scores[i] > 0.9995 ? "1" : scores[i].toFixed(3);
      row.classList.toggle("best", i === best);
      row.classList.toggle("right", i === label);
    });
  }

  make(classes, key) {
    this.key = key;
    this.rows = classes.map((name) => {
      const bar = element("span", { class: "bar" }), text = element("span", { class: "value" });
      const row = element("li", {}, element("span", { class: "name", text: name }),
        element("span", { class: "track" }, bar), text);
      return { row, bar, text };
    });
    this.host.replaceChildren(element("ol", { class: "scores" }, ...this.rows.map(({ row }) => row)));
  }
}
