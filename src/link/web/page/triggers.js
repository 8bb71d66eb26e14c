// The triggers: live scores against a threshold that a person drags.

import { $, h, json, percent, complaint } from "./common.js";
import { edit } from "./trigger-form.js";

const PEAK_MS = 60_000;
const NEW = { name: "", when: "", threshold: 0.5 };

const rows = new Map();
let triggers = [];
/** What differs from the configuration file. */
let edits = [];
let known = { cameras: [] };

export function begin() {
  $("#add").addEventListener("click", () => edit(NEW, known, changed));
  return load();
}

async function load() {
  try {
    ({ triggers, edits } = await json("/api/triggers"));
    show();
  } catch (problem) {
    $("#trigger-list").replaceChildren(h("li", {}, complaint(problem)));
  }
}

/** After the form saved, renamed or removed one. */
function changed() {
  return load();
}

function show() {
  const list = $("#trigger-list");
  for (const [name, row] of rows) {
    if (triggers.some((trigger) => trigger.name === name)) continue;
    row.element.remove();
    rows.delete(name);
  }
  triggers.forEach((trigger) => {
    const row = rows.get(trigger.name) ?? make(trigger);
    rows.set(trigger.name, row);
    row.set(trigger);
    row.edited(edits.find(({ name }) => name === trigger.name)?.edit);
  });
  $("#removed-triggers").replaceChildren(...edits.filter(({ edit }) => edit === "removed").map(removed));
  const order = triggers.map(({ name }) => rows.get(name).element);
  if (order.length === 0) {
    list.replaceChildren(h("li", { className: "empty" }, "No triggers yet. Add one: say in words what should begin an event."));
  } else if (order.some((element, at) => list.children[at] !== element) || list.childElementCount !== order.length) {
    list.replaceChildren(...order);
  }
}

/** A trigger of the configuration file that was removed here. */
function removed({ name }) {
  const back = h("button", { type: "button", className: "quiet small", on: { click: () => forget(name, said) } }, "Put back");
  const said = h("div");
  const element = h("li", { className: "about small" }, h("span", { className: "muted" }, `${name} is in the configuration file and was removed here`), back, said);
  element.dataset.name = name;
  return element;
}

/** It is as the configuration file says again. */
async function forget(name, said) {
  try {
    await json(`/api/triggers/${encodeURIComponent(name)}/edit`, { method: "DELETE" });
    await load();
  } catch (problem) {
    said.replaceChildren(complaint(problem));
  }
}

/** Scores of every second. */
export function status(now) {
  known = { cameras: now.cameras.map(({ name }) => name) };
  const names = now.triggers.map(({ name }) => name).sort().join("\n");
  if (names !== triggers.map(({ name }) => name).sort().join("\n")) load();
  for (const trigger of now.triggers) rows.get(trigger.name)?.score(trigger);
}

/** One trigger in the list: `set` takes what is configured, `score` what is measured. */
function make(first) {
  let trigger = first;
  const name = h("strong");
  const when = h("span", { className: "words" });
  const state = h("span", { className: "chip" });
  const value = h("output", { className: "number" });
  const bars = h("div", { className: "bars" });
  const trouble = h("div");
  const slider = h("input", { type: "range", min: 0, max: 1, step: 0.01, on: {
    input: () => place(Number(slider.value)),
    change: () => save({ threshold: Math.max(0.01, Number(slider.value)) }),
  } });
  const enabled = h("input", { type: "checkbox", role: "switch", on: { change: () => save({ enabled: enabled.checked }) } });
  const change = h("button", { type: "button", className: "quiet small", on: { click: () => edit(trigger, known, changed) } }, "Edit");
  const difference = h("span", { className: "muted" });
  const back = h("button", { type: "button", className: "quiet small", on: { click: () => forget(trigger.name, trouble) } }, "As in the file");
  const differs = h("div", { className: "about small edited", hidden: true }, difference, back);
  const gauge = h("div", { className: "gauge" }, bars, slider);
  const element = h("li", { className: "trigger" },
    h("div", { className: "about" }, name, state, h("span", { className: "grow" }), h("label", { className: "switch small" }, enabled, h("span", { className: "sr" }, `Trigger ${first.name} may begin events`)), change),
    when, gauge, h("div", { className: "about small" }, h("span", { className: "muted" }, "begins at"), value, h("span", { className: "muted ends" })), differs, trouble);
  element.dataset.name = first.name;
  const peaks = new Map();

  function place(threshold) {
    value.textContent = percent(threshold);
    gauge.style.setProperty("--at", threshold);
    slider.setAttribute("aria-valuetext", percent(threshold));
    const release = trigger.release ?? threshold * 0.8;
    gauge.style.setProperty("--release", Math.min(release, threshold));
    element.querySelector(".ends").textContent = `ends below ${percent(Math.min(release, threshold))}`;
  }

  async function save(part) {
    const wanted = { ...trigger, ...part };
    if (wanted.release !== undefined && wanted.release > wanted.threshold) wanted.release = wanted.threshold;
    try {
      set(await json(`/api/triggers/${encodeURIComponent(trigger.name)}`, { method: "PUT", body: wanted }));
      trouble.replaceChildren();
      await load();
    } catch (problem) {
      trouble.replaceChildren(complaint(problem));
      set(trigger);
    }
  }

  function set(now) {
    trigger = now;
    triggers = triggers.map((other) => (other.name === now.name ? now : other));
    name.textContent = now.name;
    when.textContent = now.when ?? `like ${now.like}`;
    slider.setAttribute("aria-label", `Threshold of ${now.name}`);
    change.setAttribute("aria-label", `Edit ${now.name}`);
    enabled.checked = now.enabled;
    // Somebody who drags is not interrupted.
    if (document.activeElement !== slider || !slider.matches(":active")) slider.value = now.threshold;
    place(Number(slider.value));
  }

  function score(now) {
    element.classList.toggle("off", !now.enabled);
    element.classList.toggle("on", now.active);
    state.textContent = now.active ? "on" : now.enabled ? "" : "off";
    state.hidden = state.textContent === "";
    if (bars.childElementCount !== now.scores.length) {
      bars.replaceChildren(...now.scores.map(() => h("div", { className: "meter" }, h("i"), h("b"), h("span"))));
    }
    now.scores.forEach(({ camera, score }, at) => {
      const [peak, fill, text] = bars.children[at].children;
      const past = (peaks.get(camera) ?? []).filter(({ ms }) => ms > Date.now() - PEAK_MS);
      past.push({ ms: Date.now(), score });
      peaks.set(camera, past);
      peak.style.width = `${Math.max(...past.map((one) => one.score)) * 100}%`;
      fill.style.width = `${score * 100}%`;
      text.textContent = now.scores.length > 1 ? `${camera} ${percent(score)}` : percent(score);
    });
    if (now.scores.length === 0) bars.replaceChildren();
  }

  function edited(edit) {
    differs.hidden = edit === undefined;
    difference.textContent = edit === "added" ? "added here, not in the configuration file" : "changed here, not as in the configuration file";
    back.hidden = edit !== "changed";
    back.setAttribute("aria-label", `Make ${trigger.name} as in the configuration file`);
  }

  return { element, set, score, edited };
}
