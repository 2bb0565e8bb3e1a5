// Small helpers around the document. Text is always set as text, never parsed as HTML: labels and messages come from
// models and servers that this page does not know.

/** Makes an element: properties (class, text, on…, data and aria attributes) and children. */
export function el(name, properties = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "class") element.className = value;
    else if (key === "text") element.textContent = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.includes("-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Finds an element of index.html. */
export const byId = (id) => document.getElementById(id);

/** Says a probability: 0.9731 as 97.3 %, and never 100 % of what is not certain. */
export function percent(share) {
  if (!Number.isFinite(share)) return "not a number";
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  if (share < 1 && share >= 0.9995) return "> 99.9 %";
  return `${(100 * share).toFixed(1)} %`;
}

/** Says a number with four digits that count. */
export function number(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "not a number";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e7 || size < 1e-4) return value.toExponential(2);
  return String(Number(value.toPrecision(size >= 1000 ? Math.ceil(Math.log10(size + 1)) : 4)));
}

/** Says milliseconds. */
export const milliseconds = (ms) => `${ms < 10 ? ms.toFixed(2) : ms < 100 ? ms.toFixed(1) : Math.round(ms)} ms`;

/** Says how long something has been so. */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

/** Says a time, with its date where that is not today. */
export function moment(text) {
  const time = new Date(text), clock = { hour: "2-digit", minute: "2-digit" };
  if (time.toDateString() === new Date().toDateString()) return time.toLocaleTimeString([], clock);
  return time.toLocaleString([], { year: "numeric", month: "short", day: "numeric", ...clock });
}

/** The colour scheme's value of a style sheet variable. */
export const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
