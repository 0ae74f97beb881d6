// Statements: written, run, their rows a page at a time, and as files.

import { copy, cut, fill, h, number, say, select, whole } from './dom.js';
import { ask, file } from './client.js';
import { Editor } from './editor.js';
import { Grid } from './grid.js';
import { recordOf } from './why.js';

const PAGE = 1000;
const HISTORY = 'gstore-history';
const EXAMPLES = [
  ['Tables', 'SHOW TABLES'],
  ['Datasets and their sizes', 'SELECT dataset, rows, bytes FROM gstore.datasets ORDER BY bytes DESC'],
  ['Features that lack rows', "SELECT label, dataset, state, missing FROM gstore.features WHERE state <> 'complete'"],
  ['The best 100 rows for a target', "SELECT id, score, record\nFROM influence('POOL', 'TARGET')\nORDER BY score DESC\nLIMIT 100"],
  ['Opponents', "SELECT id, score, record\nFROM influence('POOL', 'TARGET')\nWHERE score < 0\nORDER BY score\nLIMIT 20"],
  ['Rows whose influence exceeds the noise', "SELECT id, score, stderr, noise_floor, target_id\nFROM influence('POOL', 'TARGET', explain => true, k => 100)\nWHERE score > 4 * noise_floor"],
  ['Which rows made the model answer that', "SELECT score, in_target, record\nFROM influence('POOL', prompt => 'What is 7*8?', completion => '56')\nORDER BY score DESC\nLIMIT 10"],
  ['Rows most like a text', "SELECT id, similarity, record\nFROM nearest('POOL', text => 'Is 7 odd?')\nLIMIT 10"],
  ['Rows that are left out', "SELECT reason, count(*) AS n\nFROM excluded('POOL', 'TARGET')\nGROUP BY reason"],
  ['A million numbers', 'SELECT n, n % 97 AS rest FROM generate_series(1, 1000000) AS t(n)'],
  ['What runs on the server', "SELECT id, token, statement, state, rows\nFROM gstore.statements\nWHERE state <> 'ended'"],
];

const history = {
  all() {
    try { return JSON.parse(localStorage.getItem(HISTORY) ?? '[]'); } catch { return []; }
  },
  add(sql) {
    const kept = [sql, ...history.all().filter((one) => one !== sql)].slice(0, 50);
    try { localStorage.setItem(HISTORY, JSON.stringify(kept)); } catch { /* a full or forbidden storage keeps none */ }
  },
};

// The order that a link has; none where somebody has changed it into something else.
function orderOf(text) {
  try {
    const order = JSON.parse(text ?? '[]');
    return Array.isArray(order) ? order.filter((one) => Number.isInteger(one?.column)) : [];
  } catch {
    return [];
  }
}

class View {
  constructor(main, parameters, signal) {
    this.signal = signal;
    this.page = 0;
    this.order = [];
    this.total = undefined;
    this.editor = new Editor(parameters.get('sql') ?? '', { onRun: () => this.fresh(), signal });
    this.grid = new Grid({ onSort: (column) => this.sort(column), onOpen: (row, column) => this.open(row, column) });
    this.runButton = h('button', { type: 'button', class: 'first', title: 'Ctrl+Enter', onclick: () => this.fresh() }, 'Run');
    this.cancelButton = h('button', { type: 'button', disabled: true, title: 'Esc', onclick: () => this.cancel() }, 'Cancel');
    this.state = h('p', { class: 'state-line', role: 'status' });
    this.error = h('pre', { class: 'error', role: 'alert', hidden: true });
    this.notes = h('ul', { class: 'notes' });
    this.detail = h('aside', { class: 'detail', 'aria-label': 'Row', hidden: true, tabindex: '-1' });
    this.pager = h('div', { class: 'pager', hidden: true });
    const pick = (label, options, take) => select([[label, ''], ...options], '', { 'aria-label': label, onchange: (event) => {
      if (event.target.value) take(event.target.value);
      event.target.value = '';
      this.editor.area.focus();
    } });
    this.historyPick = h('span');
    fill(main, h('h2', { class: 'off' }, 'SQL'), this.editor.element,
      h('div', { class: 'bar' }, this.runButton, this.cancelButton,
        pick('Examples', EXAMPLES.map(([name], i) => [name, String(i)]), (i) => { this.example(Number(i)); }),
        this.historyPick,
        pick('Download', [['CSV', 'csv'], ['Parquet', 'parquet'], ['Arrow', 'arrow'], ['JSON lines', 'json'], ['The statement', 'sql']], (format) => this.download(format)),
        h('button', { type: 'button', onclick: () => this.share() }, 'Copy link')),
      this.state, this.error, this.notes,
      this.results = h('div', { class: 'result', hidden: true }, this.grid.element, this.detail), this.pager);
    this.pick = pick;
    this.listHistory();
    main.onkeydown = (event) => { if (event.key === 'Escape') this.escape(); };
    signal.addEventListener('abort', () => { this.cancel(); this.grid.watch.disconnect(); main.onkeydown = null; });
    if (parameters.get('sql')) {
      this.order = orderOf(parameters.get('order'));
      this.page = Math.max(0, Math.trunc(Number(parameters.get('page'))) || 0);
      this.run();
    } else this.editor.area.focus();
  }

  listHistory() {
    const all = history.all();
    fill(this.historyPick, this.pick('History', all.map((sql, i) => [sql.replace(/\s+/g, ' ').slice(0, 80), String(i)]), (i) => { this.editor.text = all[i]; }));
  }

  // Fills in names of this store.
  async example(i) {
    let sql = EXAMPLES[i][1];
    if (/POOL|TARGET/.test(sql)) {
      const found = await ask("SELECT dataset, min(kind) AS kind, max(bytes) AS bytes FROM gstore.features GROUP BY dataset ORDER BY bytes DESC LIMIT 20", { signal: this.signal });
      const names = found.rows.map((row) => row.dataset.replaceAll("'", "''"));
      sql = sql.replaceAll('POOL', names[0] ?? 'pool').replaceAll('TARGET', names[1] ?? names[0] ?? 'target');
    }
    this.editor.text = sql;
  }

  statement() { return this.editor.text.replace(/[\s;]+$/, ''); }

  fresh() {
    this.page = 0;
    this.order = [];
    this.total = undefined;
    this.run();
  }

  asked() { return { order: this.order, skip: this.page * PAGE, limit: PAGE, signal: this.abort?.signal }; }

  async run() {
    const sql = this.statement();
    if (!sql) return;
    this.cancel();
    const abort = new AbortController();
    this.abort = abort;
    this.ran = sql;
    history.add(sql);
    this.listHistory();
    this.keep();
    this.busy(true);
    this.error.hidden = true;
    this.close();
    const began = performance.now();
    const tick = setInterval(() => { this.state.textContent = `Running, ${((performance.now() - began) / 1000).toFixed(1)} s…`; }, 200);
    try {
      this.result = await ask(sql, this.asked());
      this.shown();
    } catch (error) {
      if (this.abort === abort) this.failed(error);
    } finally {
      clearInterval(tick);
      if (this.abort === abort) this.busy(false);
    }
  }

  shown() {
    const { columns, rows, milliseconds, notes } = this.result;
    // A page behind the last one does not tell how many rows there are.
    if (rows.length < PAGE && (rows.length > 0 || this.page === 0)) this.total = this.page * PAGE + rows.length;
    this.results.hidden = false;
    this.grid.show({ columns, rows, order: this.order });
    this.state.textContent = `${number.format(rows.length)} ${rows.length === 1 ? 'row' : 'rows'} in ${(milliseconds / 1000).toFixed(2)} s`;
    const told = (notes?.influence ?? []).flatMap((note) => note.resolution);
    fill(this.notes, told.map((text) => h('li', {}, text)));
    this.pages();
  }

  failed(error) {
    this.state.textContent = error.code === 'cancelled' ? 'Cancelled.' : 'Failed.';
    if (error.code === 'cancelled') return;
    // Rows of another statement would be taken for those of this one.
    this.results.hidden = true;
    this.pager.hidden = true;
    fill(this.error, error.message);
    this.error.hidden = false;
    const place = /\(line (\d+), column (\d+)\)/.exec(error.message);
    if (place) this.editor.point(Number(place[1]), Number(place[2]));
  }

  pages() {
    const { rows } = this.result;
    const first = this.page * PAGE;
    const last = this.total === undefined ? undefined : Math.max(0, Math.ceil(this.total / PAGE) - 1);
    this.pager.hidden = rows.length < PAGE && this.page === 0;
    const go = (page) => { this.page = Math.max(0, last === undefined ? page : Math.min(last, page)); this.run(); };
    const at = h('input', { type: 'number', min: '1', value: String(this.page + 1), 'aria-label': 'Page', onchange: (event) => go(Number(event.target.value) - 1) });
    const range = rows.length === 0 ? 'no rows' : `rows ${number.format(first + 1)} to ${number.format(first + rows.length)}`;
    fill(this.pager,
      h('button', { type: 'button', disabled: this.page === 0, onclick: () => go(0) }, 'First'),
      h('button', { type: 'button', disabled: this.page === 0, onclick: () => go(this.page - 1) }, 'Previous'),
      h('label', {}, 'Page ', at), h('span', {}, last === undefined ? '' : `of ${number.format(last + 1)}`),
      h('button', { type: 'button', disabled: rows.length < PAGE || this.page === last, onclick: () => go(this.page + 1) }, 'Next'),
      h('button', { type: 'button', disabled: last === undefined || this.page === last, onclick: () => go(last) }, 'Last'),
      h('span', { class: 'quiet' }, this.total === undefined ? range : `${range} of ${number.format(this.total)}`),
      this.total === undefined && h('button', { type: 'button', class: 'link', onclick: () => this.count() }, 'Count the rows'));
  }

  async count() {
    say('Counting…');
    this.counting = new AbortController();
    try {
      const counted = await ask(`SELECT count(*) AS n FROM (\n${this.ran}\n) AS counted`, { signal: this.counting.signal });
      this.total = counted.rows[0].n;
      this.pages();
      say(`${number.format(this.total)} rows.`);
    } catch (error) {
      say(`The rows cannot be counted: ${error.message}`);
    }
  }

  // Upwards, downwards, as the statement has it.
  sort(column) {
    const now = this.order.find((one) => one.column === column);
    this.order = !now ? [{ column, descending: false }] : now.descending ? [] : [{ column, descending: true }];
    this.page = 0;
    this.run();
  }

  busy(on) {
    this.runButton.disabled = on;
    this.cancelButton.disabled = !on;
    this.grid.element.setAttribute('aria-busy', String(on));
  }

  cancel() {
    this.abort?.abort();
    this.counting?.abort();
  }

  escape() {
    if (!this.detail.hidden) this.close();
    else this.cancel();
  }

  link() {
    const parameters = new URLSearchParams({ sql: this.statement() });
    if (this.order.length) parameters.set('order', JSON.stringify(this.order));
    if (this.page) parameters.set('page', String(this.page));
    return `#/query?${parameters}`;
  }

  // The address bar has the statement; no entry of the browser's history for each run.
  keep() { window.history.replaceState(null, '', this.link()); }

  async share() {
    this.keep();
    await copy(location.href);
    say('The link is copied; it has the statement, not the rows.');
  }

  async download(format) {
    const sql = this.statement();
    if (!sql) return;
    say('Downloading…');
    const endings = { csv: 'csv', parquet: 'parquet', arrow: 'arrow', json: 'jsonl', sql: 'sql' };
    try {
      const blob = format === 'sql' ? new Blob([sql]) : await file(sql, format, { order: this.ran === sql ? this.order : [] });
      const address = URL.createObjectURL(blob);
      h('a', { href: address, download: `result.${endings[format]}` }).click();
      setTimeout(() => URL.revokeObjectURL(address), 60000);
      say('Downloaded.');
    } catch (error) {
      say(`The download failed: ${error.message}`);
    }
  }

  // The whole row, with what is long cut until it is asked for.
  open(row, column) {
    const names = this.result.columns.map((c) => c.name);
    const ordered = [column.name, ...names.filter((name) => name !== column.name)];
    const value = (name) => {
      const text = name === 'record' ? recordOf(row[name]) : cut(whole(row[name]), 2000);
      return h('dd', {}, row[name] === null ? h('span', { class: 'quiet' }, 'null') : text);
    };
    const why = new URLSearchParams({ id: String(row.id ?? '') });
    fill(this.detail,
      h('div', { class: 'bar' }, h('h3', {}, 'Row'),
        h('button', { type: 'button', onclick: () => copy(whole(row[column.name])) }, `Copy ${column.name}`),
        h('button', { type: 'button', onclick: () => copy(whole(row, 2)) }, 'Copy row'),
        'id' in row && h('a', { class: 'button', href: `#/why?${why}` }, 'Why'),
        h('button', { type: 'button', 'aria-label': 'Close', onclick: () => this.close() }, '×')),
      h('dl', {}, ordered.map((name) => [h('dt', {}, name), value(name)])));
    this.detail.hidden = false;
    this.detail.focus();
  }

  close() {
    if (this.detail.hidden) return;
    this.detail.hidden = true;
    this.grid.focus(true);
  }
}

export async function show(main, parameters, signal) {
  new View(main, parameters, signal);
}
