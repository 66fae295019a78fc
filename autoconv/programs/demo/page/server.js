// Sends requests to the server. Errors are shown under the header, and thrown.

import { done, say } from "./notes.js";

export async function get(path, query = {}) {
  return ask(path, `?${new URLSearchParams(query)}`, {});
}

let last = Promise.resolve();
export const commands = { waiting: 0 }; // number of unanswered commands

// Sends commands to the server one after another, in order.
export function post(path, body = {}) {
  const how = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  commands.waiting++;
  const answer = last.then(() => ask(path, "", how, body)).finally(() => commands.waiting--);
  last = answer.catch(() => {});
  return answer;
}

export async function postBytes(path, query, bytes) {
  return ask(path, `?${new URLSearchParams(query)}`, { method: "POST", body: bytes });
}

// `sent` are the settings in the body: if the server accepts them, messages about them are removed.
async function ask(path, query, how, sent = {}) {
  let response, answer;
  try {
    response = await fetch(`${path}${query}`, how);
    answer = await response.json();
  } catch {
    say("server", "The server does not answer. Is autoconv demo still running?");
    throw new Error("no answer");
  }
  done("server");
  if (!response.ok) {
    say(answer.setting ?? path, answer.error);
    throw new Error(answer.error);
  }
  for (const about of [path, ...Object.keys(sent)]) done(about);
  return answer;
}

// Ignores errors in event handlers, because they have been shown already.
export function quietly(action) {
  return (...args) => Promise.resolve(action(...args)).catch(() => {});
}
