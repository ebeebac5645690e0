// How a clip is cut out of the picture: drawn over time, and a place that a person may set.
"use strict";

/** Shares of the picture's width and height that a clip shows. */
function cutOut(video, clip) {
  const ratio = (clip.width / clip.height) / (video.display_width / video.display_height);
  return { x: Math.min(1, ratio), y: Math.min(1, 1 / ratio) };
}

/** Along which side the cut-out can move: the one of which it shows less. */
function sideOf(share) { return share.x <= share.y ? "x" : "y"; }

/** What was seen, and the way of the cut-out: time from left to right, the picture's side from top to bottom. */
function framingSheet(highlight, share) {
  const { framing, start_s: start, end_s: end } = highlight;
  const side = sideOf(share), half = (100 * share[side]) / 2;
  const at = (time) => (100 * Math.min(Math.max(time - start, 0), end - start)) / (end - start);
  const points = [];
  framing.keyframes.forEach((now, k) => {
    const next = framing.keyframes[k + 1];
    points.push([at(k ? now.time_s : start), 100 * now[side]]);
    if (!next) points.push([100, 100 * now[side]]);
    else if (next.cut) points.push([at(next.time_s), 100 * now[side]]);
  });
  const line = (shift, order) => order.map(([x, y]) => `${x.toFixed(2)} ${(y + shift).toFixed(2)}`).join("L");
  const sheet = make("details", { className: "framing" }, make("summary", {}, "How it is framed"));
  if (points.length) {
    const names = side === "x" ? "top: the picture's left edge, bottom: its right one" : "as the picture lies";
    sheet.append(drawn(`M${line(-half, points)}L${line(half, [...points].reverse())}Z`, `What the clip shows over time; ${names}`));
  }
  sheet.append(make("p", { className: "quiet" }, framing.reason));
  return sheet;
}

function drawn(way, title) {
  const parts = { svg: { viewBox: "0 0 100 100", preserveAspectRatio: "none", role: "img", "aria-label": title }, path: { d: way } };
  const [svg, path] = Object.entries(parts).map(([name, attributes]) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  });
  svg.append(path);
  return svg;
}

/** Fields to have the cut-out stand in one place, or follow its subject again. */
function framingFields(framing, share) {
  const side = sideOf(share);
  if (!framing || share[side] > 0.98) return [];
  const slider = make("input", {
    type: "range", name: "place", step: 0.001, min: share[side] / 2, max: 1 - share[side] / 2,
    value: framing.keyframes[0]?.[side] ?? 0.5,
  });
  slider.dataset.was = slider.value;
  const again = make("label", {}, make("input", { type: "checkbox", name: "follow" }), " Follow the subject again");
  return [make("label", { className: "field" }, side === "x" ? "Stand at, across" : "Stand at, down", slider),
    ...(framing.method === "asked" ? [again] : [])];
}

/** The framing that the fields ask for, if they do. start_s: of the clip. */
function askedFraming(elements, share, start_s) {
  if (elements.follow?.checked) return { framing: null };
  if (!elements.place || elements.place.value === elements.place.dataset.was) return {};
  const keyframe = { time_s: start_s, x: 0.5, y: 0.5, [sideOf(share)]: Number(elements.place.value) };
  return { framing: { keyframes: [keyframe] } };
}
