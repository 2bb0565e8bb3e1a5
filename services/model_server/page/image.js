// The input of an image model: the pad, its tools, pictures by drop, paste and file, and what the model gets of it.

import { el } from "./dom.js";
import { Pad } from "./pad.js";

const LARGEST_BYTES = 12 * 2 ** 20;
const SENT_AS_THEY_ARE = ["image/png", "image/jpeg"];

export class ImageInput {
  #frame = 0;

  /** Calls `changed` after every change, and `tell` with a sentence when a picture cannot be used. */
  constructor(frame, changed, tell) {
    this.frame = frame;
    this.tell = tell;
    // Once for what is seen, however often the pen moves: large images take a while.
    this.pad = new Pad(frame, () => {
      cancelAnimationFrame(this.#frame);
      this.#frame = requestAnimationFrame(() => this.#refresh(changed));
    });
    const { pad } = this;
    const press = (button, on) => button.setAttribute("aria-pressed", String(on));
    const erase = el("button", { type: "button", text: "Eraser", "aria-pressed": "false",
      onclick: () => press(erase, (pad.erasing = !pad.erasing)) });
    this.undo = el("button", { type: "button", text: "Undo", onclick: () => pad.undo() });
    this.clear = el("button", { type: "button", text: "Clear", onclick: () => pad.clear() });
    const file = el("input", { type: "file", accept: "image/*", "aria-label": "Choose a picture",
      onchange: () => { if (file.files[0]) this.take(file.files[0]); file.value = ""; } });
    const brush = el("input", { type: "range", min: "0.02", max: "0.25", step: "0.005", value: String(pad.brush),
      "aria-label": "Width of the brush", oninput: () => { pad.brush = Number(brush.value); } });
    const colour = frame.channels === 3 && el("input", { type: "color", class: "swatch", value: pad.ink,
      "aria-label": "Colour of the brush", oninput: () => { pad.ink = colour.value; } });
    this.fit = el("input", { type: "checkbox", checked: frame.drawn, onchange: () => this.#refresh(changed) });
    this.inverted = el("input", { type: "checkbox", onchange: () => this.#again() });
    this.fitting = el("label", { class: "check small", hidden: !frame.drawn,
      title: "Moves and resizes the drawing as the samples of training are" }, this.fit, "Fit to the frame");
    this.inverting = el("label", { class: "check small", hidden: true }, this.inverted, "Light and dark swapped");
    this.small = el("canvas", { role: "img" });
    this.about = el("span");
    this.element = el("div", {},
      pad.element,
      el("div", { class: "under" },
        el("div", { class: "tools" }, this.undo, this.clear, erase,
          el("span", { class: "file" }, "Picture…", file), colour || null,
          el("label", { class: "slider" }, "Brush", brush), this.fitting, this.inverting),
        el("p", { class: "seen" }, this.small, this.about)));
    this.#refresh(() => {});
  }

  /** What there is to ask: {empty}, or {inputs, origin} with the golden sample or the file that it is, if it is one. */
  #look() {
    const { pad, frame } = this;
    if (pad.empty) return { empty: true };
    const picture = pad.picture;
    if (picture && !pad.touched) {
      const centre = this.fitting.hidden ? "no" : this.fit.checked ? "yes" : "no";
      return { inputs: picture.values ?? frame.values(pad.shades(centre === "yes")), file: picture.file,
        wishes: { invert: this.inverted.checked ? "yes" : "no", centre }, sample: picture.sample,
        origin: picture.origin };
    }
    // Strokes on a golden sample leave it where it is.
    const fit = this.fit.checked && !this.fitting.hidden;
    return { inputs: frame.values(pad.shades(fit)), origin: "drawing" };
  }

  /** Shows a golden sample. */
  choose(sample) {
    const small = el("canvas");
    this.frame.show(small, sample.input);
    this.pad.show((context, width, height) => {
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, width, height);
    }, { values: sample.input, sample, origin: `sample ${sample.index}` });
  }

  /** Takes a picture file. */
  async take(file) {
    if (file.size > LARGEST_BYTES) return this.tell("This picture is larger than 12 MB; take a smaller one.");
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      return this.tell(`“${file.name || "This"}” is no picture that a browser can read; take a PNG or a JPEG.`);
    }
    this.inverted.checked = this.frame.drawn && isBright(bitmap) === this.frame.dark;
    this.#show(bitmap, file);
  }

  #show(bitmap, file) {
    const invert = this.inverted.checked;
    const [red, green, blue] = groundOf(bitmap).map((shade) => (invert ? 255 - shade : shade));
    const draw = (context, width, height) => {
      const share = Math.min(width / bitmap.width, height / bitmap.height);
      const [wide, tall] = [bitmap.width * share, bitmap.height * share];
      context.fillStyle = `rgb(${red} ${green} ${blue})`;
      context.fillRect(-width * 9, -height * 9, width * 19, height * 19); // as far as a fitted picture may be moved
      context.imageSmoothingQuality = "high";
      context.filter = invert ? "invert(1)" : "none";
      context.drawImage(bitmap, (width - wide) / 2, (height - tall) / 2, wide, tall);
      context.filter = "none";
    };
    // The server reads the file itself, as it does for everybody else; a kind that it does not read goes as numbers.
    const sent = SENT_AS_THEY_ARE.includes(file.type) ? file : undefined;
    this.pad.show(draw, { origin: file.name || "picture", file: sent, again: () => this.#show(bitmap, file) });
  }

  #again() {
    this.pad.picture?.again?.();
  }

  #refresh(changed) {
    const { pad, frame } = this;
    this.undo.disabled = !pad.canUndo;
    this.clear.disabled = pad.empty;
    this.inverting.hidden = !pad.picture?.again;
    this.fitting.hidden = !frame.drawn || (pad.picture !== null && !pad.picture.again);
    const size = `${frame.width} × ${frame.height}${frame.channels === 3 ? " in colour" : ""}`;
    const shown = (this.subject = this.#look());
    if (shown.empty) frame.show(this.small, frame.values(frame.background.length === 1
      ? new Float64Array(frame.width * frame.height).fill(frame.background[0])
      : Float64Array.from({ length: frame.width * frame.height * 3 }, (_, at) => frame.background[at % 3])));
    else frame.show(this.small, shown.inputs);
    this.about.textContent = `What the model gets: ${size}`;
    this.small.setAttribute("aria-label", `What the model gets, ${size} pixels`);
    changed();
  }
}

/** The colour of a picture's edge: the median of each channel. */
function groundOf(bitmap) {
  const canvas = el("canvas", { width: 16, height: 16 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#fff"; // what is clear lies on paper
  context.fillRect(0, 0, 16, 16);
  context.drawImage(bitmap, 0, 0, 16, 16);
  const pixels = context.getImageData(0, 0, 16, 16).data;
  const isEdge = (place) => place % 16 === 0 || place % 16 === 15 || place < 16 || place > 239;
  const edge = [...Array(256).keys()].filter(isEdge);
  return [0, 1, 2].map((channel) => edge.map((place) => pixels[place * 4 + channel]).sort((one, two) => one - two)[30]);
}

const isBright = (bitmap) => groundOf(bitmap).reduce((sum, shade) => sum + shade, 0) / 3 > 127;
