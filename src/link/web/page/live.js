// The live picture: the newest frame again and again, what is known about it drawn over it.

import { $, h, request, percent, boxes, time } from "./common.js";

const FASTEST_MS = 150;
const SLOWEST_MS = 2_000;

const picture = $("#picture");
const stage = $("#stage");
let camera = null;
let cameras = [];
let paused = false;
let running = null;
let shownUrl = null;
let shownAt = 0;
let size = [4, 3];
const events = new Map();
let grounded = null;
let caption = null;

/** The camera whose picture is shown; null before any is known. */
export const current = () => camera;

export function begin() {
  $("#pause").addEventListener("click", () => {
    paused = !paused;
    $("#pause").setAttribute("aria-pressed", paused);
    $("#pause").textContent = paused ? "Go on" : "Pause";
    restart();
  });
  document.addEventListener("visibilitychange", restart);
  restart();
}

function restart() {
  running?.abort();
  running = null;
  if (paused || document.hidden) return;
  running = new AbortController();
  poll(running.signal);
}

async function poll(signal) {
  let seen = null;
  while (!signal.aborted) {
    const began = performance.now();
    try {
      const path = camera === null ? "/api/frame.jpg" : `/api/frame.jpg?camera=${encodeURIComponent(camera)}`;
      const response = await request(path, { signal });
      const sequence = response.headers.get("x-frame-ms") + response.headers.get("x-frame-sequence");
      const blob = await response.blob();
      if (signal.aborted) return;
      if (sequence !== seen) {
        await show(blob, Number(response.headers.get("x-frame-ms")));
        seen = sequence;
      }
      blank();
    } catch (problem) {
      if (signal.aborted) return;
      blank(problem);
      await wait(1_000, signal);
    }
    const fps = cameras.find(({ name }) => name === camera)?.fps || 5;
    const pace = Math.max(FASTEST_MS, Math.min(SLOWEST_MS, 1_000 / fps));
    await wait(pace - (performance.now() - began), signal);
  }
}

const wait = (ms, signal) => new Promise((done) => {
  const timer = setTimeout(done, Math.max(0, ms));
  signal.addEventListener("abort", () => (clearTimeout(timer), done()), { once: true });
});

async function show(blob, at) {
  const url = URL.createObjectURL(blob);
  const old = shownUrl;
  picture.src = url;
  shownUrl = url;
  await picture.decode();
  if (old) URL.revokeObjectURL(old);
  picture.hidden = false;
  picture.alt = camera ? `Live picture of camera ${camera}` : "Live picture";
  shownAt = at;
  if (picture.naturalWidth !== size[0] || picture.naturalHeight !== size[1]) {
    size = [picture.naturalWidth, picture.naturalHeight];
    stage.style.aspectRatio = `${size[0]} / ${size[1]}`;
    draw();
  }
}

/** Says why there is no picture; without a problem there is one. */
function blank(problem) {
  const status = cameras.find(({ name }) => name === camera) ?? cameras[0];
  const trouble = status?.state === "failing" ? status.error ?? "it gives no frames" : null;
  const blank = $("#blank");
  blank.hidden = !problem && !trouble;
  stage.classList.toggle("dim", !blank.hidden && !picture.hidden);
  if (blank.hidden) return;
  const reopened = status?.reopened ? `Opened again ${status.reopened} ${status.reopened === 1 ? "time" : "times"} so far. ` : "";
  const opening = status?.state === "opening" && !trouble;
  const title = opening ? `Camera ${status.name} is being opened` : `No picture${status ? ` from camera ${status.name}` : ""}`;
  const cause = trouble ?? problem?.message ?? "";
  blank.replaceChildren(
    h("p", {}, h("strong", {}, title)),
    opening ? "" : h("p", {}, cause),
    h("p", { className: "small" }, reopened, !picture.hidden && shownAt ? `The last one is of ${time(shownAt)}.` : trouble ? "" : problem?.help ?? ""),
  );
}

export function status({ cameras: now }) {
  cameras = now;
  if (now.length && !now.some(({ name }) => name === camera)) choose(now[0].name);
  const tabs = $("#cameras");
  tabs.hidden = now.length < 2;
  if (tabs.childElementCount !== now.length) {
    tabs.replaceChildren(...now.map(({ name }) => h("button", { type: "button", on: { click: () => choose(name) } }, name)));
  }
  [...tabs.children].forEach((tab, at) => {
    tab.setAttribute("aria-pressed", now[at].name === camera);
    tab.classList.toggle("bad", now[at].state === "failing");
  });
  const shown = now.find(({ name }) => name === camera);
  if (shown?.state === "failing") blank();
  const rate = $("#rate");
  rate.hidden = !shown || shown.state !== "running";
  if (!rate.hidden) rate.textContent = `${shown.fps.toFixed(1)} frames/s`;
}

function choose(name) {
  camera = name;
  grounded = caption = null;
  picture.hidden = true;
  draw();
  [...$("#cameras").children].forEach((tab) => tab.setAttribute("aria-pressed", tab.textContent === name));
  restart();
}

/** A message about an event: drawn as long as it lasts. */
export function event(message) {
  if (message.phase === "end") events.delete(message.id);
  else events.set(message.id, message);
  if (message.caption && message.camera === camera) caption = { words: message.caption, at: message.at_ms };
  draw();
}

/** After the stream was cut, what was under way then is not known any more. */
export function forget() {
  events.clear();
  draw();
}

/** An answer about the picture: boxes and captions are drawn. */
export function answer(reply, words) {
  if (reply.camera && reply.camera !== camera) return;
  if (reply.boxes) grounded = { boxes: reply.boxes, words };
  if (reply.caption) caption = { words: reply.caption, at: reply.at_ms, score: reply.score };
  draw();
}

function draw() {
  const here = [...events.values()].filter((event) => event.camera === camera);
  $("#boxes").replaceChildren(
    ...here.flatMap((event) => boxes(event.boxes ?? [], event.size, event.trigger)),
    ...(grounded ? boxes(grounded.boxes, size, grounded.words) : []),
  );
  $("#active").replaceChildren(...here.map((event) => h("span", { className: "chip on" }, `${event.trigger} ${percent(event.score)}`)));
  $("#caption").hidden = !caption;
  if (caption) {
    const score = caption.score === undefined ? "" : ` · ${percent(caption.score)}`;
    $("#caption").replaceChildren(caption.words, h("span", { className: "small" }, `${caption.at ? time(caption.at) : ""}${score}`));
  }
}
