// What can be changed of a job that has ended: its options (replan), one clip's range (recut); and the drawing that says why.
"use strict";

const MODES_OF_COUNT = new Set(["highlights", "plan", "shots", "silence"]);
const SHAPES = { source: "As it is", "9:16": "Vertical", "4:5": "Portrait", "1:1": "Square", "16:9": "Wide" };

function numberField(text, name, value, limits) {
  return make("label", { className: "field" }, text,
    make("input", { type: "number", name, value, step: "any", inputMode: "decimal", required: true, ...limits }));
}

/** A form that is folded away, sends once at a time and tells what the server says of it. `asked(elements)`: the body. */
function folded(text, label, fields, button, send) {
  const fault = make("p", { className: "fault", role: "alert", hidden: true });
  const go = make("button", { className: "plain small", ariaLabel: label }, button);
  const form = make("form", { noValidate: true }, ...fields, fault, go);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const tell = (problem) => { fault.hidden = !problem; if (problem) fault.replaceChildren(...faultWords(problem)); };
    const wrong = [...form.elements].find((field) => field.validationMessage);
    if (wrong) { tell({ detail: wrong.validationMessage }); wrong.focus(); return; }
    tell(null);
    go.disabled = true;
    try { await send(form.elements); } catch (problem) { tell(problem); }
    go.disabled = false;
  });
  return make("details", { className: "change" }, make("summary", {}, text), form);
}

function sent(method, body) {
  return { method, body: JSON.stringify(body), headers: { Accept: "application/json", "Content-Type": "application/json" } };
}

/** Other options: only those that differ are sent. */
function replanForm(card) {
  const { options: o, id, name } = card.job;
  const shape = make("select", { name: "aspect" }, ...Object.entries(SHAPES).map(([value, text]) =>
    make("option", { value, selected: value === o.aspect }, text)));
  const fields = [make("div", { className: "row" },
    numberField("Clips", "count", o.count, { min: 1, max: 50, step: 1 }),
    numberField("Shortest, s", "min_length", o.min_length, { min: 1, max: 600 }),
    numberField("Longest, s", "max_length", o.max_length, { min: 1, max: 3600 })),
  make("label", { className: "field" }, "Shape", shape),
  make("div", { className: "row" }, likeForm("captions", "Captions", o.captions), likeForm("caption_style", "Their look", o.caption_style))];
  if (!MODES_OF_COUNT.has(o.mode)) fields.shift();
  fields.push(make("fieldset", { className: "weights" }, make("legend", {}, "What counts"),
    ...Object.entries(o.weights).map(([signal, weight]) => weightField(signal, weight))));
  return folded("Other clips", `Plan again: ${name}`, fields, "Plan again", async (elements) => {
    const asked = {}, weights = {};
    for (const field of elements) {
      if (!field.name || field.value === field.dataset.was) continue;
      if (field.dataset.weight) weights[field.dataset.weight] = Number(field.value);
      else asked[field.name] = field.type === "number" ? Number(field.value) : field.value;
    }
    for (const key of Object.keys(asked)) if (asked[key] === o[key]) delete asked[key];
    if (Object.keys(weights).length) asked.weights = weights;
    if (!Object.keys(asked).length) throw { detail: "Change something first." };
    card.begun(await call(`/api/jobs/${id}/replan`, sent("POST", asked)));
  });
}

/** A choice as the form above offers it. */
function likeForm(name, text, value) {
  const field = make("select", { name }, ...[...$(name).options].map((one) =>
    make("option", { value: one.value, selected: one.value === value }, one.textContent)));
  return make("label", { className: "field" }, text, field);
}

function weightField(signal, weight) {
  const shown = make("output", { className: "figures quiet" }, weight.toFixed(1));
  const slider = make("input", { type: "range", name: `weight-${signal}`, min: 0, max: Math.max(3, weight), step: 0.1, value: weight });
  slider.dataset.weight = signal;
  slider.dataset.was = slider.value;
  slider.addEventListener("input", () => setText(shown, Number(slider.value).toFixed(1)));
  return make("label", {}, SIGNALS[signal] ?? signal, shown, slider);
}

/** Another range for one clip, and where it is cut out of the picture. */
function recutForm(card, clip, framing, share) {
  const { id, name } = card.job;
  const fields = [make("div", { className: "row" },
    numberField("From, s", "start_s", clip.start_s, { min: 0 }), numberField("To, s", "end_s", clip.end_s, { min: 0 })),
  ...framingFields(framing, share)];
  return folded("Trim or widen", `Cut clip ${clip.n} of ${name} again`, fields, "Cut again", async (elements) => {
    const range = { start_s: Number(elements.start_s.value), end_s: Number(elements.end_s.value) };
    const isSame = range.start_s === clip.start_s && range.end_s === clip.end_s;
    const asked = { ...(isSame ? {} : range), ...askedFraming(elements, share, range.start_s) };
    if (!Object.keys(asked).length) throw { detail: "Change something first." };
    card.begun(await call(`/api/jobs/${id}/clips/${clip.n}`, sent("PATCH", asked)));
  });
}

/** The plan over time, fetched when it is looked at, and its exports. */
function drawing(job) {
  const picture = make("img", { alt: `Signals, shots, highlights and near-misses of ${job.name} over time`, loading: "lazy" });
  const links = Object.entries(job.links.exports ?? {}).flatMap(([kind, href]) =>
    [make("a", { href, download: "", ariaLabel: `Export ${job.name} as ${kind}` }, kind), " "]);
  const sheet = make("details", { className: "drawing" }, make("summary", {}, job.options.mode === "highlights" ? "Why these moments" : "What was measured"),
    make("div", { className: "sheet", tabIndex: 0 }, picture), make("p", { className: "quiet fine" }, "Export: ", ...links));
  sheet.addEventListener("toggle", () => { if (sheet.open && !picture.src) picture.src = `${job.links.plan_svg}?epoch=${job.epoch}`; });
  return sheet;
}
