// The text of a statement: a text area with completion from the store's own names.

import { fill, h } from './dom.js';
import { rows } from './client.js';

const WORDS = ('SELECT FROM WHERE ORDER BY GROUP HAVING LIMIT OFFSET JOIN LEFT USING ON AS AND OR NOT IN LIKE BETWEEN IS NULL DESC ASC DISTINCT '
  + 'UNION ALL WITH CASE WHEN THEN ELSE END OVER PARTITION EXPLAIN ANALYZE DESCRIBE SHOW TABLES').split(' ');
const FUNCTIONS = ['influence', 'daunce', 'self_influence', 'excluded', 'nearest', 'predicted', 'vectors'];
const OPTIONS = ('method ensemble signal score center ddof groups min_models checkpoints weights run sim within across fold modules precondition damping inversion filter stale by kind pool_kind target_kind features missing partial per_token prompt completion '
  + 'messages text raw exclude_target in_target mode miss tolerance certified explain quota quota_by distinct each order round_robin where k id vector checkpoint ef exact').split(' ');

// What can be completed: name, what it is, and what is put in.
let known;
async function names(signal) {
  known ??= (async () => {
    const found = new Map();
    const put = (name, kind, text = name) => { if (!found.has(text)) found.set(text, { name, kind, text }); };
    const plain = (name) => (/^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`);
    FUNCTIONS.forEach((name) => put(name, 'table function', `${name}(`));
    const [tables, columns, routines] = await Promise.all([
      rows("SELECT table_schema AS s, table_name AS t, CASE table_type WHEN 'VIEW' THEN 'view' ELSE 'table' END AS k FROM information_schema.tables WHERE table_schema <> 'information_schema' LIMIT 2000", { signal }),
      rows('SELECT DISTINCT column_name AS c FROM information_schema.columns LIMIT 4000', { signal }),
      rows('SELECT DISTINCT routine_name AS f FROM information_schema.routines LIMIT 2000', { signal }).catch(() => []),
    ]);
    tables.forEach(({ s, t, k }) => put(s === 'gstore' ? `gstore.${t}` : t, k, s === 'gstore' ? `gstore.${t}` : plain(t)));
    ['score', 'subtask', 'stderr', 'noise_floor', 'ignored', 'checkpoint_scores', 'target_id', 'similarity'].forEach((c) => put(c, 'column'));
    columns.forEach(({ c }) => put(c, 'column', plain(c)));
    OPTIONS.forEach((name) => put(name, 'option', `${name} => `));
    WORDS.forEach((word) => put(word, 'keyword'));
    routines.forEach(({ f }) => put(f, 'function', `${f}(`));
    return [...found.values()];
  })();
  known.catch(() => { known = undefined; });
  return known;
}

// The word before the caret, also one with a point in it.
function wordAt(area) {
  const before = area.value.slice(0, area.selectionStart);
  return /[A-Za-z_][\w.]*$/.exec(before)?.[0] ?? '';
}

// Those that begin with the word, then those that have it inside.
function fitting(all, word) {
  const low = word.toLowerCase();
  const starts = all.filter((one) => one.name.toLowerCase().startsWith(low));
  const inside = low.length < 2 ? [] : all.filter((one) => !one.name.toLowerCase().startsWith(low) && one.name.toLowerCase().includes(low));
  return [...starts, ...inside].slice(0, 12);
}

export class Editor {
  constructor(text, { onRun, signal }) {
    this.signal = signal;
    this.area = h('textarea', {
      id: 'sql', spellcheck: 'false', autocomplete: 'off', autocapitalize: 'off', wrap: 'off', rows: '8', 'aria-label': 'SQL statement',
      role: 'combobox', 'aria-autocomplete': 'list', 'aria-expanded': 'false', 'aria-controls': 'completions', 'aria-haspopup': 'listbox',
      oninput: () => this.offer(false), onkeydown: (event) => this.key(event), onblur: () => this.close(), onscroll: () => this.close(),
    });
    this.area.value = text;
    this.list = h('ul', { id: 'completions', role: 'listbox', 'aria-label': 'Completions', hidden: true });
    this.element = h('div', { class: 'editor' }, this.area, this.list);
    this.onRun = onRun;
    this.offered = [];
    this.at = 0;
    names(signal).catch(() => {});
  }

  get text() { return this.area.value; }

  set text(value) {
    this.area.value = value;
    this.close();
  }

  async offer(always) {
    const word = wordAt(this.area);
    if (!word && !always) return this.close();
    const place = this.area.selectionStart;
    const all = await names(this.signal).catch(() => []);
    if (this.area.selectionStart !== place) return undefined;
    this.offered = fitting(all, word).filter((one) => always || one.text !== word);
    if (this.offered.length === 0) return this.close();
    this.at = 0;
    fill(this.list, this.offered.map((one, i) => h('li', {
      id: `completion-${i}`, role: 'option', 'aria-selected': String(i === 0),
      onmousedown: (event) => { event.preventDefault(); this.at = i; this.take(); },
    }, h('span', {}, one.name), h('small', {}, one.kind))));
    this.list.hidden = false;
    this.area.setAttribute('aria-expanded', 'true');
    this.mark();
    return this.beside(word);
  }

  // Puts the list under the word. Letters are of one width here.
  beside(word) {
    const before = this.area.value.slice(0, this.area.selectionStart - word.length).split('\n');
    const style = getComputedStyle(this.area);
    Editor.pen ??= document.createElement('canvas').getContext('2d');
    Editor.pen.font = `${style.fontSize} ${style.fontFamily}`;
    const width = Editor.pen.measureText('m').width;
    const x = parseFloat(style.paddingLeft) + before.at(-1).length * width - this.area.scrollLeft;
    const y = parseFloat(style.paddingTop) + before.length * parseFloat(style.lineHeight) - this.area.scrollTop;
    this.list.style.left = `${Math.max(0, Math.min(x, this.area.clientWidth - 260))}px`;
    this.list.style.top = `${y + 4}px`;
  }

  mark() {
    [...this.list.children].forEach((item, i) => item.setAttribute('aria-selected', String(i === this.at)));
    this.list.children[this.at]?.scrollIntoView({ block: 'nearest' });
    this.area.setAttribute('aria-activedescendant', `completion-${this.at}`);
  }

  take() {
    const one = this.offered[this.at];
    const end = this.area.selectionStart;
    const word = wordAt(this.area);
    this.area.setRangeText(one.text, end - word.length, end, 'end');
    this.close();
    this.area.focus();
  }

  close() {
    this.list.hidden = true;
    this.area.setAttribute('aria-expanded', 'false');
    this.area.removeAttribute('aria-activedescendant');
  }

  key(event) {
    const open = !this.list.hidden;
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.close();
      this.onRun();
    } else if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault();
      this.offer(true);
    } else if (open && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      event.preventDefault();
      const step = event.key === 'ArrowDown' ? 1 : -1;
      this.at = (this.at + step + this.offered.length) % this.offered.length;
      this.mark();
    } else if (open && (event.key === 'Tab' || event.key === 'Enter')) {
      event.preventDefault();
      this.take();
    } else if (open && event.key === 'Escape') {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    }
  }

  // Marks a place that an error names, counted from 1.
  point(line, column) {
    const lines = this.area.value.split('\n');
    const from = lines.slice(0, line - 1).reduce((n, text) => n + text.length + 1, 0) + column - 1;
    const word = /^("[^"]*"|'[^']*'|[\w.]+|.)/.exec(this.area.value.slice(from))?.[0] ?? '';
    this.area.focus();
    this.area.setSelectionRange(from, from + word.length);
  }
}
