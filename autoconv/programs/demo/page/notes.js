// Messages under the header. A message stays until its action succeeds or the user dismisses it.

import { byId, element } from "./dom.js";

const lines = new Map(); // messages by action or field

// Shows a message; it replaces an earlier one about the same action. A field with that name is marked.
export function say(about, text) {
  done(about);
  const line = element("p", {}, element("span", { text }),
    element("button", { type: "button", text: "×", "aria-label": `Dismiss: ${text}`, onclick: () => done(about) }));
  lines.set(about, line);
  byId("trouble").append(line);
  update(about);
}

// Removes the message about an action that has succeeded.
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
