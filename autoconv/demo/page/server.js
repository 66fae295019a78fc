// Asking the server. What goes wrong is shown in the line under the header, and thrown.

export async function get(path, query = {}) {
  return ask(`${path}?${new URLSearchParams(query)}`, {});
}

let last = Promise.resolve();
export const commands = { waiting: 0 }; // given, and not answered yet

// Commands reach the server in the order in which they were given.
export function post(path, body = {}) {
  const how = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  commands.waiting++;
  const answer = last.then(() => ask(path, how)).finally(() => commands.waiting--);
  last = answer.catch(() => {});
  return answer;
}

export async function postBytes(path, query, bytes) {
  return ask(`${path}?${new URLSearchParams(query)}`, { method: "POST", body: bytes });
}

async function ask(address, how) {
  let answer;
  try {
    const response = await fetch(address, how);
    answer = await response.json();
    if (response.ok) {
      say("");
      return answer;
    }
  } catch {
    answer = { error: "The server does not answer. Is autoconv demo still running?" };
  }
  say(answer.error);
  throw new Error(answer.error);
}

// Shows a sentence under the header; an empty one hides it.
export function say(text) {
  const line = document.getElementById("trouble");
  line.textContent = text;
  line.hidden = !text;
}

// For handlers of events: what failed has been shown already.
export function quietly(action) {
  return (...args) => Promise.resolve(action(...args)).catch(() => {});
}
