// What all parts of the page use: elements, requests, numbers in words.

export const $ = (selector) => document.querySelector(selector);

/** An element. Text is text: nothing that comes from a camera or a model is ever read as HTML. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    else if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else element[name] = value;
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An answer of the API that is an error, in words. */
export class Problem extends Error {
  constructor(status, error) {
    super(error?.message ?? "lookout cannot be reached");
    Object.assign(this, { status, code: error?.code ?? "unreachable", help: error?.help ?? "is it still running?" });
  }
}

/** Asks the API; answers with the response, or throws a Problem. Whoever is not logged in is sent to the form. */
export async function request(path, { method = "GET", body, signal } = {}) {
  const headers = body === undefined ? {} : { "Content-Type": "application/json" };
  let response;
  try {
    response = await fetch(path, { method, headers, body: body === undefined ? undefined : JSON.stringify(body), signal });
  } catch (cause) {
    if (cause.name === "AbortError") throw cause;
    throw new Problem(0);
  }
  if (response.status === 401) location.assign("/login");
  if (!response.ok) throw new Problem(response.status, (await response.json().catch(() => ({}))).error);
  return response;
}

export const json = async (path, options) => (await request(path, options)).json();

export const percent = (score) => `${(score * 100).toFixed(score < 0.0995 ? 1 : 0)} %`;

export function bar(score, label) {
  const fill = h("span");
  fill.style.width = `${Math.max(0, Math.min(1, score)) * 100}%`;
  return h("span", { className: "bar", role: "img", "aria-label": label ?? percent(score) }, fill);
}

export function complaint(problem) {
  return h("p", { className: "error", role: "alert" }, h("strong", {}, problem.message), problem.help ? ` · ${problem.help}` : "");
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
export const time = (ms) => clock.format(ms);
export const moment = (ms) => `${date.format(ms)}, ${clock.format(ms)}`;

export function day(ms) {
  const midnight = new Date().setHours(0, 0, 0, 0);
  if (ms >= midnight) return "Today";
  return ms >= midnight - 86_400_000 ? "Yesterday" : date.format(ms);
}

/** `3 d 4 h`, `12 min`, `8 s`. */
export function span(seconds) {
  const s = Math.max(0, Math.round(seconds));
  if (s < 90) return `${s} s`;
  if (s < 5_400) return `${Math.round(s / 60)} min`;
  const hours = Math.floor(s / 3_600);
  if (hours < 48) return `${hours} h ${Math.round((s % 3_600) / 60)} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

export function bytes(count) {
  const units = ["bytes", "kB", "MB", "GB", "TB"];
  const step = count < 1000 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(count) / 3));
  return `${(count / 1000 ** step).toFixed(step && count / 1000 ** step < 10 ? 1 : 0)} ${units[step]}`;
}

/** Boxes in pixels of a picture of `size`, as elements placed in percent of it. */
export function boxes(list, size, words) {
  return list.map(({ box: [x, y, width, height], score }) => {
    const element = h("div", { className: "box" }, h("span", {}, `${words ? `${words} ` : ""}${percent(score)}`));
    const share = (part, whole) => `${(part / whole) * 100}%`;
    Object.assign(element.style, {
      left: share(x, size[0]), top: share(y, size[1]), width: share(width, size[0]), height: share(height, size[1]),
    });
    if (y < size[1] * 0.08) element.classList.add("low");
    return element;
  });
}
