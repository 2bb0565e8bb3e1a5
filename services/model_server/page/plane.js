// The input of a model of two numbers: a point in the plane, which the model's answers colour as the TensorFlow
// Playground does (D. Smilkov, S. Carter, https://playground.tensorflow.org).

import { colour, el, number } from "./dom.js";
import { NumberField } from "./row.js";
import { call, Latest, Refused } from "./server.js";

const FINENESS = [56, 40, 24]; // points along a side; fewer if the server takes no more at once
const SIDE = 640;
// Classes that are neither orange nor blue: after P. Tol's bright scheme, which colour-blind readers tell apart.
const MORE = ["#228833", "#aa3377", "#ccbb44", "#66ccee", "#ee6677", "#777777"];

const rgb = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
const mixed = (shades, shares) => [0, 1, 2].map((part) =>
  shades.reduce((sum, shade, place) => sum + shade[part] * shares[place], 0));

export class PlaneInput {
  #figures = new Map(); // by version: {figure, canvas, surface}

  constructor(model, samples, changed) {
    this.model = model;
    this.samples = samples;
    this.changed = changed;
    this.sample = null;
    this.fields = model.columns.map((column, place) =>
      new NumberField(column, place, samples.map((sample) => sample.input[place]), () => this.#typed()));
    this.axes = [0, 1].map((place) => model.input.range ?? [this.fields[place].low, this.fields[place].high]);
    for (const [place, field] of this.fields.entries()) {
      [field.slider.min, field.slider.max] = this.axes[place].map(String);
      field.step = (this.axes[place][1] - this.axes[place][0]) / 50;
    }
    this.planes = el("div", { class: "planes" });
    this.element = el("div", {}, this.planes, this.#key(),
      el("div", { class: "row" }, ...this.fields.map((field) => field.element)));
    this.ask = new Latest((versions) => this.#compute(versions));
  }

  get subject() {
    const wrong = this.fields.find((field) => field.wrong);
    if (wrong) return { empty: true, why: `“${wrong.name}” must be a number.` };
    return { inputs: this.fields.map((field) => field.value), sample: this.sample,
      origin: this.sample ? `sample ${this.sample.index}` : "point" };
  }

  choose(sample) {
    this.#move(sample.input);
    this.sample = sample;
  }

  /** Shows a plane for each of these versions, the first one large. */
  versions(models) {
    const wanted = new Set(models.map((model) => model.version));
    for (const version of this.#figures.keys()) if (!wanted.has(version)) this.#figures.delete(version);
    for (const model of models) {
      if (!this.#figures.has(model.version)) this.#figures.set(model.version, this.#figure());
      const kept = this.#figures.get(model.version);
      kept.caption.textContent = models.length > 1 ? `Version ${model.version}, ${model.alias ?? "pinned"}` : "";
    }
    this.planes.replaceChildren(...models.map((model) => this.#figures.get(model.version).figure));
    this.ask.ask(models);
    this.#paint();
  }

  /** Draws again: the colour scheme has changed. */
  repaint() {
    this.#paint();
  }

  #figure() {
    const names = this.model.columns.map((column) => column.name).join(" and ");
    const canvas = el("canvas", { width: SIDE, height: SIDE, tabIndex: 0, role: "application",
      "aria-label": `Plane of ${names}. Arrow keys move the point.` });
    const caption = el("figcaption");
    const figure = el("figure", { class: "plane" }, canvas, caption);
    const place = (event) => {
      const box = canvas.getBoundingClientRect();
      const share = [(event.clientX - box.left) / box.width, 1 - (event.clientY - box.top) / box.height];
      this.#go(share.map((part, axis) => {
        const [low, high] = this.axes[axis];
        return low + Math.max(0, Math.min(1, part)) * (high - low);
      }));
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      place(event);
    });
    canvas.addEventListener("pointermove", (event) => { if (canvas.hasPointerCapture(event.pointerId)) place(event); });
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!way) return;
      event.preventDefault();
      this.#go(this.axes.map(([low, high], axis) => {
        const moved = (this.fields[axis].value ?? 0) + way[axis] * (high - low) * (event.shiftKey ? 0.005 : 0.025);
        return Math.max(low, Math.min(high, moved));
      }));
    });
    return { figure, canvas, caption, surface: null };
  }

  #typed() {
    this.sample = null;
    this.#paint();
    this.changed();
  }

  #move(point) {
    this.fields.forEach((field, place) => field.set(point[place]));
    this.#paint();
  }

  #go(point) {
    this.sample = null;
    this.#move(point.map((value) => Number(value.toFixed(3))));
    this.changed();
  }

  async #compute(models) {
    for (const model of models) {
      const kept = this.#figures.get(model.version);
      if (!kept || kept.surface) continue;
      for (const fineness of FINENESS) {
        const at = (axis, place) => {
          const [low, high] = this.axes[axis];
          return Number((low + ((place + 0.5) / fineness) * (high - low)).toPrecision(5));
        };
        const instances = Array.from({ length: fineness * fineness }, (_, place) =>
          [at(0, place % fineness), at(1, fineness - 1 - Math.floor(place / fineness))]);
        const path = `v1/models/${encodeURIComponent(model.name)}/versions/${model.version}:predict`;
        try {
          const { json } = await call(path, JSON.stringify({ instances }));
          kept.canvas.dataset.coloured = model.version;
          kept.surface = this.#coloured(json.predictions.map((output) => [output].flat()), fineness);
          break;
        } catch (error) {
          if (!(error instanceof Refused)) break; // it is told elsewhere, and asked again with the next version
        }
      }
      this.#paint();
    }
  }

  /** Outputs as a small picture. */
  #coloured(outputs, fineness) {
    const picture = new ImageData(fineness, fineness);
    outputs.forEach((output, place) => {
      picture.data.set([...this.#colourOf(output), 255], place * 4);
    });
    const small = el("canvas", { width: fineness, height: fineness });
    small.getContext("2d").putImageData(picture, 0, 0);
    return small;
  }

  get #shades() {
    const few = [colour("--negative"), colour("--positive")];
    return [...few, ...MORE].map(rgb);
  }

  #colourOf(output) {
    const shades = this.#shades;
    const pale = rgb("#e8eaeb");
    const between = (share) => { // orange, pale, blue
      const strength = Math.min(1, Math.abs(share - 0.5) * 2);
      return mixed([pale, shades[share < 0.5 ? 0 : 1]], [1 - strength, strength]);
    };
    if (this.model.task === "binary") return between(output[0]);
    if (this.model.task === "regression") return between(this.#shareOf(output[0]));
    const sum = output.reduce((total, share) => total + share, 0) || 1;
    return mixed(output.map((_, place) => shades[place % shades.length]), output.map((share) => share / sum));
  }

  /** Where a value of a regression lies between the samples' least and most. */
  #shareOf(value) {
    const known = this.samples.map((sample) => sample.value).filter(Number.isFinite);
    const most = Math.max(1e-9, ...known.map(Math.abs));
    const low = known.some((truth) => truth < 0) ? -most : Math.min(...known);
    return Math.max(0, Math.min(1, (value - low) / (most - low || 1)));
  }

  #colourOfSample(sample) {
    if (sample.class === undefined) return this.#colourOf([sample.value]);
    return this.#shades[sample.class % this.#shades.length];
  }

  #paint() {
    for (const { canvas, surface } of this.#figures.values()) {
      const context = canvas.getContext("2d");
      context.fillStyle = "#e8eaeb";
      context.fillRect(0, 0, SIDE, SIDE);
      context.imageSmoothingEnabled = true;
      context.imageSmoothingQuality = "high";
      if (surface) {
        context.globalAlpha = 0.82;
        context.drawImage(surface, 0, 0, SIDE, SIDE);
        context.globalAlpha = 1;
      }
      this.#paintAxes(context);
      for (const sample of this.samples) {
        this.#dot(context, sample.input, 9, `rgb(${this.#colourOfSample(sample)})`, "#ffffff", 3);
      }
      const point = this.fields.map((field) => field.value);
      if (point.every(Number.isFinite)) {
        this.#dot(context, point, 13, "#ffffff55", "#11161b", 4);
        this.#dot(context, point, 3, "#11161b", "#11161b", 0);
      }
    }
  }

  #place(point) {
    return point.map((value, axis) => {
      const [low, high] = this.axes[axis];
      const share = (value - low) / (high - low);
      return SIDE * (axis === 0 ? share : 1 - share);
    });
  }

  #paintAxes(context) {
    const [x, y] = this.#place([0, 0]);
    context.strokeStyle = "#00000022";
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, SIDE);
    context.moveTo(0, y);
    context.lineTo(SIDE, y);
    context.stroke();
    context.fillStyle = "#1c2530bb";
    context.font = "20px system-ui, sans-serif";
    const [across, up] = this.model.columns;
    const [[left, right], [low, high]] = this.axes.map((axis) => axis.map(number));
    const write = (text, at, down, align) => {
      context.textAlign = align;
      context.fillText(text, at, down);
    };
    write(left, 8, SIDE - 10, "left");
    write(`${across.name}  ${right}`, SIDE - 8, SIDE - 10, "right");
    write(`${high}  ${up.name}`, 8, 24, "left");
    write(low, 8, SIDE - 36, "left");
  }

  #dot(context, point, radius, fill, line, width) {
    const [x, y] = this.#place(point);
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fillStyle = fill;
    context.fill();
    if (!width) return;
    context.strokeStyle = line;
    context.lineWidth = width;
    context.stroke();
  }

  #key() {
    const item = (shade, text) => {
      const spot = el("i");
      spot.style.background = `rgb(${shade})`;
      return el("li", {}, spot, text);
    };
    if (this.model.task === "regression") return el("ul", { class: "key" },
      item(this.#shades[0], `low ${this.model.target}`), item(this.#shades[1], `high ${this.model.target}`));
    return el("ul", { class: "key" }, ...this.model.labels.map((label, place) =>
      item(this.#shades[place % this.#shades.length], label)));
  }
}
