// Golden samples, with what they truly are and whether the model gets them right. One click asks for one.

import { byId, el, number } from "./dom.js";
import { inWords } from "./row.js";

/** What a version answered to a golden sample when it was packed: the label, or the value. */
function answered(sample, model) {
  const output = sample.output;
  if (model.task === "regression") return output[0];
  if (model.task === "binary") return model.labels[output[0] >= 0.5 ? 1 : 0];
  return model.labels[output.indexOf(Math.max(...output))];
}

/** Fills the gallery. `choose` gets the sample of a click. */
export function showGallery(model, samples, frame, choose) {
  const wide = model.labels.some((label) => label.length > 3);
  const list = el("ul", { class: !frame ? "gallery rows" : wide ? "gallery wide" : "gallery" });
  let right = 0;
  for (const sample of samples) {
    const answer = answered(sample, model);
    const regression = model.task === "regression";
    const isRight = regression || answer === sample.label;
    right += isRight ? 1 : 0;
    const truth = regression ? number(sample.value) : sample.label;
    const told = regression ? `answered ${number(answer)}` : isRight ? "answered right" : `answered ${answer}`;
    const button = el("button", { type: "button", class: isRight ? "" : "off",
      "aria-label": `Sample ${sample.index}: truly ${truth}, ${told}`, title: `truly ${truth}, ${told}`,
      onclick: () => choose(sample) });
    if (frame) {
      const canvas = el("canvas", { "aria-hidden": "true" });
      frame.show(canvas, sample.input);
      button.append(canvas);
    }
    const mark = regression ? el("span", { class: "muted numbers", text: number(answer) })
      : el("span", { class: isRight ? "tick" : "cross", text: isRight ? "✓" : "✗" });
    button.append(el("span", { class: "truth" }, el("b", { text: truth }), mark));
    if (!frame && model.columns.length) {
      button.append(el("span", { class: "cells", text: inWords(sample.input.slice(0, 4), model.columns) }));
    }
    list.append(el("li", {}, button));
  }
  const few = samples.length === 1 ? "1 sample" : `${samples.length} samples`;
  const sentence = model.task === "regression"
    ? `${few} of data that training never saw: the true ${model.target || "value"}, and what was answered.`
    : `${few} of data that training never saw; version ${model.version} gets ${right} of them right. ` +
      "Choose one to ask.";
  byId("gallery-body").replaceChildren(el("p", { class: "muted small", text: sentence }), list);
}
