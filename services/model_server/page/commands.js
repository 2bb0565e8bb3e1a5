// The curl line of each dialect for exactly the sample that is shown.

import { byId, el } from "./dom.js";
import { key } from "./server.js";

const NAMES = { own: "Regatta", serving: "TF Serving", mlflow: "MLflow", open: "Open Inference (V2)" };
const MOST_SHOWN = 6000; // characters; what is copied is whole
const DATATYPES = { float32: "FP32", float64: "FP64", int64: "INT64", int32: "INT32", uint8: "UINT8" };

/** The bodies by dialect: [path, body]. */
function requests(model, subject) {
  const name = encodeURIComponent(model.name);
  const { inputs } = subject;
  const table = model.columns.length > 0;
  return {
    own: [`predict/${name}`, { inputs, top_k: 3 }],
    serving: [`v1/models/${name}:predict`, { instances: [inputs] }],
    mlflow: [`invocations?model=${name}`, table
      ? { dataframe_split: { columns: model.columns.map((column) => column.name), data: [inputs] } }
      : { inputs: [inputs] }],
    open: [`v2/models/${name}/infer`, { inputs: tensors(model, inputs) }],
  };
}

function tensors(model, inputs) {
  const { name, dtype } = model.input;
  if (dtype !== "string") {
    const sizes = [];
    for (let level = inputs; Array.isArray(level); level = level[0]) sizes.push(level.length);
    return [{ name, shape: [1, ...sizes], datatype: DATATYPES[dtype], data: [inputs].flat(Infinity) }];
  }
  return model.columns.map((column, place) => ({
    name: column.name, shape: [1], datatype: column.type === "number" ? "FP32" : "BYTES", data: [inputs[place]],
  }));
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** One line for a POSIX shell. */
function line(path, ...parts) {
  const url = new URL(path, new URL(".", location.href));
  const guard = key.get() ? ['-H "x-api-key: $MODEL_SERVER_API_KEY"'] : [];
  return ["curl -s", quoted(url.href), ...guard, ...parts].join(" ");
}

/** The command of a dialect. */
export function command(dialect, model, subject) {
  if (dialect === "own" && subject.file) {
    const path = `predict/${encodeURIComponent(model.name)}?${new URLSearchParams(subject.wishes)}`;
    return line(path, `-H 'content-type: ${subject.file.type}'`, `--data-binary ${quoted(`@${subject.origin}`)}`);
  }
  const [path, body] = requests(model, subject)[dialect];
  return line(path, "-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(body))}`);
}

export class Commands {
  #dialect = "own";
  #subject = { empty: true };
  #frame = 0;

  constructor(model) {
    this.model = model;
    this.tabs = Object.entries(NAMES).map(([dialect, name]) =>
      el("button", { type: "button", role: "tab", id: `tab-${dialect}`, text: name, "aria-controls": "command",
        onclick: () => this.#choose(dialect) }));
    const tabs = el("div", { class: "tabs", role: "tablist", "aria-label": "Dialect",
      onkeydown: (event) => this.#move(event) }, ...this.tabs);
    this.text = el("code");
    this.copy = el("button", { type: "button", text: "Copy", onclick: () => this.#copy() });
    this.panel = el("div", { class: "command", id: "command", role: "tabpanel" },
      el("pre", { tabIndex: 0, "aria-label": "Command" }, this.text), this.copy);
    byId("commands-body").replaceChildren(tabs, this.panel);
    this.#choose(this.#dialect);
  }

  follow(subject) {
    this.#subject = subject;
    this.#show();
  }

  as(model) {
    this.model = model;
    this.#show();
  }

  #choose(dialect) {
    this.#dialect = dialect;
    for (const tab of this.tabs) {
      const chosen = tab.id === `tab-${dialect}`;
      tab.setAttribute("aria-selected", String(chosen));
      tab.tabIndex = chosen ? 0 : -1;
    }
    this.panel.setAttribute("aria-labelledby", `tab-${dialect}`);
    this.#show();
  }

  #move(event) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    event.preventDefault();
    const dialects = Object.keys(NAMES);
    const place = (dialects.indexOf(this.#dialect) + way + dialects.length) % dialects.length;
    this.#choose(dialects[place]);
    this.tabs[place].focus();
  }

  #show() {
    const { empty } = this.#subject;
    this.copy.hidden = Boolean(empty);
    cancelAnimationFrame(this.#frame); // once for what is seen, however often a pen moves
    this.#frame = requestAnimationFrame(() => {
      const text = empty ? "Draw, fill in or choose something first." : this.#command;
      this.text.textContent = text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN)}…` : text;
    });
  }

  get #command() {
    return command(this.#dialect, this.model, this.#subject);
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#command);
    } catch { // no secure context: select it, so that it can be copied by hand
      getSelection().selectAllChildren(this.text);
      this.copy.textContent = "Selected";
      return;
    }
    this.copy.textContent = "Copied";
    setTimeout(() => { this.copy.textContent = "Copy"; }, 1600);
  }
}
