// Past events: newest first, searched by words or by another event's picture, and new ones as they happen.

import { $, h, json, percent, complaint, time, moment, day, span, boxes } from "./common.js";

const PAGE = 24;

const timeline = $("#timeline");
let like = null;
let newest = new Map();
let waiting = 0;
let turn = 0;

export function begin() {
  $("#search").addEventListener("submit", (event) => (event.preventDefault(), fresh()));
  for (const select of ["#by-trigger", "#by-camera", "#by-since"]) $(select).addEventListener("change", fresh);
  $("#find").addEventListener("search", () => $("#find").value || fresh());
  $("#older").addEventListener("click", () => load(true));
  $("#fresh").addEventListener("click", all);
  $("#all").addEventListener("click", all);
  load();
}

function all() {
  like = null;
  for (const field of ["#find", "#by-trigger", "#by-camera", "#by-since"]) $(field).value = "";
  load();
}

function fresh() {
  like = null;
  load();
}

/** The events that the form asks for, from the newest on. */
export const reload = () => load();

const query = () => ({
  words: $("#find").value.trim(), trigger: $("#by-trigger").value, camera: $("#by-camera").value, since: $("#by-since").value,
  like: like?.id ?? "",
});

async function load(more = false) {
  const mine = ++turn;
  const asked = query();
  const searched = Boolean(asked.words || asked.like);
  const last = more ? Math.min(...newest.keys()) : "";
  const parameters = new URLSearchParams(Object.entries({ ...asked, before: last, top: PAGE }).filter(([, value]) => value !== ""));
  timeline.setAttribute("aria-busy", "true");
  try {
    const { events } = await json(`/api/events?${parameters}`);
    if (mine !== turn) return;
    if (!more) {
      newest = new Map();
      timeline.replaceChildren();
      waiting = 0;
    }
    for (const event of events) append(event, searched);
    $("#older").hidden = searched || events.length < PAGE;
  } catch (problem) {
    if (mine !== turn) return;
    if (!more) timeline.replaceChildren();
    timeline.append(complaint(problem));
    $("#older").hidden = true;
  }
  timeline.setAttribute("aria-busy", "false");
  $("#like").hidden = !like;
  if (like) $("#like span").textContent = `Like the event of ${moment(like.began_ms)}.`;
  say();
}

/** Empty states, and how many new events wait outside of what is searched for. */
function say() {
  const filtered = Object.values(query()).some((value) => value !== "");
  const none = $("#no-events");
  none.hidden = timeline.childElementCount > 0;
  none.textContent = filtered ? "Nothing that is kept fits." : "Nothing has happened yet. Events appear here by themselves.";
  $("#fresh").hidden = waiting === 0;
  $("#fresh").textContent = waiting === 1 ? "1 new event" : `${waiting} new events`;
}

/** The list of a day, newest day first; one list where the best come first. */
function list(event, searched, first) {
  const name = searched ? "Best first" : day(event.began_ms);
  const known = [...timeline.querySelectorAll("section")].find((section) => section.dataset.day === name);
  if (known) return known.lastElementChild;
  const section = h("section", {}, h("h3", {}, name), h("ul", { className: "plain grid" }));
  section.dataset.day = name;
  if (first) timeline.prepend(section);
  else timeline.append(section);
  return section.lastElementChild;
}

function append(event, searched) {
  if (newest.has(event.id)) return;
  const card = make(event);
  newest.set(event.id, card);
  list(event, searched, false).append(card.element);
}

/** A message that just came. */
export function event(message) {
  const card = newest.get(message.id);
  if (card) return card.show(message);
  if (message.phase !== "begin") return undefined;
  if (Object.values(query()).some((value) => value !== "")) {
    waiting += 1;
    return say();
  }
  const made = make(message);
  made.element.classList.add("new");
  newest.set(message.id, made);
  list(message, false, true).prepend(made.element);
  return say();
}

function make(first) {
  let event = first;
  const shot = h("div", { className: "shot" });
  const title = h("span", { className: "title" });
  const when = h("time", { className: "muted small" });
  const words = h("span", { className: "words" });
  const open = h("button", { type: "button", className: "open", on: { click: () => details(event) } }, shot, title, words, when);
  const similar = h("button", { type: "button", className: "quiet small", on: { click: () => { like = event; $("#find").value = ""; load(); $("#events").scrollIntoView(); } } }, "More like this");
  const element = h("li", { className: "event" }, open, similar);
  element.dataset.id = first.id;
  const show = (now) => {
    event = { ...event, ...now };
    if (event.snapshot && !shot.querySelector("img")) shot.replaceChildren(snapshot(event));
    else if (!event.snapshot) shot.replaceChildren(h("span", { className: "muted" }, "no picture kept"));
    const on = event.phase !== "end";
    element.classList.toggle("on", on);
    const score = event.match === undefined ? percent(event.peak) : `fits ${percent(event.match)}`;
    title.replaceChildren(h("strong", {}, event.trigger), h("span", { className: "number" }, score));
    words.textContent = event.caption ?? "";
    when.dateTime = new Date(event.began_ms).toISOString();
    when.title = moment(event.began_ms);
    const lasted = (event.at_ms - event.began_ms) / 1000;
    when.textContent = `${time(event.began_ms)} · ${event.camera} · ${on ? "now" : span(lasted)}`;
    similar.hidden = !event.snapshot;
  };
  show(first);
  return { element, show };
}

function snapshot(event, lazy = true) {
  const image = h("img", { alt: event.caption ?? `${event.trigger} on ${event.camera}`, decoding: "async", width: event.size[0], height: event.size[1] });
  if (lazy) image.loading = "lazy";
  let tries = 3;
  // The message may be here before the picture is written.
  image.addEventListener("error", () => {
    if (tries-- > 0) setTimeout(() => (image.src = `/api/events/${event.id}/snapshot.jpg?`), 700);
    else image.replaceWith(h("span", { className: "muted" }, "the picture is gone"));
  });
  image.src = `/api/events/${event.id}/snapshot.jpg`;
  return image;
}

function details(event) {
  const dialog = $("#event-dialog");
  const close = h("button", { type: "button", className: "primary", on: { click: () => dialog.close() } }, "Close");
  const facts = [
    ["Camera", event.camera], ["Began", moment(event.began_ms)],
    ["Lasted", event.phase === "end" ? span((event.at_ms - event.began_ms) / 1000) : "still going on"],
    ["Highest score", percent(event.peak)], ["Id", String(event.id)], ["Bundle", event.bundle],
  ];
  dialog.replaceChildren(
    h("h2", { id: "event-dialog-title" }, event.trigger),
    event.snapshot && h("div", { className: "picture" }, snapshot(event, false), h("div", { "aria-hidden": "true" }, boxes(event.boxes ?? [], event.size, ""))),
    event.caption ? h("p", { className: "answer" }, event.caption) : "",
    h("dl", { className: "facts" }, facts.map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    h("div", { className: "buttons" }, close),
  );
  dialog.showModal();
}

/** What the filters can be set to. */
export function status({ triggers, cameras }) {
  options($("#by-trigger"), "Every trigger", triggers.map(({ name }) => name));
  options($("#by-camera"), "Every camera", cameras.map(({ name }) => name));
  $("#by-camera-label").hidden = cameras.length < 2;
}

function options(select, every, names) {
  const wanted = ["", ...names];
  if ([...select.options].map(({ value }) => value).join("\n") === wanted.join("\n")) return;
  const chosen = select.value;
  select.replaceChildren(...wanted.map((name) => h("option", { value: name }, name || every)));
  select.value = wanted.includes(chosen) ? chosen : "";
}
