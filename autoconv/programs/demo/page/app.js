// Connects the parts of the page with the server's events.

import { byId, count } from "./dom.js";
import { done, say } from "./notes.js";
import { get } from "./server.js";
import { Draw } from "./draw.js";
import { Kernels } from "./kernels.js";
import { Learn } from "./learn.js";
import { Look } from "./look.js";

const PHASES = { new: "has learned nothing yet", starting: "starts", learning: "learns",
  stuck: "trains, but its loss does not fall", paused: "is paused", finished: "has finished", failed: "has failed" };
const tabs = [...document.querySelectorAll("[role=tab]")];
const app = { state: null, offered: null, failure: "", show };
let parts = {};
let events = null;

function show(name, focus = false) {
  for (const tab of tabs) {
    const chosen = tab.getAttribute("aria-controls") === name;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(tab.getAttribute("aria-controls")).hidden = !chosen;
    if (chosen && focus) tab.focus();
  }
  history.replaceState(null, "", `${location.pathname}${location.search}#${name}`);
  parts[name]?.shown?.();
}

function listenToTabs() {
  for (const [i, tab] of tabs.entries()) {
    tab.addEventListener("click", () => show(tab.getAttribute("aria-controls")));
    tab.addEventListener("keydown", (event) => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      show(tabs[(to + tabs.length) % tabs.length].getAttribute("aria-controls"), true);
    });
  }
}

function tell(name, data) {
  for (const part of Object.values(parts)) part[name]?.(data);
}

// Shows a failure once, not at each event, because the user may have dismissed it.
function tellFailure(failure, message) {
  if (failure !== app.failure) failure ? say("learning", message) : done("learning");
  app.failure = failure;
}

function connect() {
  events = new EventSource("/api/events");
  for (const name of ["points", "view"]) events.addEventListener(name, (event) => tell(name, JSON.parse(event.data)));
  events.addEventListener("state", (event) => {
    done("server");
    app.state = JSON.parse(event.data);
    const { images_per_s: speed, message, stuck } = app.state;
    const phase = app.state.phase === "learning" && stuck ? "stuck" : app.state.phase;
    const text = `The net ${PHASES[phase]}`;
    if (byId("status").dataset.text !== text) byId("status").textContent = byId("status").dataset.text = text;
    byId("status").dataset.phase = phase;
    tellFailure(phase === "failed" ? `${app.state.made}: ${message}` : "", message);
    document.title = app.state.phase === "learning" ? `${count(speed)} images/s, autoconv` : "autoconv: watch a net learn";
    tell("state", app.state);
  });
  events.addEventListener("error", () => {
    byId("status").textContent = byId("status").dataset.text = "The server does not answer";
    byId("status").dataset.phase = "failed";
  });
}

// A hidden window requests nothing, so it costs nothing, and the browser's connections stay free.
document.addEventListener("visibilitychange", () => {
  events?.close();
  if (!document.hidden) connect();
});

const page = await get("/api/page");
Object.assign(app, page);
parts = { learn: new Learn(app), draw: new Draw(app), look: new Look(app), kernels: new Kernels(app) };
listenToTabs();
connect();
show(parts[location.hash.slice(1)] ? location.hash.slice(1) : "learn");
