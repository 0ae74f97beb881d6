// Questions to the server: the token of this tab, statements and their rows.

import { Exact } from './dom.js';

const KEY = 'gstore-token';

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? '',
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

export class Failure extends Error {
  constructor(code, message) {
    super(message);
    this.code = code;
  }
}

function headers(more) {
  const all = { ...more };
  if (token.get()) all.authorization = `Bearer ${token.get()}`;
  return all;
}

async function checked(response) {
  if (response.ok) return response;
  let error;
  try {
    ({ error } = await response.json());
  } catch {
    error = { code: 'internal', message: `The server answered with ${response.status}.` };
  }
  if (response.status === 401) document.dispatchEvent(new CustomEvent('signed-out'));
  throw new Failure(error.code, error.message);
}

async function reached(request) {
  try {
    return await request;
  } catch (error) {
    if (error.name === 'AbortError') throw new Failure('cancelled', 'The statement was cancelled.');
    throw new Failure('unavailable', 'The connection to the server broke off, or there is none.');
  }
}

export async function session() {
  return (await checked(await reached(fetch('api/session', { headers: headers() })))).json();
}

function post(body, signal) {
  return reached(fetch('sql', {
    method: 'POST',
    headers: headers({ 'content-type': 'application/json' }),
    body: JSON.stringify(body),
    signal,
    referrerPolicy: 'no-referrer',
  }));
}

// Numbers that JSON would change come as `{"$number": "9007199254740993"}`. The `$` is an escape, as in no name of a column
// or a field; they get another key, which nobody who wrote data knows, so that nothing that is called so becomes a number.
const MARK = '{"\\u0024number":';
const NUMBER = `number ${Math.random()}`;
const exact = (key, value) => (typeof value?.[NUMBER] === 'string' ? new Exact(value[NUMBER]) : value);
const parsed = (text) => (text.includes(MARK) ? JSON.parse(text.replaceAll(MARK, `{"${NUMBER}":`), exact) : JSON.parse(text));

// Rows of a statement: `{ columns, rows, notes, statement, milliseconds }`. `asked` may have parameters, order, skip, limit,
// snapshot, and `onRows`, which hears how many have come.
export async function ask(sql, { signal, onRows, ...asked } = {}) {
  const began = performance.now();
  const response = await checked(await post({ sql, format: 'page', ...asked }, signal));
  const lines = [];
  let head;
  const take = (text) => {
    if (!head) head = JSON.parse(text);
    else lines.push(text);
  };
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  for (;;) {
    const { done, value } = await reached(reader.read());
    rest += done ? decoder.decode() : decoder.decode(value, { stream: true });
    const parts = rest.split('\n');
    rest = parts.pop();
    parts.forEach(take);
    onRows?.(Math.max(0, lines.length - 1));
    if (done) break;
  }
  if (!head || lines.length === 0) throw new Failure('unavailable', 'The answer broke off.');
  const end = JSON.parse(lines.pop());
  if (end.error) throw new Failure(end.error.code, end.error.message);
  if (end.rows !== lines.length) throw new Failure('unavailable', 'The answer broke off.');
  return { ...head, rows: lines.map(parsed), notes: end.notes, milliseconds: performance.now() - began };
}

// The rows alone.
export async function rows(sql, asked) {
  return (await ask(sql, asked)).rows;
}

// A result as a file.
export async function file(sql, format, { signal, ...asked } = {}) {
  const response = await checked(await post({ sql, format, ...asked }, signal));
  return reached(response.blob());
}

export const literal = (text) => `'${String(text).replaceAll("'", "''")}'`;
export const name = (text) => `"${String(text).replaceAll('"', '""')}"`;

// Kinds of vectors that can be compared, of features with `kind`; and the option of `influence()` for one of them.
export const comparable = (features) => [...new Set(features.map((f) => f.kind))].filter((kind) => /^(grad|embed)/.test(kind));
export const ofKind = (kind) => (kind ? `, kind => ${literal(kind)}` : '');
