// Elements, numbers and times as people read them.

// Characters that control, hide or reorder text, as in core/src/markup.rs. Line breaks and tabs lay a text out.
const HIDDEN = /(?!\r\n)[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}]/gu;

// A text with these as escapes, so that it reads as it is.
export function visible(text) {
  return text.replace(HIDDEN, (c) => (c === '\r' ? '\\r' : `\\u{${c.codePointAt(0).toString(16)}}`));
}

// An element: `h('button', { onclick, 'aria-label': 'Run' }, 'Run')`. Text is never read as markup, and what is hidden in it is shown.
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'class') element.className = value;
    else if (name in element && typeof value !== 'string') element[name] = value;
    else element.setAttribute(name, value === true ? '' : name === 'title' || name === 'aria-label' ? visible(value) : value);
  }
  add(element, children);
  return element;
}

export function add(element, children) {
  // What can be edited is sent as it stands there.
  const text = element.tagName === 'TEXTAREA' ? (child) => child : visible;
  for (const child of children.flat(Infinity)) {
    if (child !== undefined && child !== null && child !== false) element.append(typeof child === 'string' ? text(child) : child);
  }
  return element;
}

export function fill(element, ...children) {
  element.replaceChildren();
  return add(element, children);
}

// A word for those who cannot see the page, and a line at its foot for those who can.
let forget;
export function say(text) {
  const said = document.getElementById('said');
  said.textContent = text;
  clearTimeout(forget);
  forget = setTimeout(() => { said.textContent = ''; }, 6000);
}

export const number = new Intl.NumberFormat('en', { maximumFractionDigits: 6 });

// A number that is no number of this language: beyond 2^53, or with more digits than those have. Calculates as the nearest
// that is one, and is shown as it is.
export class Exact {
  constructor(text) { this.text = text; }

  valueOf() { return Number(this.text.replace('inf', 'Infinity')); }

  toString() { return this.text; }

  toJSON() { return this.valueOf(); }
}

// How large a number is; 0 for what has no size to draw.
export function size(given) {
  const value = Number(given ?? 0);
  return Number.isFinite(value) ? Math.abs(value) : 0;
}

const isNumber = (value) => typeof value === 'number' || value instanceof Exact;

export function score(given) {
  if (given === null || given === undefined) return '';
  const value = Number(given);
  if (!Number.isFinite(value)) return String(given);
  return Math.abs(value) >= 1e-3 || value === 0 ? value.toFixed(4) : value.toExponential(2);
}

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i += 1; }
  return `${i === 0 ? n : n.toFixed(1)} ${units[i]}`;
}

export function time(text) {
  const at = new Date(/[zZ]|[+-]\d\d:\d\d$/.test(text) ? text : `${text}Z`);
  return Number.isNaN(at.getTime()) ? String(text) : at.toLocaleString();
}

// A value as one line of a cell, not longer than `most`.
export function shown(value, most = 200) {
  if (value === null || value === undefined) return '';
  const text = typeof value === 'string' ? value : whole(value);
  const line = text.length > most ? `${text.slice(0, most)}…` : text;
  return visible(line).replace(/\s+/g, ' ');
}

// A value with nothing left out or escaped; with an `indent` on lines of its own.
export function whole(value, indent) {
  if (value === null || value === undefined) return '';
  if (typeof value !== 'object' || value instanceof Exact) return String(value);
  // Marked while it is text among others, so that it has no quotes.
  const marked = JSON.stringify(value, function mark(key, plain) { return this[key] instanceof Exact ? `\u0001${this[key]}\u0001` : plain; }, indent);
  return marked.replace(/"\\u0001([^"\\]*)\\u0001"/g, '$1');
}

export function field(label, control, hint) {
  const id = control.id || `f${field.last = (field.last ?? 0) + 1}`;
  control.id = id;
  return h('div', { class: 'field' }, h('label', { for: id }, label), control, hint && h('small', {}, hint));
}

export function select(options, value, attributes) {
  const element = h('select', attributes);
  for (const option of options) {
    const [text, key] = Array.isArray(option) ? option : [option, option];
    element.append(h('option', { value: key, selected: key === value }, text));
  }
  return element;
}

// A small table with a caption; cells may be elements.
export function table(caption, columns, rows) {
  const numeric = (i) => rows.length > 0 && rows.every((row) => isNumber(row[i]) || row[i] === null);
  return h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption },
    h('table', {}, h('caption', {}, caption),
      h('thead', {}, h('tr', {}, columns.map((name, i) => h('th', { scope: 'col', class: numeric(i) ? 'n' : undefined }, name)))),
      h('tbody', {}, rows.map((row) => h('tr', {}, row.map((cell) =>
        h('td', { class: isNumber(cell) ? 'n' : undefined },
          typeof cell === 'number' ? number.format(cell) : cell instanceof Exact ? String(cell) : cell ?? '')))))));
}

// Text that is cut, with a button for the rest.
export function cut(text, most = 600) {
  if (text.length <= most) return h('div', { class: 'text' }, text);
  const body = h('div', { class: 'text' }, `${text.slice(0, most)}…`);
  const more = h('button', { type: 'button', class: 'link', 'aria-expanded': 'false', onclick: () => {
    const open = more.getAttribute('aria-expanded') === 'true';
    fill(body, open ? `${text.slice(0, most)}…` : text);
    more.setAttribute('aria-expanded', String(!open));
    more.textContent = open ? all : 'Show less';
  } });
  const all = `Show all ${number.format(text.length)} characters`;
  more.textContent = all;
  return h('div', {}, body, more);
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h('textarea', { class: 'off', 'aria-hidden': 'true' });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand('copy');
    area.remove();
  }
  say('Copied.');
}
