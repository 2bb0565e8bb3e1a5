// A pad to draw on with mouse, touch, pen or arrow keys. It keeps what was done as a list of acts, so that every act
// can be taken back, and strokes can be drawn again elsewhere and in another size: that is how a drawing is fitted into
// the frame as the samples of training are, with strokes as thick as before.

import { el } from "./dom.js";
import { areaAverage, inkOf } from "./frame.js";

const SIDE = 400; // pixels of the longer side, at the least
const SQUEEZE = 0.65; // the least width that is left of a drawing wider than samples are

export class Pad {
  #acts = [];
  #stroke = null;
  #pen = null; // where the keyboard's pen is, or null

  /** Calls `changed` after every change. */
  constructor(frame, changed) {
    this.frame = frame;
    this.changed = changed;
    this.scale = Math.max(1, Math.ceil(SIDE / Math.max(frame.height, frame.width)));
    this.erasing = false;
    this.ink = frame.dark ? "#ffffff" : "#000000";
    this.paper = `rgb(${[0, 1, 2].map((channel) => frame.background[channel % frame.channels])})`;
    // A share of the longer side: 1.0 of 8 pixels, 2.0 of 28, as the strokes of digits are.
    this.brush = Math.min(0.2, 0.05 + 0.64 / Math.max(frame.height, frame.width));
    this.canvas = el("canvas", {
      width: frame.width * this.scale, height: frame.height * this.scale, tabIndex: 0, role: "application",
      "aria-label": "Drawing pad", "aria-describedby": "pad-keys",
    });
    this.hint = el("p", { class: `hint${frame.dark ? "" : " dark"}`,
      text: "Draw here, drop or paste a picture, or choose a sample below" });
    this.mark = el("span", { class: "pen", hidden: true });
    this.element = el("div", { class: "pad" }, this.canvas, this.hint, this.mark,
      el("p", { id: "pad-keys", class: "unseen",
        text: "Arrow keys move the pen, with Shift finely. Space puts it down and lifts it. Backspace takes back, " +
          "Delete clears." }));
    this.#listen();
    this.#paint();
  }

  /** The acts since the last one that covers everything. */
  get #visible() {
    const from = this.#acts.findLastIndex((act) => act.kind !== "stroke");
    return this.#acts.slice(Math.max(0, from)).filter((act) => act.kind !== "clear");
  }

  get empty() {
    return this.#visible.length === 0;
  }

  get canUndo() {
    return this.#acts.length > 0;
  }

  /** The picture that lies below the strokes, if there is one. */
  get picture() {
    return this.#visible.find((act) => act.kind === "picture") ?? null;
  }

  /** Whether there is something drawn by hand. */
  get touched() {
    return this.#visible.some((act) => act.kind === "stroke");
  }

  undo() {
    this.#acts.pop();
    this.#done();
  }

  clear() {
    if (!this.empty) this.#acts.push({ kind: "clear" });
    this.#done();
  }

  /** Shows a picture instead of everything: what draws it on a context, and what is known about it. */
  show(draw, facts) {
    this.#acts.push({ kind: "picture", draw, ...facts });
    this.#done();
  }

  /** Draws strokes at once: lists of [x, y] in pixels of the canvas. */
  draw(strokes) {
    for (const points of strokes) {
      this.#begin(points[0]);
      this.#stroke.points.push(...points.slice(1));
    }
    this.#done();
  }

  /** What the model gets of it, as shades; `fit` moves and resizes strokes as the samples of training are. */
  shades(fit) {
    const { frame, scale } = this;
    const work = el("canvas", { width: this.canvas.width, height: this.canvas.height });
    const context = work.getContext("2d", { willReadFrequently: true });
    const pixels = () => context.getImageData(0, 0, work.width, work.height).data;
    const look = (move) => {
      this.#render(context, move);
      return areaAverage(pixels(), scale, frame);
    };
    let move = null;
    if (fit && this.picture) {
      this.#render(context, null);
      move = this.#fittedPicture(pixels());
    } else if (fit) move = this.#fitted();
    const shades = look(move);
    const ink = move ? inkOf(shades, frame) : null;
    if (!ink) return shades;
    // By mass, as MNIST's digits were centred, but never over the edge.
    const shift = (wanted, is, low, high, length) =>
      Math.max(-low, Math.min(length - high, wanted * length - is)) * scale;
    const down = shift(frame.middle[0], ink.y, ink.top, ink.bottom, frame.height);
    const right = shift(frame.middle[1], ink.x, ink.left, ink.right, frame.width);
    return look({ ...move, x: move.x + right, y: move.y + down });
  }

  /** How the strokes are resized and moved so that they reach as far as the samples' ink, in the middle. */
  #fitted() {
    const points = this.#visible.filter((act) => !act.erases).flatMap((act) => act.points ?? []);
    if (!points.length) return null;
    const [xs, ys] = [points.map((point) => point[0]), points.map((point) => point[1])];
    const [left, right] = [Math.min(...xs), Math.max(...xs)];
    const [top, bottom] = [Math.min(...ys), Math.max(...ys)];
    const { width, height } = this.canvas;
    const side = Math.max(width, height);
    const wide = (this.#visible.at(-1).width ?? this.brush) * side;
    const room = (share, length) => Math.max(share * length - wide, side / 8);
    const [across, down] = [Math.max(right - left, 1), Math.max(bottom - top, 1)];
    if (Math.max(across, down) < side / 20) return this.#moved(1, 1, left + right, top + bottom); // a dot stays a dot
    // As large as the samples' ink, and no stroke blown up beyond what a small hand would have drawn. What is wider
    // than samples are is squeezed a little, as theirs were when they were scanned.
    const tall = room(this.frame.reach.height, height) / down;
    const broad = room(this.frame.reach.width, width) / across;
    const bound = (factor) => Math.max(0.25, Math.min(5, factor));
    const vertical = bound(Math.min(tall, broad / SQUEEZE));
    const horizontal = bound(Math.min(vertical, Math.max(broad, vertical * SQUEEZE)));
    return this.#moved(horizontal, vertical, left + right, top + bottom);
  }

  /** The same for a picture: it is cut to what is drawn on its ground. */
  #fittedPicture(pixels) {
    const { width, height } = this.canvas;
    const box = inkOf(areaAverage(pixels, 1, { width, height, channels: 1 }), { width, height, channels: 1,
      background: [pixels[0]] });
    if (!box) return null;
    const { reach } = this.frame;
    const factor = Math.min((reach.height * height) / (box.bottom - box.top),
      (Math.max(reach.width, reach.height) * width) / (box.right - box.left));
    return this.#moved(factor, factor, box.left + box.right, box.top + box.bottom);
  }

  #moved(wide, tall, twiceX, twiceY) {
    const { width, height } = this.canvas;
    return { wide, tall, x: (width - wide * twiceX) / 2, y: (height - tall * twiceY) / 2 };
  }

  #render(context, move) {
    const { width, height } = this.canvas;
    const side = Math.max(width, height);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = this.paper;
    context.fillRect(0, 0, width, height);
    for (const act of this.#visible) {
      if (act.kind === "picture") {
        if (move) context.setTransform(move.wide, 0, 0, move.tall, move.x, move.y);
        act.draw(context, width, height);
        context.setTransform(1, 0, 0, 1, 0, 0);
        continue;
      }
      const place = ([x, y]) => (move ? [move.x + move.wide * x, move.y + move.tall * y] : [x, y]);
      const points = act.points.map(place);
      context.strokeStyle = context.fillStyle = act.erases ? this.paper : act.ink;
      context.lineWidth = act.width * side;
      context.lineCap = context.lineJoin = "round";
      context.beginPath();
      context.moveTo(...points[0]);
      for (let index = 1; index < points.length - 1; index++) {
        const [x, y] = points[index];
        context.quadraticCurveTo(x, y, (x + points[index + 1][0]) / 2, (y + points[index + 1][1]) / 2);
      }
      context.lineTo(...points.at(-1));
      context.stroke();
    }
  }

  #paint() {
    this.#render(this.canvas.getContext("2d"), null);
    this.hint.hidden = !this.empty;
    this.mark.hidden = this.#pen === null;
    if (this.#pen) {
      this.mark.style.left = `${(100 * this.#pen[0]) / this.canvas.width}%`;
      this.mark.style.top = `${(100 * this.#pen[1]) / this.canvas.height}%`;
      this.mark.classList.toggle("down", this.#stroke !== null);
    }
  }

  #done() {
    this.#stroke = null;
    this.#paint();
    this.changed();
  }

  #begin(point) {
    this.#stroke = { kind: "stroke", points: [point], width: this.brush, ink: this.ink, erases: this.erasing };
    this.#acts.push(this.#stroke);
  }

  #listen() {
    const place = (event) => {
      const box = this.canvas.getBoundingClientRect();
      return [
        ((event.clientX - box.left) / box.width) * this.canvas.width,
        ((event.clientY - box.top) / box.height) * this.canvas.height,
      ];
    };
    this.canvas.addEventListener("pointerdown", (event) => {
      if (!event.isPrimary || event.button > 0) return;
      this.#pen = null;
      this.canvas.setPointerCapture(event.pointerId);
      this.#begin(place(event));
      this.#paint();
      this.changed();
    });
    this.canvas.addEventListener("pointermove", (event) => {
      if (!this.#stroke || this.#pen || !event.isPrimary) return;
      const moves = event.getCoalescedEvents?.() ?? [];
      this.#stroke.points.push(...(moves.length ? moves : [event]).map(place));
      this.#paint();
      this.changed();
    });
    for (const kind of ["pointerup", "pointercancel", "lostpointercapture"]) {
      this.canvas.addEventListener(kind, () => {
        if (this.#stroke && !this.#pen) this.#done();
      });
    }
    this.canvas.addEventListener("keydown", (event) => this.#type(event));
    this.canvas.addEventListener("blur", () => {
      this.#pen = this.#stroke = null;
      this.#paint();
    });
  }

  #type(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const { width, height } = this.canvas;
    const step = steps[event.key];
    if (step && !event.altKey && !event.metaKey) {
      const [x, y] = this.#pen ?? [width / 2, height / 2];
      const far = Math.max(width, height) / (event.shiftKey ? 64 : 20);
      const bound = (value, most) => Math.max(0, Math.min(most, value));
      this.#pen = [bound(x + step[0] * far, width), bound(y + step[1] * far, height)];
      if (this.#stroke) this.#stroke.points.push(this.#pen);
    } else if (event.key === " " || event.key === "Enter") {
      this.#pen ??= [width / 2, height / 2];
      if (this.#stroke) this.#stroke = null;
      else this.#begin(this.#pen);
    } else if (event.key === "Escape") this.#stroke = null;
    else if (event.key === "Backspace" || (event.key === "z" && (event.ctrlKey || event.metaKey))) this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
    this.#paint();
    this.changed();
  }
}
