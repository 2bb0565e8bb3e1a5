// The input of a table: a field for each column, filled from a sample. An empty field is a missing value.

import { el, number } from "./dom.js";

export class RowInput {
  /** Calls `changed` after every change. */
  constructor(model, samples, changed) {
    this.fields = model.columns.map((column, place) => {
      const known = samples.map((sample) => sample.input[place]);
      return column.type === "category" ? new WordField(column, place, changed)
        : new NumberField(column, place, known, changed);
    });
    this.sample = null;
    const kind = model.columns.length > 8 ? "row tall" : "row";
    this.element = el("div", { class: kind }, ...this.fields.map((field) => field.element));
    this.element.addEventListener("input", () => { this.sample = null; });
  }

  get subject() {
    const wrong = this.fields.find((field) => field.wrong);
    if (wrong) return { empty: true, why: `“${wrong.name}” must be a number, or empty where it is missing.` };
    return { inputs: this.fields.map((field) => field.value), sample: this.sample,
      origin: this.sample ? `sample ${this.sample.index}` : "row" };
  }

  /** Fills the form from a golden sample. */
  choose(sample) {
    this.fields.forEach((field, place) => field.set(sample.input[place]));
    this.sample = sample;
  }
}

/** A number: typed, moved by the arrow keys, or by a slider over what the samples have. */
export class NumberField {
  constructor(column, place, known, changed) {
    this.name = column.name;
    const numbers = known.filter((value) => Number.isFinite(value));
    const low = numbers.length ? Math.min(...numbers) : 0;
    const high = numbers.length ? Math.max(...numbers) : 1;
    const room = (high - low) * 0.1 || Math.abs(low) * 0.5 || 1;
    // Where no sample is below zero, a column hardly ever is.
    this.low = low >= 0 ? Math.max(0, low - room) : low - room;
    this.high = high + room;
    this.step = (this.high - this.low) / 50;
    const id = `column-${place}`;
    this.input = el("input", { id, type: "text", inputMode: "decimal", autocomplete: "off", placeholder: "missing",
      oninput: () => { this.#checked(); changed(); }, onkeydown: (event) => this.#type(event, changed) });
    // The slider is for pointers only: with the keyboard the field itself goes up and down.
    this.slider = el("input", { type: "range", min: String(this.low), max: String(this.high), step: "any",
      tabIndex: -1, "aria-hidden": "true",
      oninput: () => { this.input.value = this.#rounded(Number(this.slider.value)); this.#checked(); changed(); } });
    this.element = el("div", { class: "cell" }, el("label", { for: id, text: column.name, title: column.name }),
      this.input, this.slider);
  }

  get wrong() {
    const text = this.input.value.trim();
    return text !== "" && !Number.isFinite(Number(text));
  }

  get value() {
    const text = this.input.value.trim();
    return text === "" ? null : Number(text);
  }

  set(value) {
    this.input.value = Number.isFinite(value) && value !== null ? String(Number(value.toPrecision(7))) : "";
    this.#checked();
  }

  #rounded(value) {
    return String(Number(value.toPrecision(4)));
  }

  #checked() {
    this.input.setAttribute("aria-invalid", String(this.wrong));
    if (!this.wrong && this.value !== null) this.slider.value = String(this.value);
  }

  #type(event, changed) {
    const way = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10 }[event.key];
    if (!way) return;
    event.preventDefault();
    this.input.value = this.#rounded((this.wrong ? 0 : (this.value ?? this.low)) + way * this.step);
    this.#checked();
    this.input.dispatchEvent(new Event("input", { bubbles: true }));
    changed();
  }
}

/** A category: one of the words of the training data, or missing. */
class WordField {
  constructor(column, place, changed) {
    this.name = column.name;
    this.wrong = false;
    const id = `column-${place}`;
    this.select = el("select", { id, onchange: changed },
      el("option", { value: "", text: "missing" }),
      ...column.words.map((word) => el("option", { value: word, text: word })));
    this.element = el("div", { class: "cell" }, el("label", { for: id, text: column.name, title: column.name }),
      this.select);
  }

  get value() {
    return this.select.value === "" ? null : this.select.value;
  }

  set(value) {
    if (value && ![...this.select.options].some((option) => option.value === value)) {
      this.select.append(el("option", { value, text: `${value} (new)` }));
    }
    this.select.value = value ?? "";
  }
}

/** Anything that is neither image nor table: its numbers as JSON. */
export class ValuesInput {
  constructor(model, changed) {
    this.sample = null;
    const shape = model.input.shape.slice(1).map((size) => size ?? "any").join(" × ") || "one number";
    this.text = el("textarea", { spellcheck: false, "aria-label": `One sample as JSON: ${shape}`,
      oninput: () => { this.sample = null; changed(); } });
    this.element = el("div", {}, el("p", { class: "muted small", text: `One sample as JSON: ${shape}` }), this.text);
  }

  get subject() {
    try {
      return { inputs: JSON.parse(this.text.value), sample: this.sample, origin: "values" };
    } catch {
      return { empty: true, why: this.text.value.trim() ? "This is not JSON yet." : undefined };
    }
  }

  choose(sample) {
    this.text.value = JSON.stringify(sample.input);
    this.sample = sample;
  }
}

/** A row in a few words. */
export const inWords = (row, columns) =>
  row.map((cell, place) => `${columns[place].name} ${typeof cell === "number" ? number(cell) : (cell ?? "missing")}`)
    .join(", ");
