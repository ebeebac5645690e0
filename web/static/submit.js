// The form that submits a job: what is asked for, what is wrong with it before it is sent, and the upload.
"use strict";

const ATTACHED = ["subtitles", "audience"]; // files that may come with a video
const OF_ALL = { count: 50, min_length: 1, max_length: 3600 }; // what modes of whole pieces begin with

const form = $("form");
let upload = null;
let key = null; // of the submission: sent again after a fault it becomes no second job

/** A random key; `randomUUID` is there on secure pages alone. */
function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((n) => n.toString(16).padStart(2, "0")).join("");
}

function fail(problem) {
  $("fault").hidden = false;
  $("fault").replaceChildren(...faultWords(problem));
  const field = form.elements[problem.field];
  if (field instanceof HTMLElement) {
    field.closest("details")?.setAttribute("open", "");
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }
}

function calm() {
  $("fault").hidden = true;
  for (const field of form.querySelectorAll("[aria-invalid]")) field.removeAttribute("aria-invalid");
}

function options() {
  const number = (name) => Number(form.elements[name].value);
  const o = {
    mode: form.elements.mode.value, aspect: form.elements.aspect.value, fit: form.elements.fit.value,
    captions: form.elements.captions.value, caption_style: form.elements.caption_style.value,
  };
  if (form.elements.callback_url.value) o.callback_url = form.elements.callback_url.value;
  if (o.mode === "ranges") return { ...o, ranges: rangesOf(form.elements.ranges.value) };
  return { ...o, count: number("count"), min_length: number("min_length"), max_length: number("max_length") };
}

/** Ranges as people write them, such as `1:00-1:30, 95-120`; null for what is none. */
function rangesOf(text) {
  return text.split(/[,;\n]+/).filter((part) => part.trim()).map((part) => {
    const times = part.split(/[-–]/).map((time) => time.trim().match(/^(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)$/));
    if (times.length !== 2 || times.some((time) => !time)) return null;
    return times.map(([, h, m, s]) => Number(h ?? 0) * 3600 + Number(m ?? 0) * 60 + Number(s));
  });
}

/** What is wrong before anything is sent; the server checks all of it again. */
function faultOf(file, link, o) {
  if (!file && !link) return { detail: "Choose a video first, or give a link to one.", field: "file" };
  if (file && link) return { detail: "Choose a video or give a link, not both.", field: "source" };
  return (file ? faultOfFile(file) : faultOfLink()) ?? faultOfOptions(o);
}

function faultOfFile(file) {
  const limit = Number(form.dataset.maxMb) * 2 ** 20;
  return file.size > limit ? { detail: `The file has ${size(file.size)}; ${size(limit)} is the limit.`, field: "file" } : null;
}

function faultOfLink() {
  const attached = ATTACHED.find((name) => form.elements[name].files[0]);
  return attached ? { detail: "Files of subtitles and audience come with a video that is uploaded.", field: attached } : null;
}

function faultOfOptions(o) {
  if (o.ranges && !(o.ranges.length && o.ranges.every(Boolean))) {
    return { detail: "Give ranges such as 1:00-1:30, 2:05-2:40.", field: "ranges" };
  }
  for (const name of ["source", "callback_url", ...(o.ranges ? [] : ["count", "min_length", "max_length"])]) {
    const field = form.elements[name];
    if (!field.checkValidity()) return { detail: field.validationMessage, field: name };
  }
  if (o.max_length < o.min_length) return { detail: "The longest clip is shorter than the shortest.", field: "max_length" };
  return null;
}

/** What is sent: a form with the video, or where it is a link alone, JSON. */
function bodyOf(file, link, o) {
  if (!file) return JSON.stringify({ source: link, options: o });
  const data = new FormData();
  data.append("options", JSON.stringify(o)); // first, so that the server checks it before it takes the file
  for (const name of ATTACHED) {
    const attached = form.elements[name].files[0];
    if (attached) data.append(name, attached);
  }
  data.append("file", file);
  return data;
}

function send(body) {
  upload = new XMLHttpRequest();
  upload.open("POST", "/api/jobs");
  if (typeof body === "string") upload.setRequestHeader("Content-Type", "application/json");
  upload.setRequestHeader("Idempotency-Key", (key ??= newKey()));
  upload.responseType = "json";
  upload.upload.addEventListener("progress", (event) => {
    $("upload-bar").value = event.loaded / event.total;
    setText($("upload-text"), `${size(event.loaded)} of ${size(event.total)}`);
  });
  upload.upload.addEventListener("load", () => setText($("upload-text"), "Looking at the file"));
  upload.addEventListener("load", () => {
    if (upload.status === 401) location.reload();
    if (upload.status === 202) { key = null; forget(); say("The job was submitted"); list.refresh(); }
    else fail(upload.response ?? { detail: `The server answered ${upload.status}.` });
  });
  upload.addEventListener("error", () => fail({ detail: "The upload broke off.", hint: "Is the server running?" }));
  upload.addEventListener("loadend", () => { $("upload").hidden = true; $("go").disabled = false; upload = null; });
  upload.send(body);
}

function forget() {
  form.elements.file.value = form.elements.source.value = "";
  for (const name of ATTACHED) form.elements[name].value = "";
  showFile();
}

function showFile() {
  const file = form.elements.file.files[0];
  $("drop").classList.toggle("is-full", Boolean(file));
  setText($("file-name"), file ? file.name : "Drop a video here");
  setText($("file-note"), file ? size(file.size) : "or choose a file");
}

/** Fields that the mode has a use for, with what it begins with. */
function showMode() {
  const mode = form.elements.mode.value;
  $("lengths").hidden = mode === "ranges";
  $("ranges-field").hidden = mode !== "ranges";
  for (const [name, all] of Object.entries(OF_ALL)) {
    const field = form.elements[name];
    field.value = mode === "shots" || mode === "silence" ? all : field.defaultValue;
  }
}

function showFit() {
  $("fit-field").hidden = form.elements.aspect.value === "source";
  $("caption-style-field").hidden = form.elements.captions.value !== "burn";
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  calm();
  const file = form.elements.file.files[0];
  const link = form.elements.source.value.trim();
  const o = options();
  const fault = faultOf(file, link, o);
  if (fault) return fail(fault);
  $("go").disabled = true;
  $("upload-bar").value = 0;
  $("upload").hidden = false;
  send(bodyOf(file, link, o));
});
// As it is typed: a fault that went only when the field is left would move the button from under the pointer.
form.addEventListener("input", () => { key = null; calm(); showFile(); showFit(); });
form.elements.mode.addEventListener("change", showMode);
$("upload-stop").addEventListener("click", () => upload?.abort());
$("more").addEventListener("click", () => { list.pages += 1; list.refresh(); });
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, (event) => { event.preventDefault(); $("drop").classList.add("is-over"); });
}
for (const kind of ["dragleave", "drop"]) {
  $("drop").addEventListener(kind, () => $("drop").classList.remove("is-over"));
}
$("drop").addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) form.elements.file.files = event.dataTransfer.files;
  key = null;
  calm();
  showFile();
});
document.addEventListener("visibilitychange", () => { if (!document.hidden) list.refresh(); });

showFile();
showFit();
list.refresh();
