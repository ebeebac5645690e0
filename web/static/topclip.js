// The page's own script: the job list, live progress, clips and why they were chosen.
"use strict";

const PAGE = 20; // jobs on a page of the list
const LIST_MS = 3000; // the list is read again so often; it also tells of jobs that others submit
const MAX_STREAMS = 2; // a browser holds six connections to a server; the other live jobs go by the list
const STATES = {
  QUEUED: "Waiting", RUNNING: "Working", SUCCEEDED: "Done", PARTIAL: "Partly done", FAILED: "Failed",
  CANCELLING: "Stopping", CANCELLED: "Cancelled", EXPIRED: "Expired",
};
const STAGES = {
  probe: "Reading the file", analyse: "Listening and looking", select: "Choosing moments",
  reframe: "Looking for the subject", render: "Cutting clips", finalise: "Finishing",
};
const SIGNALS = {
  loudness: "Loudness", surprise: "Surprise", speech: "Speech", crowd: "Crowd", onsets: "Onsets", motion: "Motion",
  cuts: "Cuts", novelty: "Novelty", words: "Words", questions: "Questions", keywords: "Keywords", audience: "Audience",
};
const MODES = {
  highlights: "The best moments", ranges: "The ranges asked for", shots: "Whole shots", silence: "What lies between silences",
  plan: "A plan, no clips",
};
const SCREENS = { "9:16": "is-tall", "1:1": "is-square", "4:5": "is-portrait" };
const LIVE = new Set(["QUEUED", "RUNNING", "CANCELLING"]);

const $ = (id) => document.getElementById(id);

/** Make an element: properties by name, `data` for its dataset, children as nodes or text. */
function make(tag, properties = {}, ...children) {
  const { data = {}, ...rest } = properties;
  const element = Object.assign(document.createElement(tag), rest);
  Object.assign(element.dataset, data);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Put the children in this order; one that is where it should be is not moved, so that a video in it plays on. */
function arrange(parent, children) {
  children.forEach((child, k) => { if (parent.children[k] !== child) parent.insertBefore(child, parent.children[k] ?? null); });
}

/** Read JSON; throws the problem of the answer, or one of our own where there is no answer. */
async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" }, ...options });
  } catch {
    throw { code: "UNREACHABLE", detail: "The server cannot be reached." };
  }
  if (response.status === 401) location.reload();
  const text = await response.text();
  let body = null;
  try { body = text ? JSON.parse(text) : null; } catch { /* told below */ }
  if (!response.ok) throw body ?? { code: "HTTP", detail: `The server answered ${response.status}.` };
  return body;
}

// --- words ------------------------------------------------------------------------------------------------------

function clock(seconds) {
  const s = Math.floor(seconds);
  const parts = [Math.floor(s / 60) % 60, s % 60].map((n) => String(n).padStart(2, "0"));
  return s >= 3600 ? `${Math.floor(s / 3600)}:${parts.join(":")}` : `${Number(parts[0])}:${parts[1]}`;
}

function length(seconds) {
  return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
}

function ago(time) {
  const words = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  const s = (Date.parse(time) - Date.now()) / 1000;
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(s) >= size) return words.format(Math.round(s / size), unit);
  }
  return "just now";
}

function size(bytes) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let n = bytes, k = 0;
  while (n >= 1000 && k < units.length - 1) { n /= 1000; k += 1; }
  return `${n.toFixed(n < 10 && k ? 1 : 0)} ${units[k]}`;
}

function left(seconds) {
  if (seconds < 60) return "less than a minute left";
  const minutes = Math.round(seconds / 60);
  return minutes < 60 ? `about ${minutes} min left` : `about ${(minutes / 60).toFixed(1)} h left`;
}

function stepWords(job) {
  if (job.state === "QUEUED") {
    return job.queue_position > 0 ? `${job.queue_position} ahead in the queue` : "Next in the queue";
  }
  if (job.state === "CANCELLING") return "Stopping what runs";
  return STAGES[job.stage] ?? "Starting";
}

function facts(job) {
  const o = job.options;
  const shape = o.aspect && o.aspect !== "source" ? o.aspect : null;
  const wanted = o.min_length && o.max_length ? `${o.min_length}–${o.max_length} s` : null;
  return [shape, o.mode === "ranges" ? null : wanted, ago(job.created_at)].filter(Boolean).join(" · ");
}

function say(text) { setText($("said"), text); }

// --- one job ----------------------------------------------------------------------------------------------------

class JobCard {
  constructor(job) {
    this.title = make("h3");
    this.facts = make("p", { className: "quiet" });
    this.state = make("span", { className: "state" });
    this.bar = make("progress", { max: 1, ariaLabel: "Progress of the job" });
    this.step = make("b");
    this.figures = make("span", { className: "figures" });
    this.making = make("ol", { className: "making" });
    this.pace = make("div", { className: "pace" }, this.bar,
      make("div", { className: "steps" }, make("span", {}, this.step), this.figures), this.making);
    this.fault = make("p", { className: "fault", hidden: true });
    this.heading = make("h4", { hidden: true });
    this.clips = make("ol", { className: "clips", hidden: true });
    this.why = make("div", { hidden: true });
    this.change = make("div", { hidden: true });
    this.actions = make("div", { className: "actions" });
    this.element = make("li", { className: "card job", data: { job: job.id } },
      make("div", { className: "job-top" }, make("div", { className: "job-title" }, this.title, this.facts), this.state),
      this.pace, this.fault, this.heading, this.clips, this.why, this.change, this.actions);
    this.show(job);
  }

  get isLive() { return LIVE.has(this.job.state); }

  /** Show a status, unless a newer one is shown already. */
  show(job) {
    const old = this.job;
    if (old && (job.epoch < old.epoch || (job.epoch === old.epoch && job.revision < old.revision))) return;
    this.job = job;
    setText(this.title, job.name);
    setText(this.facts, facts(job));
    setText(this.state, STATES[job.state] ?? job.state);
    this.state.className = `state state-${job.state}`;
    this.pace.hidden = !this.isLive;
    if (this.isLive) this.showPace(job);
    this.showFault(job.error);
    if (!old || old.state !== job.state) {
      this.showActions(job);
      this.change.hidden = !job.links.replan;
      this.change.replaceChildren(...(job.links.replan ? [replanForm(this)] : []));
      if (old && !this.isLive) say(`${job.name}: ${STATES[job.state]}`);
    }
    // The clips of an earlier attempt stay until the newer one has its own.
    const attempt = this.isLive ? "live" : job.epoch;
    if (job.links.manifest && (this.isLive ? !this.shown : this.shown !== attempt)) {
      this.showClips(job, attempt).catch((problem) => this.showFault(problem));
    }
  }

  showPace(job) {
    this.bar.hidden = job.state === "QUEUED";
    this.bar.value = job.progress;
    setText(this.step, stepWords(job));
    const figures = [job.state === "RUNNING" ? `${Math.floor(job.progress * 100)} %` : null,
      job.eta_s !== null && job.state === "RUNNING" ? left(job.eta_s) : null];
    setText(this.figures, figures.filter(Boolean).join(" · "));
    this.making.replaceChildren(...job.clips.map((clip) => make("li", {},
      make("span", {}, `Clip ${clip.n} `, make("span", { className: "quiet figures" }, clock(clip.start_s))),
      make("progress", { max: 1, value: clip.progress, ariaLabel: `Clip ${clip.n}` }),
      make("span", { className: "figures" }, clip.state === "SUCCEEDED" ? "done" : clip.state === "FAILED" ? "failed"
        : `${Math.floor(clip.progress * 100)} %`))));
  }

  showFault(problem) {
    this.fault.hidden = !problem;
    if (problem) this.fault.replaceChildren(...faultWords(problem));
  }

  showActions(job) {
    const buttons = [];
    if (job.links.clips_zip) {
      buttons.push(make("a", { className: "button plain small", href: job.links.clips_zip, download: "" }, "Download all"));
    }
    if (job.links.retry) buttons.push(this.retryButton(job));
    if (LIVE.has(job.state)) buttons.push(this.button("Cancel", "Cancel the job?", () => this.cancel(), job.state === "CANCELLING"));
    else buttons.push(this.button("Delete", "Delete it for good?", () => this.remove(), false));
    const day = new Date(job.expires_at).toLocaleDateString("en", { day: "numeric", month: "long" });
    buttons.push(make("span", { className: "quiet fine" }, `Kept until ${day}`));
    this.actions.replaceChildren(...buttons);
  }

  /** A button that asks once before it acts. */
  button(text, question, act, isDisabled) {
    const button = make("button", { type: "button", className: "plain small", disabled: isDisabled }, text);
    let timer = 0;
    const calm = () => { setText(button, text); button.classList.remove("danger"); timer = 0; };
    button.addEventListener("click", async () => {
      if (!timer) {
        setText(button, question);
        button.classList.add("danger");
        timer = setTimeout(calm, 4000);
        return;
      }
      clearTimeout(timer);
      calm();
      button.disabled = true;
      try { await act(); } catch (problem) { this.showFault(problem); button.disabled = false; }
    });
    return button;
  }

  /** Nothing is lost by it, so it does not ask. */
  retryButton(job) {
    const text = job.state === "PARTIAL" ? "Retry missing clips" : "Retry";
    const button = make("button", { type: "button", className: "plain small", ariaLabel: `${text}: ${job.name}` }, text);
    button.addEventListener("click", async () => {
      button.disabled = true;
      try { await this.retry(); } catch (problem) { this.showFault(problem); button.disabled = false; }
    });
    return button;
  }

  async retry() { this.begun(await call(`/api/jobs/${this.job.id}/retry`, { method: "POST" })); }

  /** The job was started again. */
  begun(job) {
    this.show(job);
    say(`${job.name} was started again`);
    list.follow();
  }

  async cancel() { this.show(await call(`/api/jobs/${this.job.id}/cancel`, { method: "POST" })); }

  async remove() {
    await call(`/api/jobs/${this.job.id}`, { method: "DELETE" });
    list.drop(this.job.id);
    say(`${this.job.name} was deleted`);
  }

  async showClips(job, attempt) {
    this.shown = attempt;
    this.showActions(job);
    let manifest, plan;
    try {
      manifest = await call(job.links.manifest);
      plan = await call(`/api/jobs/${job.id}/${manifest.plan}`); // the one that these clips are of
    } catch (problem) {
      this.shown = undefined;
      throw problem;
    }
    const why = new Map((plan?.highlights ?? []).map((h) => [h.n, h]));
    setText(this.heading, MODES[job.options.mode] ?? "Clips");
    this.heading.hidden = false;
    this.clips.className = `clips ${SCREENS[job.options.aspect] ?? ""}`;
    const items = [...manifest.clips.map((clip) => this.item(clip, why.get(clip.n), manifest.source)),
      ...manifest.failed.map(failedItem)];
    for (const item of [...this.clips.children]) if (!items.includes(item)) item.remove();
    arrange(this.clips, items);
    this.clips.hidden = false;
    this.clips.dataset.epoch = this.isLive ? "" : job.epoch;
    this.why.hidden = !job.links.plan_svg;
    this.why.replaceChildren(drawing(job));
  }

  /** A clip that is still the same keeps its element: what plays goes on, and what was typed into its form stays. */
  item(clip, highlight, source) {
    const key = JSON.stringify([clip, highlight]);
    const shown = [...this.clips.children].find((element) => element.key === key);
    return shown ?? Object.assign(clipItem(this, clip, highlight, source), { key });
  }
}

function faultWords(problem) {
  const hint = problem.hint ? make("span", { className: "hint" }, problem.hint) : null;
  return [problem.detail ?? problem.message ?? "It failed.", hint].filter(Boolean);
}

// --- all jobs ---------------------------------------------------------------------------------------------------

const list = {
  cards: new Map(),
  streams: new Map(),
  pages: 1,

  /** Read the list again, and go on doing so. */
  async refresh() {
    clearTimeout(this.timer);
    try {
      this.showAll(await this.read());
    } catch (problem) {
      banner(problem.code === "UNREACHABLE" ? "The server cannot be reached. Trying again." : problem.detail);
    }
    this.timer = setTimeout(() => this.refresh(), document.hidden ? LIST_MS * 5 : LIST_MS);
  },

  async read() {
    const page = await call(`/api/jobs?limit=${PAGE}`);
    for (let n = 1; n < this.pages && page.next_cursor; n += 1) {
      const next = await call(`/api/jobs?limit=${PAGE}&cursor=${encodeURIComponent(page.next_cursor)}`);
      page.jobs.push(...next.jobs);
      page.next_cursor = next.next_cursor;
    }
    return page;
  },

  showAll(page) {
    banner(page.stale ? "Redis is away: this is the last known state. It will catch up by itself." : "");
    const ids = new Set(page.jobs.map((job) => job.id));
    if (!page.stale) for (const id of [...this.cards.keys()]) if (!ids.has(id)) this.drop(id);
    for (const job of page.jobs) this.show(job);
    arrange($("jobs"), page.jobs.map((job) => this.cards.get(job.id).element));
    $("empty").hidden = this.cards.size > 0;
    setText($("jobs-count"), page.total ? String(page.total) : "");
    $("more").hidden = !page.next_cursor;
    this.follow();
  },

  show(job) {
    const card = this.cards.get(job.id);
    if (card) card.show(job);
    else this.cards.set(job.id, new JobCard(job));
  },

  drop(id) {
    this.streams.get(id)?.close();
    this.streams.delete(id);
    this.cards.get(id)?.element.remove();
    this.cards.delete(id);
    $("empty").hidden = this.cards.size > 0;
  },

  /** Live events for the newest jobs that run; without them the list alone keeps up. */
  follow() {
    for (const [id, card] of this.cards) {
      if (this.streams.size >= MAX_STREAMS) return;
      if (!card.isLive || this.streams.has(id)) continue;
      const stream = new EventSource(`/api/jobs/${id}/events`);
      const end = () => { stream.close(); this.streams.delete(id); };
      stream.addEventListener("status", (event) => {
        const job = JSON.parse(event.data);
        if (job.stale) banner("Redis is away: this is the last known state. It will catch up by itself.");
        card.show(job);
        if (!card.isLive && !job.stale) end();
      });
      stream.addEventListener("gone", () => { end(); this.refresh(); });
      stream.addEventListener("error", () => { if (stream.readyState === EventSource.CLOSED) end(); });
      this.streams.set(id, stream);
    }
  },
};

function banner(text) {
  $("banner").hidden = !text;
  setText($("banner"), text);
}
