// How the page talks to its server: the key, the errors, the times. All addresses are relative to the page, so that it
// works behind a proxy that puts it below another path.

const KEY = "regatta-api-key";
const PATIENCE_MS = 15000;

/** Nobody answers: the server is stopped, or the network is away. */
export class Away extends Error {}

/** The server wants an API key, or another one. */
export class NeedsKey extends Error {}

/** The server answered, and did not do it. */
export class Refused extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
};

/**
 * Sends one request. Returns {json, ms, infer, total, version}: the answer, and in milliseconds how long it took from
 * here, in the model and in the server.
 */
export async function call(path, body = undefined, type = "application/json") {
  const headers = {};
  if (key.get()) headers["x-api-key"] = key.get();
  if (body !== undefined) headers["content-type"] = type;
  const start = performance.now();
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST", headers, body, cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  } catch {
    throw new Away("The server does not answer.");
  }
  const json = await response.json().catch(() => null);
  const ms = performance.now() - start;
  if (response.status === 401) throw new NeedsKey("The server asks for an API key.");
  if (!response.ok) throw new Refused(json?.error ?? `The server answers ${response.status}.`, response.status);
  if (json === null) throw new Away("The answer broke off.");
  const timing = response.headers.get("server-timing") ?? "";
  const part = (name) => Number(timing.match(new RegExp(`${name};dur=([0-9.]+)`))?.[1] ?? NaN);
  return { json, ms, infer: part("infer"), total: part("total"), version: response.headers.get("x-model-version") };
}

/** Where a version of a model is asked: ?alias= or ?version= after the address. */
export function address(verb, model, more = {}) {
  const query = new URLSearchParams(more);
  if (model.alias) query.set("alias", model.alias);
  else query.set("version", model.version);
  return `${verb.replace("NAME", encodeURIComponent(model.name))}?${query}`;
}

/**
 * Does work for the newest request only. While one is under way, the newest of those that come waits and the others are
 * dropped: the page is as live as the server is quick, and never queues.
 */
export class Latest {
  #work;
  #busy = false;
  #next = null;

  constructor(work) {
    this.#work = work;
  }

  ask(...request) {
    this.#next = request;
    if (!this.#busy) this.#run();
  }

  drop() {
    this.#next = null;
  }

  async #run() {
    this.#busy = true;
    try {
      while (this.#next) {
        const request = this.#next;
        this.#next = null;
        await this.#work(...request);
      }
    } finally {
      this.#busy = false;
    }
  }
}
