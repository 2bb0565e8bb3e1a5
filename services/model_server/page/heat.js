// What mattered to the answer: the server hides one part of the sample after the other and tells what that changed.

import { byId, el, number, percent } from "./dom.js";
import { address, Away, call, Latest, NeedsKey, Refused } from "./server.js";

const FAINTEST = 0.02; // a drop below this never shows in full colour: it would be noise, blown up
const FOR = [232, 100, 26];
const AGAINST = [43, 127, 208];
const DOWN = ["the top", "the middle", "the bottom"];
const ACROSS = ["left", "centre", "right"];

export class Mattered {
  #on = false;
  #subject = { empty: true };

  constructor(model, frame) {
    this.model = model;
    this.frame = frame;
    this.button = el("button", { type: "button", "aria-pressed": "false", text: "Show what mattered",
      onclick: () => this.#toggle() });
    this.shown = el("div", { "aria-live": "polite" });
    const how = frame ? "Parts of the image are hidden one after the other"
      : "Each column in turn gets the values of other samples";
    byId("mattered-body").replaceChildren(
      el("p", { class: "muted small", text: `${how}; the more the answer changes, the more a part mattered.` }),
      this.button, this.shown);
    this.asker = new Latest((subject) => this.#ask(subject));
  }

  /** Tells which sample is asked now; it is explained while the button is down. */
  follow(subject) {
    this.#subject = subject;
    this.button.disabled = Boolean(subject.empty);
    if (subject.empty) {
      this.asker.drop();
      this.shown.replaceChildren();
    } else if (this.#on) this.asker.ask(subject);
  }

  /** Goes on with another version. */
  as(model) {
    this.model = model;
    this.follow(this.#subject);
  }

  #toggle() {
    this.#on = !this.#on;
    this.button.setAttribute("aria-pressed", String(this.#on));
    if (this.#on) this.follow(this.#subject);
    else this.shown.replaceChildren();
  }

  async #ask(subject) {
    try {
      const { json } = await call(address("explain/NAME", this.model), JSON.stringify({ inputs: subject.inputs }));
      if (this.#on && !this.#subject.empty) this.#show(json, subject);
    } catch (error) {
      if (error instanceof NeedsKey) document.dispatchEvent(new CustomEvent("key"));
      else if (!(error instanceof Refused || error instanceof Away)) throw error;
      this.shown.replaceChildren(el("p", { class: "warning", text: error.message }));
    }
  }

  #show(found, subject) {
    const of = found.of.label === undefined ? found.of.target || "the value"
      : `${found.of.label} (${percent(found.of.probability)})`;
    const change = (drop) => this.#change(drop, found.of.label !== undefined);
    if (found.kind === "columns") this.shown.replaceChildren(...this.#columns(found, of, change));
    else this.shown.replaceChildren(this.#heat(found, of, change, subject));
  }

  /** A change of the answer, with its sign: points of a probability, or units of a value. */
  #change(drop, isShare) {
    const size = isShare ? (100 * Math.abs(drop)).toFixed(1) : number(Math.abs(drop));
    return Number(size) === 0 ? "0" : `${drop >= 0 ? "−" : "+"}${size}`;
  }

  #heat(found, of, change, subject) {
    const points = found.of.label === undefined ? "" : " points";
    const drops = found.heat.flat();
    const least = found.of.label === undefined ? 1e-9 : FAINTEST;
    const most = Math.max(least, ...drops.map(Math.abs));
    const canvas = el("canvas", { role: "img" });
    const grey = !this.frame;
    const [height, width] = grey ? [1, subject.inputs.length] : [this.frame.height, this.frame.width];
    const size = Math.max(1, Math.ceil(224 / Math.max(height, width)));
    canvas.width = width * size;
    canvas.height = Math.max(height * size, 24);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    if (grey) {
      context.fillStyle = "#202830";
      context.fillRect(0, 0, canvas.width, canvas.height);
    } else {
      const small = el("canvas");
      this.frame.show(small, subject.inputs);
      context.filter = "grayscale(1)";
      context.drawImage(small, 0, 0, canvas.width, canvas.height);
      context.filter = "none";
    }
    const [tall, wide] = found.cell;
    let top = { drop: -Infinity };
    found.heat.forEach((line, y) => line.forEach((drop, x) => {
      if (drop > top.drop) top = { drop, y: (y + 0.5) / found.heat.length, x: (x + 0.5) / line.length };
      const strength = 0.8 * Math.min(1, Math.abs(drop) / most) ** 0.8;
      context.fillStyle = `rgb(${(drop >= 0 ? FOR : AGAINST).join(" ")} / ${strength})`;
      context.fillRect(x * wide * size, y * tall * size, wide * size, grey ? canvas.height : tall * size);
    }));
    const where = grey ? `place ${Math.floor(top.x * width)}`
      : `${DOWN[Math.floor(top.y * 3)]} ${ACROSS[Math.floor(top.x * 3)]}`;
    const sentence = found.of.label !== undefined && most <= FAINTEST
      ? `No single part decides this: whatever is hidden, the probability of ${found.of.label} hardly changes.`
      : `Most of what speaks for ${of} is at ${where}: with it hidden, that changes by ${change(top.drop)}${points}.`;
    canvas.setAttribute("aria-label", sentence);
    const scale = el("div", { class: "scale", "aria-hidden": "true" });
    return el("div", { class: "heat" }, canvas, el("div", {}, el("p", { text: sentence }), scale,
      el("p", { class: "ends" }, el("span", { text: `against, ${change(-most)}` }),
        el("span", { text: `for ${of.split(" (")[0]}, ${change(most)}` })),
      el("p", { class: "muted small", text: `Asked in one batch of ${found.rows}.` })));
  }

  #columns(found, of, change) {
    const points = found.of.label === undefined ? "" : ", in points,";
    const sorted = [...found.columns].sort((one, other) => Math.abs(other.drop) - Math.abs(one.drop));
    const least = found.of.label === undefined ? 1e-9 : FAINTEST;
    const most = Math.max(least, ...sorted.map((column) => Math.abs(column.drop)));
    const rows = sorted.map((column) => {
      const fill = el("i", { class: column.drop >= 0 ? "for" : "against" });
      fill.style.width = `${(50 * Math.abs(column.drop)) / most}%`;
      return el("li", {}, el("span", { class: "label", text: column.name, title: column.name }),
        el("span", { class: "sides", "aria-hidden": "true" }, fill),
        el("span", { class: "share", text: change(column.drop),
          title: `from ${change(column.most)} to ${change(column.least)}` }));
    });
    const title = `How ${of} changes on average${points} when a column is another sample’s:`;
    return [el("p", { class: "small", text: title }),
      el("ul", { class: "columns", tabIndex: 0, "aria-label": "Columns, by how much they matter" }, ...rows)];
  }
}
