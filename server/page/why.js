// Why a row has its score, and which rows help or hurt a target: proponents and opponents side by side.

import { add, cut, field, fill, h, number, score, select, size, whole } from './dom.js';
import { ask, comparable, literal, name, ofKind, rows } from './client.js';

// The text of a sample's line: its messages, its prompt and completion, its text, or the line itself.
export function recordOf(line) {
  let record;
  try { record = JSON.parse(line); } catch { record = undefined; }
  const part = (role, text) => h('div', { class: `message ${role}` }, h('span', { class: 'role' }, role), cut(typeof text === 'string' ? text : JSON.stringify(text, null, 1) ?? ''));
  if (Array.isArray(record?.messages)) return h('div', { class: 'record' }, record.messages.map((m) => part(String(m?.role ?? ''), m?.content)));
  if (record && typeof record === 'object' && 'prompt' in record) return h('div', { class: 'record' }, part('prompt', record.prompt), part('completion', record.completion ?? ''));
  if (typeof record?.text === 'string') return h('div', { class: 'record' }, cut(record.text));
  return h('div', { class: 'record' }, cut(whole(line ?? 'The line of this row is not stored.')));
}

// What influence is asked for: a target, or a prompt with its completion. Texts are parameters.
class Question {
  constructor(parameters) {
    this.pool = parameters.get('pool') ?? '';
    this.target = parameters.get('target') ?? '';
    this.prompt = parameters.get('prompt') ?? '';
    this.completion = parameters.get('completion') ?? '';
    this.kind = parameters.get('kind') ?? '';
    this.k = Math.min(200, Math.max(1, Math.trunc(Number(parameters.get('k') ?? 10) || 10)));
  }

  get given() { return this.prompt !== '' || this.completion !== ''; }

  complete() { return this.pool !== '' && (this.given ? this.completion !== '' : this.target !== ''); }

  // Values of `$1`, `$2`, ...
  get values() { return this.given ? [this.pool, this.prompt, this.completion] : [this.pool, this.target]; }

  call(options = '') {
    const all = ofKind(this.kind) + options;
    return this.given ? `influence($1, prompt => $2, completion => $3${all})` : `influence($1, $2${all})`;
  }
}

// With what explains the scores, where that can be said: it is computed for the rows of the result alone.
async function explaining(question, rest, signal) {
  const asked = { parameters: question.values, signal };
  try {
    return await ask(`SELECT * FROM ${question.call(', explain => true')} ${rest}`, asked);
  } catch (error) {
    if (error.code !== 'invalid_argument') throw error;
    return ask(`SELECT * FROM ${question.call()} ${rest}`, asked);
  }
}

function scored(row) {
  const parts = [];
  if (row.stderr !== undefined && row.stderr !== null) parts.push(`± ${score(row.stderr)}`);
  if (row.noise_floor > 0) {
    const times = Math.abs(row.score) / row.noise_floor;
    parts.push(`${number.format(Number(times.toFixed(1)))} × the noise floor of ${score(row.noise_floor)}`);
  }
  return h('span', {}, h('strong', { class: row.score < 0 ? 'below' : 'above' }, score(row.score)), ` ${parts.join(', ')}`);
}

// The tokens of a row, each as dark as its influence; their numbers where the store has no texts.
async function tokens(question, id, host, signal) {
  fill(host, h('p', { role: 'status' }, 'Scoring tokens…'));
  const sql = `SELECT * FROM ${question.call(', per_token => true')} WHERE id = ${literal(id)} ORDER BY pos`;
  try {
    const found = (await ask(sql, { parameters: question.values, signal, limit: 5000 })).rows;
    const most = Math.max(...found.map((t) => size(t.score)), 1e-30);
    fill(host, h('p', { class: 'tokens' }, found.map((t) => {
      const text = typeof t.token === 'string' ? t.token : `${t.pos}`;
      const element = h('span', { class: `token ${t.score < 0 ? 'minus' : 'plus'}${typeof t.token === 'string' ? '' : ' bare'}`, title: `token ${t.pos}: ${score(t.score)}` }, text);
      element.style.setProperty('--share', `${Math.round((55 * size(t.score)) / most)}%`);
      return element;
    })), found.length === 0 && h('p', {}, 'No token of this row is scored.'));
  } catch (error) {
    fill(host, h('p', { class: 'error' }, error.message));
  }
}

function link(question, id) {
  const parameters = new URLSearchParams({ pool: question.pool, id, k: question.k });
  if (question.kind) parameters.set('kind', question.kind);
  if (question.given) { parameters.set('prompt', question.prompt); parameters.set('completion', question.completion); } else parameters.set('target', question.target);
  return `#/why?${parameters}`;
}

function card(question, row, rank, withTokens, signal) {
  const host = h('div');
  const mark = withTokens && h('button', { type: 'button', class: 'link', onclick: () => tokens(question, row.id, host, signal) }, 'Tokens');
  const source = row.source ?? row.subtask;
  return h('li', { class: 'card' },
    h('div', { class: 'bar' }, h('span', { class: 'quiet' }, `${rank}.`), scored(row),
      h('a', { href: link(question, row.id) }, row.id), source && h('span', { class: 'tag' }, source), mark),
    recordOf(row.record), host);
}

async function sides(main, question, withTokens, signal) {
  const host = h('div', { class: 'sides' });
  const columns = [
    ['Proponents', 'lower the loss of the target', 'DESC', 'above', (row) => row.score > 0],
    ['Opponents', 'raise it', 'ASC', 'below', (row) => row.score < 0],
  ].map(([title, what, order, side, isOne]) => {
    const list = h('ol', { class: 'cards-list' }, h('li', {}, 'Scoring…'));
    const column = h('section', { 'aria-label': title }, h('h3', {}, title, h('small', {}, ` ${what}`)), list);
    explaining(question, `ORDER BY score ${order} LIMIT ${question.k}`, signal)
      .then(({ rows: ranked }) => {
        const found = ranked.filter(isOne);
        const why = ranked.length === 0 ? 'no row has a score' : `no score is ${side} zero`;
        fill(list, found.map((row, i) => card(question, row, i + 1, withTokens, signal)),
          found.length === 0 && h('li', {}, `No ${title.toLowerCase()}: ${why}.`));
      })
      // What is wrong with the question is so for both sides, and said once.
      .catch((error) => fill(host, h('p', { class: 'error', role: 'alert' }, error.message)));
    return column;
  });
  main.append(add(host, columns));
}

async function explained(main, question, id, withTokens, signal) {
  const host = h('section', { class: 'card', 'aria-label': `Row ${id}` }, h('p', { role: 'status' }, 'Scoring…'));
  main.append(host);
  let answer;
  try {
    // One row, without a limit: scoring that is cut short has no notes, which name the checkpoints.
    answer = await explaining(question, `WHERE id = ${literal(id)}`, signal);
  } catch (error) {
    fill(host, h('p', { class: 'error', role: 'alert' }, error.message));
    return;
  }
  const row = answer.rows[0];
  if (!row) {
    fill(host, h('p', {}, `${question.pool} has no row ${id} that is scored. `, 'The function ', h('code', {}, 'excluded()'), ' lists what is left out, and why.'));
    return;
  }
  const used = answer.notes?.influence?.[0]?.checkpoints ?? [];
  const parts = row.checkpoint_scores ?? [];
  const most = Math.max(...parts.map(size), 1e-30);
  const bars = parts.map((part, i) => {
    const bar = h('span', { class: `bar-of ${part < 0 ? 'minus' : 'best'}` });
    bar.style.width = `${(100 * size(part)) / most}%`;
    const weight = used[i] ? ` (weight ${number.format(Number(used[i][1].toFixed(3)))})` : '';
    return h('tr', {}, h('th', { scope: 'row' }, (used[i]?.[0] ?? `checkpoint ${i + 1}`) + weight), h('td', { class: 'n' }, part === null ? 'missing' : score(part)),
      h('td', {}, h('div', { class: 'bars' }, bar)));
  });
  const marked = h('div');
  const nearest = h('div');
  fill(host, h('h3', {}, row.id, ' ', scored(row)),
    h('div', { class: 'sides' },
      h('section', {}, h('h4', {}, 'The row'), recordOf(row.record), marked,
        withTokens && h('button', { type: 'button', onclick: () => tokens(question, id, marked, signal) }, 'Highlight tokens')),
      h('section', {}, h('h4', {}, 'The target sample that is most like it'), nearest)),
    h('table', {}, h('caption', {}, 'Score by checkpoint'), h('tbody', {}, bars)));
  if (question.given) {
    fill(nearest, recordOf(JSON.stringify({ prompt: question.prompt, completion: question.completion })));
  } else if (row.target_dataset && row.target_id) {
    const like = await rows(`SELECT record FROM ${name(row.target_dataset)} WHERE id = ${literal(row.target_id)} LIMIT 1`, { signal });
    fill(nearest, h('p', { class: 'quiet' }, `${row.target_dataset}, ${row.target_id}, similarity ${score(row.target_score)}`), recordOf(like[0]?.record));
  }
}

export async function show(main, parameters, signal) {
  const question = new Question(parameters);
  const [features, datasets] = await Promise.all([
    rows('SELECT DISTINCT dataset, granularity, kind FROM gstore.features ORDER BY dataset, kind', { signal }),
    rows('SELECT dataset FROM gstore.datasets ORDER BY dataset LIMIT 2000', { signal }),
  ]);
  const names = datasets.map((d) => d.dataset);
  const id = parameters.get('id') ?? '';
  const pool = select([['choose', ''], ...names], question.pool, { name: 'pool', required: true });
  const target = select([['a prompt, given below', ''], ...names], question.target, { name: 'target' });
  const kind = select([['the usual', ''], ...comparable(features)], question.kind, { name: 'kind' });
  const text = (label, value, rowsOf) => h('textarea', { name: label, rows: rowsOf, spellcheck: 'false' }, value);
  const prompt = text('prompt', question.prompt, '2');
  const completion = text('completion', question.completion, '2');
  const row = h('input', { name: 'id', value: id, autocomplete: 'off', spellcheck: 'false' });
  const k = h('input', { name: 'k', type: 'number', min: '1', max: '200', value: String(question.k) });
  const given = h('div', { class: 'fields' }, field('Prompt', prompt), field('Completion', completion, 'The text whose loss is asked about'));
  const toggle = () => { given.hidden = target.value !== ''; };
  target.addEventListener('change', toggle);
  toggle();
  const form = h('form', { class: 'fields', onsubmit: (event) => {
    event.preventDefault();
    const all = { pool: pool.value, k: k.value };
    if (target.value) all.target = target.value;
    else { all.prompt = prompt.value; all.completion = completion.value; }
    if (kind.value) all.kind = kind.value;
    if (row.value.trim()) all.id = row.value.trim();
    const next = `#/why?${new URLSearchParams(all)}`;
    if (next === location.hash) window.dispatchEvent(new HashChangeEvent('hashchange'));
    else location.hash = next;
  } }, field('Pool', pool), field('Target', target), field('Kind', kind), field('Row', row, 'The id of a row; without one, the best and the worst'),
  field('Rows of each side', k), given, h('button', { type: 'submit', class: 'first' }, 'Ask'));
  fill(main, h('h2', {}, 'Why'), form);
  if (!question.complete()) return;
  const withTokens = features.some((f) => f.dataset === question.pool && f.granularity === 'token');
  if (id) await explained(main, question, id, withTokens, signal);
  else await sides(main, question, withTokens, signal);
}
