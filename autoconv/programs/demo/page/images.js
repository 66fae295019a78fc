// A strip of test images, one of each class, to choose from.

import { element } from "./dom.js";
import { picture } from "./maps.js";
import { get, quietly } from "./server.js";

export class Images {
  constructor(host, more, onPick) {
    Object.assign(this, { host, onPick, page: 0, data: null, chosen: null });
    more.addEventListener("click", quietly(() => this.load(this.page + 1)));
  }

  // Loads images of the current net's data set.
  async follow(data) {
    if (data === this.data) return;
    this.data = data;
    await this.load(0);
  }

  async load(page) {
    this.page = page;
    const { numbers, labels, pictures } = await get("/api/images", { page });
    this.buttons = numbers.map((number, i) => {
      const canvas = element("canvas", { "aria-hidden": "true" });
      picture(canvas, pictures[i]);
      return element("button", { type: "button", class: "thumb", "aria-label": `test image ${number}: ${labels[i]}`,
        title: labels[i], "aria-pressed": "false", "data-number": number,
        onclick: quietly(() => this.onPick(number)) }, canvas);
    });
    this.host.replaceChildren(...this.buttons);
    this.mark(this.chosen);
  }

  mark(number) {
    this.chosen = number;
    for (const button of this.buttons ?? []) button.setAttribute("aria-pressed", Number(button.dataset.number) === number);
  }
}
