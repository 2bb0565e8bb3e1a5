// What the versions of a model answer, side by side: the label and its bars, or the value on its scale; and the times.

import { byId, el, milliseconds, number, percent } from "./dom.js";
import { address, Away, call, Latest, NeedsKey, Refused } from "./server.js";

const ALL_UP_TO = 12; // that many labels keep their places; of more, the best five are shown
const SPOKEN_AFTER_MS = 700;

export const shownLabels = (model) => (model.labels.length <= ALL_UP_TO ? model.labels.length : 5);

/** One version's answer, asked for the newest subject only. */
class Panel {
  constructor(model, other, samples, changed) {
    this.model = model;
    this.changed = changed;
    this.answer = null;
    this.samples = samples;
    this.who = el("h3", { class: "who" }, el("b", { text: `Version ${model.version}` }),
      model.alias ? model.alias : "pinned");
    this.strong = el("strong", { text: "–" });
    this.share = el("span", { class: "share" });
    this.mark = el("span", { class: "mark", hidden: true });
    this.told = el("p", { class: "told" }, this.strong, this.share, this.mark);
    this.body = model.task === "regression" ? this.#gauge() : el("ul", { class: "bars" });
    this.warning = el("p", { class: "warning", hidden: true });
    this.time = el("p", { class: "time" });
    this.element = el("div", { class: other ? "panel other" : "panel", "data-version": model.version },
      this.who, this.told, this.body, this.warning, this.time);
    this.asker = new Latest((subject) => this.#ask(subject));
    this.rows = [];
    this.clear();
  }

  ask(subject) {
    if (subject.empty) {
      this.asker.drop();
      this.clear(subject.why);
    } else this.asker.ask(subject);
    this.subject = subject;
  }

  clear(why) {
    this.answer = null;
    this.strong.textContent = "–";
    this.share.textContent = this.time.textContent = "";
    this.mark.hidden = true;
    this.#warn(why);
    if (this.model.task === "regression") this.needle.hidden = this.truth.hidden = true;
    else this.#fill(this.model.labels.slice(0, shownLabels(this.model)).map((label) => ({ label, probability: 0 })));
    this.changed();
  }

  async #ask(subject) {
    let reply = null, wrong = "";
    try {
      reply = await this.#send(subject);
    } catch (error) {
      if (error instanceof NeedsKey) document.dispatchEvent(new CustomEvent("key"));
      else if (!(error instanceof Refused || error instanceof Away)) throw error;
      wrong = error.message;
    }
    if (this.subject?.empty) return; // cleared meanwhile
    if (!reply) return this.#warn(wrong);
    const answer = reply.json.prediction ?? reply.json.predictions[0];
    this.answer = answer;
    this.#warn((reply.json.warnings ?? []).join(" "));
    if (this.model.task === "regression") this.#showValue(answer, subject);
    else this.#showClasses(answer, subject);
    const parts = [[reply.infer, "in the model"], [reply.total, "in the server"], [reply.ms, "there and back"]];
    this.time.textContent = parts.filter(([ms]) => Number.isFinite(ms))
      .map(([ms, where]) => `${milliseconds(ms)} ${where}`).join(" · ");
    this.changed();
  }

  async #send(subject) {
    const top = this.model.task === "regression" ? undefined : shownLabels(this.model);
    const values = () =>
      call(address("predict/NAME", this.model), JSON.stringify({ inputs: subject.inputs, top_k: top }));
    if (!subject.file) return values();
    try {
      return await call(address("predict/NAME", this.model, { ...subject.wishes, ...(top && { top_k: top }) }),
        subject.file, subject.file.type);
    } catch (error) {
      if (error instanceof Refused && error.status < 500) return values(); // a picture that only the browser can read
      throw error;
    }
  }

  #warn(text) {
    this.warning.textContent = text ?? "";
    this.warning.hidden = !text;
  }

  #showClasses(answer, subject) {
    this.strong.textContent = answer.label;
    this.share.textContent = percent(answer.probability);
    this.told.classList.toggle("long", answer.label.length > 12);
    const truth = subject.sample?.label;
    this.#judge(truth, answer.label === truth);
    const few = this.model.labels.length <= ALL_UP_TO;
    this.#fill(few ? this.model.labels.map((label, place) => ({ label, probability: answer.probabilities[place] }))
      : answer.top, answer.label);
  }

  #fill(shares, best) {
    while (this.rows.length < shares.length) {
      const row = { label: el("span", { class: "label" }), fill: el("i"), share: el("span", { class: "share" }) };
      row.item = el("li", {}, row.label, el("span", { class: "bar", "aria-hidden": "true" }, row.fill), row.share);
      this.rows.push(row);
      this.body.append(row.item);
    }
    this.rows.forEach((row, place) => {
      const { label, probability } = shares[place];
      row.label.textContent = row.label.title = label;
      row.fill.style.width = `${100 * (probability || 0)}%`;
      row.share.textContent = best === undefined ? "" : percent(probability);
      row.item.classList.toggle("best", label === best);
    });
  }

  #gauge() {
    const known = this.samples.map((sample) => sample.value).filter(Number.isFinite);
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const room = (high - low) * 0.15 || 1;
    [this.low, this.high] = [low - room, high + room];
    this.needle = el("i");
    this.truth = el("i", { class: "truth" });
    return el("div", {}, el("div", { class: "gauge" }, this.needle, this.truth),
      el("p", { class: "ends" }, el("span", { text: number(this.low) }),
        el("span", { text: "the scale of the samples" }), el("span", { text: number(this.high) })));
  }

  #showValue(answer, subject) {
    this.strong.textContent = number(answer.value);
    this.share.textContent = answer.target;
    const truth = subject.sample?.value;
    const set = (tick, value) => {
      tick.hidden = !Number.isFinite(value);
      const share = (value - this.low) / (this.high - this.low);
      tick.style.left = `${100 * Math.max(0, Math.min(1, share))}%`;
    };
    set(this.needle, answer.value);
    set(this.truth, truth);
    this.mark.hidden = !Number.isFinite(truth);
    this.mark.className = "mark right";
    this.mark.textContent = `truly ${number(truth)}`;
  }

  #judge(truth, right) {
    this.mark.hidden = truth === undefined;
    this.mark.className = right ? "mark right" : "mark not";
    this.mark.textContent = right ? "✓ right" : `✗ truly ${truth}`;
  }

  get inWords() {
    if (!this.answer) return "";
    if (this.model.task === "regression") return `${number(this.answer.value)} ${this.answer.target}`;
    return `${this.answer.label}, ${percent(this.answer.probability)}`;
  }
}

/** All versions' answers. */
export class Answers {
  #timer = 0;

  constructor() {
    this.panels = [];
    this.agreement = el("p", { class: "agree", hidden: true });
    this.list = el("div", { class: "answers" });
    byId("answer-body").replaceChildren(this.list, this.agreement);
  }

  /** Shows these versions; the first one is the one that answers by name. Panels of the same version stay. */
  versions(models, samples) {
    const same = (panel, model) => panel.model.version === model.version && panel.model.digest === model.digest &&
      panel.model.alias === model.alias && panel.model.name === model.name;
    this.panels = models.map((model, place) => {
      const kept = this.panels.find((panel) => same(panel, model) && panel.other === place > 0);
      if (kept) return kept;
      const panel = new Panel(model, place > 0, samples, () => this.#compare());
      panel.other = place > 0;
      return panel;
    });
    this.list.replaceChildren(...this.panels.map((panel) => panel.element));
    this.#compare();
  }

  ask(subject) {
    for (const panel of this.panels) panel.ask(subject);
  }

  #compare() {
    const [first, second] = this.panels ?? [];
    this.agreement.hidden = !(first?.answer && second?.answer);
    if (!this.agreement.hidden) this.agreement.textContent = compared(first, second);
    byId("glance").textContent = first?.inWords ?? ""; // beside the input, where a small screen shows no more
    clearTimeout(this.#timer); // said to a screen reader when the answer has come to rest
    this.#timer = setTimeout(() => {
      byId("spoken").textContent = this.panels.filter((panel) => panel.answer)
        .map((panel) => (this.panels.length > 1 ? `Version ${panel.model.version}: ` : "") + panel.inWords).join(". ");
    }, SPOKEN_AFTER_MS);
  }
}

function compared(first, second) {
  const [one, two] = [first.answer, second.answer];
  if (first.model.task === "regression") {
    return `Version ${first.model.version} answers ${number(Math.abs(one.value - two.value))} ` +
      `${one.value < two.value ? "less" : "more"} than version ${second.model.version}.`;
  }
  if (one.label !== two.label) {
    return `They disagree: version ${first.model.version} says ${one.label}, ` +
      `version ${second.model.version} says ${two.label}.`;
  }
  const more = one.probability - two.probability;
  if (Math.abs(more) < 0.005) return `Both say ${one.label}, and are as sure.`;
  return `Both say ${one.label}; version ${more > 0 ? first.model.version : second.model.version} is surer.`;
}
