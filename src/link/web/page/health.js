// How the device is doing.

import { $, h, span, bytes } from "./common.js";

const STATES = { opening: "being opened", running: "running", failing: "failing", ended: "at its end" };

export function status(now) {
  $("#health-cards").replaceChildren(
    card("Cameras", now.cameras.map(camera), "No camera is configured."),
    card("Ways out", now.links.map(link), "None is configured."),
    card("Memory of events", memory(now.memory)),
    card("Machine", machine(now)),
  );
  $("#version").textContent = `lookout ${now.version}, bundle ${now.bundle}`;
}

function card(title, rows, none = "") {
  return h("div", {}, h("h3", {}, title), rows.length ? h("dl", { className: "facts" }, rows.flat()) : h("p", { className: "empty" }, none));
}

function row(name, value, mark = "", note = "") {
  return [
    h("dt", {}, mark && h("span", { className: `dot ${mark}`, role: "img", "aria-label": mark === "good" ? "works" : "trouble" }), name),
    h("dd", {}, value, note && h("span", { className: "note small" }, note)),
  ];
}

function camera({ name, source, state, error, fps, age_ms: age, size, reopened, broken }) {
  const rate = state === "running" ? `${fps.toFixed(1)} frames/s` : STATES[state];
  const parts = [source, size && `${size[0]} × ${size[1]}`, age !== undefined && age > 2_000 && `last frame ${span(age / 1000)} ago`, reopened > 0 && `reopened ${reopened} ×`, broken > 0 && `${broken} broken`];
  const mark = state === "failing" ? "bad" : state === "opening" ? "warn" : "good";
  return row(name, rate, mark, [error, ...parts].filter(Boolean).join(" · "));
}

function link({ name, up, note, sent, received }) {
  return row(name, up ? `${sent} sent, ${received} received` : "down", up ? "good" : "bad", note ?? "");
}

function memory({ writable, note, events, bytes: size, outbox }) {
  return [
    row("Events", `${events}`, writable ? "good" : "bad", note ?? (writable ? "" : "cannot be written")),
    row("On disk", bytes(size)),
    row("Waiting for the broker", `${outbox}`),
  ];
}

function machine(now) {
  const celsius = now.celsius === undefined ? [] : [row("Temperature", `${now.celsius.toFixed(0)} °C`, now.throttled ? "warn" : "good", now.throttled ? "slowed down to cool" : "")];
  return [
    ...celsius,
    ...(now.celsius === undefined && now.throttled ? [row("Speed", "slowed down", "warn")] : []),
    row("A look takes", `${now.look_ms.toFixed(1)} ms`),
    row("Looks", `${now.looks}`),
    row("Questions", `${now.questions}`, "", now.refused ? `${now.refused} refused, as too many came at once` : ""),
    row("Running for", span(now.uptime_s)),
  ];
}
