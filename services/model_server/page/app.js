// The page: follows GET /models, shows the chosen model, and passes on what is asked. What goes away comes back by
// itself.

import { Answers } from "./answer.js";
import { Commands } from "./commands.js";
import { byId, duration, el, moment } from "./dom.js";
import { Frame, kindOf } from "./frame.js";
import { showGallery } from "./gallery.js";
import { Mattered } from "./heat.js";
import { ImageInput } from "./image.js";
import { PlaneInput } from "./plane.js";
import { RowInput, ValuesInput } from "./row.js";
import { address, Away, call, key, NeedsKey, Refused } from "./server.js";

const LOOK_EVERY_MS = 1500;
const MOST_NUMBERS = 200000; // of golden samples that are fetched
const MOST_VERSIONS = 3;

let wanted = named();
let shown = null; // {model, samples, frame, input, mattered, commands}
let said = ""; // what a picture was refused for, until the next change
let away = false; // whether the last look at the server failed
let hurry = false;
let goOn = () => {};
const answers = new Answers();

/** The model that the address names behind its #; nothing if that cannot be read. */
function named() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

/** Whether two versions take the same, so that what was drawn can stay. */
const sameForm = (one, other) => JSON.stringify([one.name, one.input, one.columns, one.task, one.labels]) ===
  JSON.stringify([other.name, other.input, other.columns, other.task, other.labels]);

// ----------------------------------------------------------------------------------------------------------- following

async function follow() {
  for (;;) {
    try {
      const { json } = await call("models");
      await arrived(json);
      if (away) ask(); // what was asked meanwhile has no answer yet
      away = false;
    } catch (error) {
      failed(error);
    }
    if (!hurry) {
      await new Promise((resolve) => {
        goOn = resolve;
        if (!document.hidden) setTimeout(resolve, LOOK_EVERY_MS); // a hidden page asks nothing
      });
    }
    hurry = false;
  }
}

/** Looks at the server now, or as soon as the look that is under way has ended. */
function look() {
  hurry = true;
  goOn();
}

function failed(error) {
  away = true;
  if (error instanceof NeedsKey) {
    state("wrong", "waits for a key");
    notice("");
    askForKey();
  } else if (error instanceof Away) {
    state("wrong", "server away");
    notice(`${error.message} This page tries again by itself.`);
  } else if (!(error instanceof Refused)) throw error; // refused: a version went away between two questions
}

async function arrived({ models, registry }) {
  const names = [...new Set(models.map((model) => model.name))];
  const serving = models.filter((model) => model.version !== null);
  const name = names.includes(wanted) ? wanted : (serving[0]?.name ?? names[0]);
  choices(names, name);
  const own = serving.filter((model) => model.name === name);
  if (!own.length) {
    byId("main").hidden = true;
    shown = null;
    state("wrong", "no model answers");
    notice(whyNone(models, name, registry));
    return;
  }
  const others = own.slice(1).filter((model, place, all) => model.version !== own[0].version &&
    all.findIndex((twin) => twin.version === model.version) === place && sameForm(model, own[0]));
  await show([own[0], ...others].slice(0, MOST_VERSIONS));
  state("up", own[0]);
  notice(troubles(models.filter((model) => model.name === name), own[0], registry));
}

function whyNone(models, name, registry) {
  const model = models.find((one) => one.name === name);
  if (!model) {
    if (registry.reachable === null) return "The server has just started and has not heard from the registry yet.";
    return registry.reachable === false
      ? `No model is here, and the registry ${registry.uri} does not answer. This page looks again by itself.`
      : "No model is served yet. Promote one with “python -m pipelines promote”; it appears here by itself.";
  }
  const { rejected } = model;
  if (rejected) return `${model.wanted}: version ${rejected.version} was refused. ${rejected.reason}.`;
  if (model.loading) return `${model.wanted}: version ${model.loading} is loading.`;
  return `${model.wanted} does not answer yet: ${model.note || model.state.toLowerCase()}.`;
}

function troubles(slots, model, registry) {
  const sentences = model.note ? [`${model.note[0].toUpperCase()}${model.note.slice(1)}.`] : [];
  for (const { rejected } of slots) {
    if (rejected && rejected.version !== model.version) sentences.push(
      `Version ${rejected.version} was refused, so version ${model.version} goes on answering. ${rejected.reason}.`);
  }
  if (registry.reachable === false) {
    const { staleness_s: stale } = model;
    const since = stale === null ? "" : ` It last confirmed this version ${duration(stale)} ago.`;
    sentences.push(`The registry does not answer; the models here go on answering.${since}`);
  }
  return [...new Set([...sentences, said].filter(Boolean))].join(" ");
}

// ------------------------------------------------------------------------------------------------------------- showing

function state(kind, what) {
  const line = byId("state");
  line.className = `state ${kind}`;
  if (typeof what === "string") line.textContent = what;
  else {
    const since = what.champion_since ? `since ${moment(what.champion_since)}` : `loaded ${moment(what.loaded_at)}`;
    line.replaceChildren(el("span", {}, "version ", el("b", { text: what.version })),
      `${what.alias ?? "pinned"}, ${since}`);
  }
}

function notice(text) {
  const line = byId("notice");
  if (line.textContent !== text) line.textContent = text;
  line.hidden = !text;
}

function choices(names, chosen) {
  const select = byId("models");
  if ([...select.options].map((option) => option.value).join("\n") !== names.join("\n")) {
    select.replaceChildren(...names.map((name) => el("option", { value: name, text: name })));
  }
  if (chosen !== undefined) select.value = chosen;
  byId("chooser").hidden = names.length === 0;
  document.title = chosen ? `${chosen} · Regatta` : "Regatta";
}

async function show(versions) {
  const [model] = versions;
  const id = JSON.stringify(versions.map((one) => [one.name, one.version, one.digest, one.alias]));
  if (shown?.id === id) return;
  const size = Math.max(1, model.input.shape.slice(1).reduce((total, length) => total * (length ?? 1), 1));
  const count = Math.max(4, Math.min(96, Math.floor(MOST_NUMBERS / size)));
  const { json, version } = await call(address("models/NAME/samples", model, { count }));
  if (version !== model.version) return; // it was replaced just now; the next look shows the new one
  const samples = json.samples;
  const keep = shown && sameForm(shown.model, model);
  if (!keep) build(model, samples);
  shown = { ...shown, id, model, samples };
  shown.mattered.as(model);
  shown.commands.as(model);
  showGallery(model, samples, shown.frame, choose);
  answers.versions(versions, samples);
  shown.input.versions?.(versions);
  byId("main").hidden = false;
  foot(model);
  if (!keep && shown.kind !== "image") choose(samples[0]);
  else ask();
}

function build(model, samples) {
  const kind = kindOf(model);
  const frame = kind === "image" ? new Frame(model, samples) : null;
  const makers = {
    image: () => new ImageInput(frame, ask, tell),
    plane: () => new PlaneInput(model, samples, ask),
    row: () => new RowInput(model, samples, ask),
    values: () => new ValuesInput(model, ask),
  };
  shown = { kind, frame, input: makers[kind](), mattered: new Mattered(model, frame), commands: new Commands(model) };
  byId("input-title").textContent = { image: "Draw", plane: "A point", row: "A row", values: "Values" }[kind];
  byId("input-body").replaceChildren(shown.input.element);
}

function foot(model) {
  const scores = Object.entries(model.metrics).map(([name, value]) => `${name} ${Number(value.toPrecision(4))}`);
  const from = [`MLflow run ${model.run_id}`, `digest ${model.digest.slice(0, 19)}…`, ...scores];
  byId("foot").hidden = false;
  byId("foot").textContent = `${model.name} version ${model.version}: ${from.join(" · ")}`;
}

// -------------------------------------------------------------------------------------------------------------- asking

function ask() {
  if (!shown?.input) return;
  said = "";
  const { subject } = shown.input;
  answers.ask(subject);
  shown.mattered.follow(subject);
  shown.commands.follow(subject);
}

function choose(sample) {
  shown.input.choose(sample);
  if (shown.kind !== "image") ask(); // the pad says so itself
}

function tell(sentence) {
  said = sentence;
  notice(sentence);
}

function askForKey() {
  const dialog = byId("key");
  if (dialog.open) return;
  byId("key-wrong").hidden = !key.get();
  dialog.showModal();
}

byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  key.set(byId("key-text").value.trim());
  byId("key-text").value = "";
  byId("key").close();
  look();
});
byId("models").addEventListener("change", () => {
  wanted = byId("models").value;
  history.replaceState(null, "", `#${encodeURIComponent(wanted)}`);
  look();
});
addEventListener("hashchange", () => {
  wanted = named();
  look();
});
document.addEventListener("key", askForKey);
document.addEventListener("visibilitychange", look);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => shown?.input.repaint?.());

// Pictures may be dropped or pasted anywhere on the page.
const takesPictures = () => shown?.kind === "image";
const isFile = (event) => event.dataTransfer?.types.includes("Files");
document.addEventListener("dragover", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  document.body.classList.toggle("dropping", takesPictures());
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  if (!isFile(event)) return;
  event.preventDefault();
  document.body.classList.remove("dropping");
  if (takesPictures()) shown.input.take(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const picture = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (picture && takesPictures()) shown.input.take(picture);
});

follow();
