// The clips of a job: each with its picture, why it was chosen, and what can be changed of it; or why it could not be made.
"use strict";

const ORIGINS = { subtitles: "Captions (the file)", embedded: "Captions (a track of the source)", transcriber: "Captions (recognised)" };

function clipItem(card, clip, highlight, source) {
  const job = card.job;
  const base = `/api/jobs/${job.id}/clips/${clip.n}`;
  const video = make("video", {
    controls: true, preload: "none", playsInline: true, // by the names of the manifest: clip 2 may be another one later
    src: `/api/jobs/${job.id}/${clip.file}`, poster: `/api/jobs/${job.id}/${clip.thumbnail}`,
    ariaLabel: `Clip ${clip.n} of ${job.name}`,
  });
  if (clip.captions?.cues) {
    video.append(make("track", {
      kind: "captions", src: `${base}/captions.vtt`, label: ORIGINS[clip.captions.origin] ?? "Captions", default: !clip.captions.burned,
    }));
  }
  const save = make("a", { href: `${base}?download=1`, download: "", ariaLabel: `Download clip ${clip.n}` }, "Download");
  return make("li", { className: "clip", data: { clip: clip.n } },
    make("div", { className: "screen" }, video),
    make("div", { className: "clip-line" },
      make("span", { className: "figures" }, make("b", {}, `${clock(clip.start_s)}–${clock(clip.end_s)}`), " ",
        make("span", { className: "quiet" }, length(clip.duration_s))), save),
    ...(clip.warnings ?? []).map((warning) => make("p", { className: "quiet fine" }, warning)),
    recutForm(card, clip, highlight?.framing, cutOut(source.video, clip)),
    highlight?.framing ? framingSheet(highlight, cutOut(source.video, clip)) : null, highlight ? whyList(highlight) : null);
}

/** Each signal's share in the score, the largest first. */
function whyList(highlight) {
  const rows = [...highlight.signals].filter((s) => s.weight > 0).sort((a, b) => b.contribution - a.contribution);
  const top = Math.max(...rows.map((s) => s.contribution), 1e-9);
  const items = rows.flatMap((signal) => {
    const fill = make("span", { className: "fill" });
    fill.style.width = `${Math.round((100 * signal.contribution) / top)}%`;
    const rank = `${Math.round(100 * signal.percentile)} %`;
    const title = `${rank} of the source is calmer; weight ${signal.weight.toFixed(2)}`;
    return [make("dt", {}, SIGNALS[signal.name] ?? signal.name),
      make("dd", { title }, make("span", { className: "track" }, fill)),
      make("dd", { className: "quiet figures", title }, signal.contribution.toFixed(2))];
  });
  return make("div", { className: "why" },
    make("p", {}, `Why: score ${highlight.score.toFixed(2)}`), make("dl", {}, ...items));
}

function failedItem(clip) {
  return make("li", { className: "clip is-failed" },
    make("p", { className: "fault" }, `Clip ${clip.n}: `, ...faultWords({ detail: clip.message, hint: clip.hint })));
}
