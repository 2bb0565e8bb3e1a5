// What a model takes, read from GET /models and its golden samples: which kind of input the page shows, and for images
// how numbers become pixels and pixels numbers.

/** image, plane (two columns of numbers), row (any other table), or values (anything else). */
export function kindOf(model) {
  const shape = model.input.shape.slice(1);
  if (model.columns.length === 2 && model.columns.every((column) => column.type === "number")) return "plane";
  if (model.columns.length) return "row";
  const flat = shape.length === 2 || (shape.length === 3 && (shape[2] === 1 || shape[2] === 3));
  return flat && shape.every((size) => size) ? "image" : "values";
}

const flatten = (values) => values.flat(Infinity);

function median(numbers) {
  const sorted = Float64Array.from(numbers).sort();
  return sorted.length ? sorted[sorted.length >> 1] : 0;
}

/** The frame of an image model: size, range, background, and where golden samples have their ink. */
export class Frame {
  constructor(model, samples) {
    const [height, width, channels] = model.input.shape.slice(1);
    this.height = height;
    this.width = width;
    this.channels = channels ?? 1;
    this.hasChannels = channels !== undefined;
    this.whole = /int/.test(model.input.dtype);
    const golden = samples.map((sample) => Float64Array.from(flatten(sample.input)));
    const range = model.input.range ?? (this.whole ? [0, 255] : extremes(golden));
    [this.low, this.high] = range[1] > range[0] ? range : [0, 1];
    // As many decimals as make no difference, so that the command lines stay short.
    this.decimals = this.whole ? 0 : Math.max(0, Math.ceil(Math.log10(2000 / (this.high - this.low))));
    this.background = this.#background(golden);
    this.dark = this.background.reduce((sum, shade) => sum + shade, 0) / this.channels < 128;
    Object.assign(this, this.#inkOf(golden));
  }

  #background(golden) {
    const border = Array.from({ length: this.channels }, () => []);
    for (const values of golden) {
      values.forEach((value, place) => {
        const pixel = Math.floor(place / this.channels);
        const [y, x] = [Math.floor(pixel / this.width), pixel % this.width];
        if (y === 0 || x === 0 || y === this.height - 1 || x === this.width - 1) {
          border[place % this.channels].push(value);
        }
      });
    }
    return border.map((values) => Math.round(this.shade(values.length ? median(values) : this.low)));
  }

  /** How far ink reaches in golden samples (shares of height and width), where its middle is, and if there is any. */
  #inkOf(golden) {
    const heights = [], widths = [], middles = [], shares = [];
    for (const values of golden) {
      const ink = inkOf(Uint8ClampedArray.from(values, (value) => this.shade(value)), this);
      if (!ink) continue;
      heights.push((ink.bottom - ink.top) / this.height);
      widths.push((ink.right - ink.left) / this.width);
      middles.push([ink.y / this.height, ink.x / this.width]);
      shares.push(ink.share);
    }
    const mean = (list) => list.reduce((sum, value) => sum + value, 0) / Math.max(1, list.length);
    return {
      reach: { height: median(heights), width: median(widths) },
      middle: [mean(middles.map((middle) => middle[0])), mean(middles.map((middle) => middle[1]))],
      drawn: this.channels === 1 && shares.length > 0 && mean(shares) < 0.45,
    };
  }

  /** A number of the model as a shade from 0 to 255. */
  shade(value) {
    return (255 * (value - this.low)) / (this.high - this.low);
  }

  /** Shades (height * width * channels) as what the model takes: nested lists of numbers. */
  values(shades) {
    const [step, fine] = [(this.high - this.low) / 255, 10 ** this.decimals];
    const number = (shade) => Math.round((this.low + shade * step) * fine) / fine;
    return Array.from({ length: this.height }, (_, y) =>
      Array.from({ length: this.width }, (_, x) => {
        const at = (y * this.width + x) * this.channels;
        if (!this.hasChannels) return number(shades[at]);
        return Array.from({ length: this.channels }, (_, channel) => number(shades[at + channel]));
      }));
  }

  /** What the model takes as pixels to be shown. */
  pixels(values) {
    const shades = flatten(values);
    const image = new ImageData(this.width, this.height);
    for (let place = 0; place < this.width * this.height; place++) {
      for (let channel = 0; channel < 3; channel++) {
        const value = shades[place * this.channels + (this.channels === 3 ? channel : 0)];
        image.data[place * 4 + channel] = this.shade(value);
      }
      image.data[place * 4 + 3] = 255;
    }
    return image;
  }

  /** Draws what the model takes onto a canvas, one pixel for each of its. */
  show(canvas, values) {
    canvas.width = this.width;
    canvas.height = this.height;
    canvas.getContext("2d").putImageData(this.pixels(values), 0, 0);
  }
}

function extremes(golden) {
  let low = Infinity, high = -Infinity;
  for (const values of golden) for (const value of values) [low, high] = [Math.min(low, value), Math.max(high, value)];
  return [low, high];
}

/**
 * Where shades differ from the background: box and middle in pixels, and the share of pixels; null if nowhere. A line
 * of pixels that is lit by half at the most counts as half a pixel of the box: that is how far ink reached into it.
 */
export function inkOf(shades, { height, width, channels, background }) {
  const rows = new Float64Array(height), columns = new Float64Array(width);
  let mass = 0, down = 0, right = 0, count = 0;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      let weight = 0;
      for (let channel = 0; channel < channels; channel++) {
        weight += Math.abs(shades[(y * width + x) * channels + channel] - background[channel]) / 255 / channels;
      }
      mass += weight;
      down += weight * (y + 0.5);
      right += weight * (x + 0.5);
      if (weight < 0.1) continue;
      count += weight >= 0.2 ? 1 : 0;
      rows[y] = Math.max(rows[y], Math.min(1, weight));
      columns[x] = Math.max(columns[x], Math.min(1, weight));
    }
  }
  if (!count) return null;
  const first = (lines) => {
    const at = lines.findIndex((most) => most > 0);
    return at + 1 - lines[at];
  };
  const last = (lines) => lines.length - first(lines.toReversed());
  return { top: first(rows), bottom: last(rows), left: first(columns), right: last(columns),
    share: count / (height * width), y: down / mass, x: right / mass };
}

/** Averages RGBA pixels of a picture, `scale` times as large, over areas: shades (height * width * channels). */
export function areaAverage(pixels, scale, { height, width, channels }) {
  const shades = new Float64Array(height * width * channels);
  const across = width * scale;
  for (let y = 0; y < height * scale; y++) {
    for (let x = 0; x < across; x++) {
      const from = (y * across + x) * 4;
      const to = (Math.floor(y / scale) * width + Math.floor(x / scale)) * channels;
      const [red, green, blue] = [pixels[from], pixels[from + 1], pixels[from + 2]];
      if (channels === 3) {
        shades[to] += red;
        shades[to + 1] += green;
        shades[to + 2] += blue;
      } else shades[to] += 0.299 * red + 0.587 * green + 0.114 * blue;
    }
  }
  return shades.map((sum) => sum / (scale * scale));
}
