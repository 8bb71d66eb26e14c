// Starts the parts of the page and hands them what the stream says.

import { $, json, request } from "./common.js";
import * as live from "./live.js";
import * as ask from "./ask.js";
import * as events from "./events.js";
import * as triggers from "./triggers.js";
import * as health from "./health.js";

let stream = null;
let cut = false;
let armed = null;

function status(now) {
  document.title = `${now.device} · lookout`;
  $("#device").textContent = now.device;
  armed = now.armed;
  const box = $("#armed");
  box.disabled = false;
  if (!box.matches(":active")) box.checked = armed;
  const failing = now.cameras.find(({ state }) => state === "failing");
  const [mark, words] = now.stalled ? ["bad", now.stalled]
    : failing ? ["bad", `Camera ${failing.name} gives no pictures`]
      : now.cameras.length === 0 ? ["warn", "No camera is configured"]
        : !armed ? ["warn", "Not armed: watching, but no events"]
          : now.triggers.some(({ active }) => active) ? ["on", "Something is going on"]
            : ["good", "Watching"];
  $("#state").firstElementChild.className = `dot ${mark}`;
  if ($("#state").lastElementChild.textContent !== words) $("#state").lastElementChild.textContent = words;
  for (const part of [live, events, triggers, health]) part.status(now);
}

function lost(words) {
  $("#lost").hidden = !words;
  $("#lost").textContent = words;
}

function connect() {
  stream?.close();
  stream = null;
  if (document.hidden) return;
  stream = new EventSource("/api/stream");
  stream.addEventListener("open", () => {
    lost("");
    // What happened meanwhile is in the memory of events.
    if (cut) {
      live.forget();
      events.reload();
    }
    cut = false;
  });
  stream.addEventListener("status", ({ data }) => status(JSON.parse(data)));
  stream.addEventListener("event", ({ data }) => {
    const message = JSON.parse(data);
    live.event(message);
    events.event(message);
  });
  stream.addEventListener("missed", () => events.reload());
  stream.addEventListener("error", async () => {
    cut = true;
    $("#armed").disabled = true;
    lost("lookout cannot be reached. Trying again…");
    if (stream?.readyState !== EventSource.CLOSED) return;
    // Refused for good, as after a restart with another token or with too many pages open: ask why, then try again.
    await request("/api/status").catch(() => {});
    setTimeout(() => stream?.readyState === EventSource.CLOSED && connect(), 2_000);
  });
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) cut = true;
  connect();
});

$("#armed").addEventListener("change", async () => {
  try {
    await json("/api/arm", { method: "POST", body: { armed: $("#armed").checked } });
  } catch (problem) {
    $("#armed").checked = armed;
    lost(`${problem.message}. ${problem.help}`);
  }
});

$("#logout").hidden = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
}
live.begin();
ask.begin();
events.begin();
triggers.begin();
connect();
