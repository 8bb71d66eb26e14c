// The form of a trigger, in a dialog.

import { $, h, json, request, complaint } from "./common.js";

const dialog = $("#trigger-dialog");

/** Shows the form; `changed` is called after something was saved or removed. A trigger without a name is a new one. */
export function edit(trigger, known, changed) {
  const isNew = trigger.name === "";
  const fields = {};
  const said = h("div");
  const form = h("form", { className: "fields", noValidate: true, on: { submit: (event) => (event.preventDefault(), save()) } });

  const text = (key, label, hint, more = {}) => {
    const id = `f-${key}`;
    fields[key] = h("input", { type: "text", id, value: trigger[key] ?? "", autocomplete: "off", ...more });
    if (hint) fields[key].setAttribute("aria-describedby", `${id}-hint`);
    return h("div", { className: "field" }, h("label", { for: id }, label), fields[key], hint ? h("p", { className: "hint", id: `${id}-hint` }, hint) : "");
  };
  const tick = (key, label, fallback = true) => {
    fields[key] = h("input", { type: "checkbox", id: `f-${key}`, checked: trigger[key] ?? fallback });
    return h("label", { className: "tick", for: `f-${key}` }, fields[key], h("span", {}, label));
  };
  const cameras = known.cameras.length < 2 ? [] : known.cameras.map((name) => {
    const box = h("input", { type: "checkbox", checked: !trigger.cameras?.length || trigger.cameras.includes(name) });
    return { name, box, label: h("label", { className: "tick" }, box, h("span", {}, name)) };
  });
  const fixed = [["like", trigger.like], ["gpio", trigger.gpio], ["command", trigger.command?.join(" ")]].filter(([, value]) => value);

  form.append(
    isNew ? text("name", "Name", "Letters, digits, - and _", { required: true, maxLength: 48 }) : "",
    trigger.like ? "" : text("when", "When there is", "In words, as you would say what is to be seen: a person at the door"),
    trigger.like ? "" : text("unless", "Rather than", "What could be taken for it, with commas between: a coat on a hook, a shadow", { value: (trigger.unless ?? []).join(", ") }),
    h("div", { className: "pair" },
      text("threshold", "Begins at score", "0 to 1", { type: "number", min: 0.01, max: 1, step: 0.01, value: trigger.threshold }),
      text("release", "Ends below score", "Four fifths of it if empty", { type: "number", min: 0, max: 1, step: 0.01 })),
    h("div", { className: "pair" },
      text("hold", "Must hold for", "As 500ms, 2s, 1m", { placeholder: "0s" }),
      text("linger", "Ends after", "This long below the score", { placeholder: "2s" }),
      text("cooldown", "Then rests for", "No event meanwhile", { placeholder: "0s" })),
    h("div", { className: "pair" },
      text("zone", "Zone", "A zone of the camera; the whole picture if empty"),
      text("hours", "Hours", "As 08:00-18:30 or 22:00-06:00", { placeholder: "all day" })),
    text("ground", "Draw boxes around", "A phrase; none if empty"),
    cameras.length ? h("fieldset", { className: "ticks" }, h("legend", {}, "Cameras"), cameras.map(({ label }) => label)) : "",
    h("fieldset", { className: "ticks" }, h("legend", {}, "An event"),
      tick("caption", "has a caption"), tick("snapshot", "keeps its picture"), tick("mqtt", "goes out by MQTT"), tick("serial", "goes out by serial line")),
    tick("enabled", "May begin events"),
    fixed.length ? h("p", { className: "hint" }, `Set in the configuration file: ${fixed.map(([key, value]) => `${key} = ${value}`).join(", ")}`) : "",
    said,
    h("div", { className: "buttons" },
      isNew ? "" : remover(),
      h("span", { className: "grow" }),
      h("button", { type: "button", className: "quiet", on: { click: () => dialog.close() } }, "Cancel"),
      h("button", { type: "submit", className: "primary", id: "f-save" }, "Save")),
  );
  dialog.replaceChildren(h("h2", { id: "trigger-dialog-title" }, isNew ? "New trigger" : `Trigger ${trigger.name}`), form);
  dialog.showModal();

  function read() {
    const wanted = { ...trigger };
    const set = (key, value) => (value === undefined || value === "" ? delete wanted[key] : (wanted[key] = value));
    const trimmed = (key) => fields[key]?.value.trim();
    const number = (key) => (trimmed(key) === "" ? undefined : Number(trimmed(key)));
    for (const key of ["when", "hold", "linger", "cooldown", "zone", "hours", "ground"]) if (fields[key]) set(key, trimmed(key));
    for (const key of ["caption", "snapshot", "mqtt", "serial", "enabled"]) wanted[key] = fields[key].checked;
    if (isNew) wanted.name = trimmed("name");
    if (fields.unless) wanted.unless = fields.unless.value.split(",").map((part) => part.trim()).filter(Boolean);
    wanted.threshold = number("threshold") ?? 0.5;
    set("release", number("release"));
    const chosen = cameras.filter(({ box }) => box.checked).map(({ name }) => name);
    if (cameras.length) wanted.cameras = chosen.length === cameras.length ? [] : chosen;
    return wanted;
  }

  async function save() {
    const wanted = read();
    try {
      if (isNew && !/^[A-Za-z0-9_-]{1,48}$/.test(wanted.name)) {
        fields.name.focus();
        throw { message: "The name will not do", help: "use 1 to 48 letters, digits, - and _" };
      }
      await json(`/api/triggers/${encodeURIComponent(wanted.name)}`, { method: "PUT", body: wanted });
      dialog.close();
      changed();
    } catch (problem) {
      said.replaceChildren(complaint(problem));
    }
  }

  /** Asks once more before it removes. */
  function remover() {
    let sure = false;
    const button = h("button", { type: "button", className: "quiet bad", on: { click: async () => {
      if (!sure) {
        sure = true;
        button.textContent = "Really delete?";
        return;
      }
      try {
        await request(`/api/triggers/${encodeURIComponent(trigger.name)}`, { method: "DELETE" });
        dialog.close();
        changed();
      } catch (problem) {
        said.replaceChildren(complaint(problem));
      }
    } } }, "Delete");
    return button;
  }
}
