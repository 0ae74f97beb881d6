// The store at a glance: what it holds, how large it is, whether it is whole, and what happened to it.

import { bytes, fill, h, number, table, time } from './dom.js';
import { rows } from './client.js';

const sum = (list, key) => list.reduce((total, row) => total + (row[key] ?? 0), 0);
const sql = (text) => `#/query?${new URLSearchParams({ sql: text })}`;

function card(title, value, more) {
  return h('div', { class: 'card' }, h('h3', {}, title), h('p', { class: 'big' }, value), h('p', { class: 'quiet' }, more));
}

function state(text) {
  return h('span', { class: `state ${text}` }, text);
}

// A request; where it is a statement, a link to ask it again.
function request({ kind, statement }) {
  const text = statement.slice(0, 90);
  if (!['statement', 'prepare', 'bind'].includes(kind)) return h('span', { class: 'code', title: statement }, text);
  return h('a', { href: sql(statement), class: 'code', title: statement }, text);
}

export async function show(main, parameters, signal) {
  fill(main, h('h2', {}, 'Store'), h('p', { role: 'status' }, 'Reading…'));
  const ask = (text) => rows(text, { signal });
  const [datasets, features, checkpoints, snapshots, statements] = await Promise.all([
    ask('SELECT dataset, rows, columns, encodings, files, bytes FROM gstore.datasets ORDER BY dataset'),
    ask('SELECT number, label, dataset, kind, granularity, checkpoint, dim, dtype, state, rows, missing, bytes FROM gstore.features ORDER BY dataset, number'),
    ask('SELECT run, name, step, normalised_weight FROM gstore.checkpoints ORDER BY run, step'),
    ask('SELECT number, created, command, changes, tags, current FROM gstore.snapshots ORDER BY number DESC LIMIT 100'),
    ask('SELECT id, token, kind, statement, state, queued, rows, outcome FROM gstore.statements ORDER BY id DESC LIMIT 20'),
  ]);
  const current = snapshots.find((s) => s.current);
  const behind = features.filter((f) => f.state !== 'complete');
  const runs = new Set(checkpoints.map((c) => c.run));
  fill(main, h('h2', {}, 'Store'),
    h('div', { class: 'cards' },
      card('Datasets', number.format(datasets.length), `${number.format(sum(datasets, 'rows'))} rows, ${bytes(sum(datasets, 'bytes'))}`),
      card('Features', number.format(features.length), `${bytes(sum(features, 'bytes'))} of vectors`),
      card('Checkpoints', number.format(checkpoints.length), `${number.format(runs.size)} ${runs.size === 1 ? 'run' : 'runs'}`),
      card('Snapshot', current ? number.format(current.number) : '–', current ? time(current.created) : 'none'),
      card('Health', behind.length === 0 ? 'complete' : `${number.format(behind.length)} of ${number.format(features.length)}`,
        behind.length === 0 ? 'every feature has every row' : `features are behind or being built; ${number.format(sum(behind, 'missing'))} rows missing`)),
    table('Datasets', ['dataset', 'rows', 'columns', 'encodings', 'files', 'size', ''], datasets.slice(0, 500).map((d) => [
      d.dataset, d.rows, d.columns, d.encodings, d.files, bytes(d.bytes),
      h('a', { href: sql(`SELECT * FROM "${d.dataset.replaceAll('"', '""')}"`), 'aria-label': `Rows of ${d.dataset}` }, 'rows')])),
    table('Features', ['number', 'label', 'dataset', 'per', 'dimensions', 'type', 'state', 'rows', 'missing', 'size'], features.slice(0, 500).map((f) => [
      f.number, f.label, f.dataset, f.granularity, f.dim, f.dtype, state(f.state), f.rows, f.missing, bytes(f.bytes)])),
    table('Checkpoints', ['run', 'checkpoint', 'step', 'weight'], checkpoints.slice(0, 500).map((c) => [c.run, c.name, c.step, c.normalised_weight])),
    table('History', ['snapshot', 'when', 'command', 'changes', 'tags'], snapshots.map((s) => [
      s.number, time(s.created), h('code', {}, s.command), s.changes, s.tags])),
    table('Recent requests', ['id', 'token', 'statement', 'state', 'when', 'rows', 'outcome'], statements.map((s) => [
      s.id, s.token, request(s), s.state, time(s.queued), s.rows, s.outcome])),
    h('p', { class: 'quiet' }, 'The tables of the schema ', h('code', {}, 'gstore'), ' have more columns. ',
      h('a', { href: sql('SHOW TABLES') }, 'All tables')));
}
