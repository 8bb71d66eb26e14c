// Questions about the live picture, and their answers.

import { $, h, json, percent, bar, complaint, time } from "./common.js";
import * as live from "./live.js";

const AGAIN_MS = 2_000;
const KEPT = 12;

const KINDS = {
  ask: { label: "Question", like: "what colour is the bicycle?", field: "question", button: "Ask" },
  caption: { label: "", like: "", field: null, button: "Caption" },
  label: { label: "Labels, with commas between them", like: "a dog, a cat, an empty room", field: "labels", button: "Label" },
  ground: { label: "What to draw boxes around", like: "the red bicycle", field: "phrase", button: "Ground" },
  check: { label: "A sentence that may hold", like: "a dog sits next to a bicycle", field: "sentence", button: "Check" },
};

const words = $("#words");
const written = {};
let task = "ask";
let timer = null;

export function begin() {
  for (const radio of document.querySelectorAll("[name=task]")) {
    radio.addEventListener("change", () => choose(radio.value));
  }
  $("#ask").addEventListener("submit", (event) => (event.preventDefault(), send(false)));
  $("#again").addEventListener("change", () => {
    clearTimeout(timer);
    if ($("#again").checked) send(true);
  });
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && $("#again").checked) send(true);
  });
  choose("ask");
}

function choose(kind) {
  written[task] = words.value;
  task = kind;
  const { label, like, field, button } = KINDS[kind];
  words.value = written[kind] ?? "";
  words.placeholder = like;
  words.closest("label").hidden = field === null;
  $("#words-label").textContent = label;
  $("#send").textContent = button;
}

async function send(repeated) {
  clearTimeout(timer);
  const { field, like } = KINDS[task];
  const text = words.value.trim() || like;
  const question = { task, ...(field && { [field]: text }), ...(live.current() && { camera: live.current() }) };
  $("#send").disabled = !repeated;
  const asked = field ? text : "Caption";
  try {
    const reply = await json("/api/ask", { method: "POST", body: question });
    live.answer(reply, field === "phrase" ? text : "");
    put(answer(reply, asked), repeated);
  } catch (problem) {
    put(h("li", {}, h("p", { className: "asked" }, asked), complaint(problem)), repeated);
  }
  $("#send").disabled = false;
  if ($("#again").checked && !document.hidden) timer = setTimeout(() => send(true), AGAIN_MS);
}

/** A repeated question replaces its last answer. */
function put(item, repeated) {
  const list = $("#answers");
  item.dataset.asked = item.querySelector(".asked").textContent;
  if (repeated && list.firstElementChild?.dataset.asked === item.dataset.asked) list.firstElementChild.remove();
  list.prepend(item);
  while (list.childElementCount > KEPT) list.lastElementChild.remove();
}

function answer(reply, asked) {
  const about = `${reply.camera ?? ""} ${reply.at_ms ? time(reply.at_ms) : ""} · ${reply.ms.toFixed(0)} ms`;
  return h("li", {},
    h("p", { className: "asked" }, asked),
    ...told(reply),
    h("p", { className: "muted small" }, about),
  );
}

function told(reply) {
  switch (reply.task) {
    case "label": {
      const rows = [...reply.labels, { label: "none of these", score: reply.none }];
      return [h("dl", { className: "scores" }, rows.map(({ label, score }) => [
        h("dt", {}, label), h("dd", {}, bar(score), h("span", { className: "number" }, percent(score))),
      ]))];
    }
    case "ground":
      return reply.boxes.length
        ? [h("p", { className: "answer" }, `${reply.boxes.length} ${reply.boxes.length === 1 ? "box" : "boxes"}, drawn into the picture: `,
          reply.boxes.map(({ score }) => percent(score)).join(", "))]
        : [h("p", { className: "answer" }, "Nothing that fits is to be seen.")];
    case "check":
      return [h("p", { className: "answer" }, reply.supported ? "Yes, the picture supports it" : "No, the picture does not support it", score(reply))];
    default:
      return [h("p", { className: "answer" }, reply.answer ?? reply.caption, score(reply))];
  }
}

const score = (reply) => h("span", { className: "number" }, percent(reply.score));
