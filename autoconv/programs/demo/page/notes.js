// Messages under the header. Each is about something, and stays until that succeeds or somebody dismisses it.

import { byId, element } from "./dom.js";

const lines = new Map(); // by what they are about

// Shows a message, in the place of the one before about the same. A field of that name is marked.
export function say(about, text) {
  done(about);
  const line = element("p", {}, element("span", { text }),
    element("button", { type: "button", text: "×", "aria-label": `Dismiss: ${text}`, onclick: () => done(about) }));
  lines.set(about, line);
  byId("trouble").append(line);
  update(about);
}

// It succeeded: the message about it goes.
export function done(about) {
  if (!lines.has(about)) return;
  lines.get(about).remove();
  lines.delete(about);
  update(about);
}

function update(about) {
  byId("trouble").hidden = !lines.size;
  for (const field of document.getElementsByName(about)) field.setAttribute("aria-invalid", lines.has(about));
}
