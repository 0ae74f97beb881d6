// Rankings as a whole: the scores of a target, the sources of its best rows, and what two rankings have in common.

import { field, fill, h, number, score, select } from './dom.js';
import { comparable, name, ofKind, rows } from './client.js';
import { histogram, line, shares } from './charts.js';

const CLASSES = 60;

// Rows whose noise floor is asked for, about.
const FLOORS = 31;

// The median noise floor of rows that are spread over the pool, and of how many; nothing where there is none: a vector that
// was not projected has no floor, and a pool of other features may not be explained.
async function noiseFloor({ pool, target, by }, last, signal) {
  const every = Math.max(1, Math.ceil(last / FLOORS));
  const asked = `SELECT noise_floor FROM influence($1, $2${by}, explain => true) WHERE row % ${every} = 0 LIMIT ${FLOORS + 1}`;
  const found = await rows(asked, { parameters: [pool, target], signal }).catch((error) => {
    if (error.code === 'cancelled') throw error;
    return [];
  });
  const floors = found.map((row) => row.noise_floor).filter((floor) => floor !== null).map(Number).sort((a, b) => a - b);
  return { noise: floors[Math.floor(floors.length / 2)], of: floors.length };
}

async function distribution(host, asked, signal) {
  const { pool, target, by } = asked;
  const values = { parameters: [pool, target], signal };
  const [all] = await rows(`SELECT count(score) AS n, min(score) AS low, max(score) AS high, avg(score) AS mean, stddev(score) AS deviation, max(row) AS last FROM influence($1, $2${by})`, values);
  if (all.n === 0) throw new Error('No row has a score.');
  if (![all.low, all.high].every((end) => Number.isFinite(Number(end)))) throw new Error('Some scores are not finite, so they have no classes.');
  const range = all.high - all.low;
  const width = range > 0 ? range / CLASSES : 1e-12;
  const counted = await rows(`SELECT CAST(least(${CLASSES - 1}, greatest(0, floor((score - $3) / $4))) AS INT) AS class, count(*) AS n
FROM influence($1, $2${by}) GROUP BY 1`, { parameters: [pool, target, all.low, width], signal });
  const counts = new Array(CLASSES).fill(0);
  counted.forEach((row) => { counts[row.class] += row.n; });
  const { noise, of } = await noiseFloor(asked, Number(all.last), signal);
  const marks = [{ at: 0 }];
  if (noise) marks.push({ at: noise, dashed: true }, { at: -noise, dashed: true });
  const lines = marks.filter(({ at, dashed }) => dashed && at >= all.low && at <= all.high).length;
  const floor = `${score(noise)} (median of ${of} rows)`;
  const drawn = [`; the noise floor, ${floor}, is outside of this range`, `; the dashed line is the noise floor of ${floor}`,
    `; the dashed lines are the noise floor of ${floor}`][lines];
  const text = `${number.format(all.n)} rows; mean ${score(all.mean)}, standard deviation ${score(all.deviation)}${noise ? drawn : ''}.`;
  histogram(host, { title: `Scores of ${pool} for ${target}`, text, low: all.low, width, counts, marks, label: 'score' }, signal);
}

async function sources(host, { pool, target, column, k, by }, signal) {
  const value = name(column);
  const found = await rows(`WITH best AS (SELECT CAST(${value} AS VARCHAR) AS value, count(*) AS n FROM influence($1, $2, k => $3${by}) GROUP BY 1),
whole AS (SELECT CAST(${value} AS VARCHAR) AS value, count(*) AS n FROM ${name(pool)} GROUP BY 1)
SELECT whole.value AS value, coalesce(best.n, 0) AS n, whole.n AS pool
FROM whole LEFT JOIN best ON whole.value IS NOT DISTINCT FROM best.value ORDER BY 2 DESC, 3 DESC`, { parameters: [pool, target, k], signal });
  const [best, all] = [found.reduce((n, row) => n + row.n, 0), found.reduce((n, row) => n + row.pool, 0)];
  const rest = found.length > 40 ? `; the first 40 of ${number.format(found.length)} values` : '';
  host.append(shares(`${column} of the best ${number.format(best)} for ${target}, against all ${number.format(all)} rows of ${pool}${rest}`,
    found.slice(0, 40).map((row) => ({ value: row.value, n: row.n, best: row.n / Math.max(1, best), pool: row.pool / Math.max(1, all) }))));
}

async function overlap(host, { pool, target, other, k, by }, signal) {
  const ranked = (at) => `SELECT row, row_number() OVER (ORDER BY score DESC, row) AS rank FROM influence($1, ${at}, k => $4${by})`;
  const found = await rows(`WITH a AS (${ranked('$2')}), b AS (${ranked('$3')})
SELECT a.rank AS rank_a, b.rank AS rank_b FROM a FULL JOIN b ON a.row = b.row`, { parameters: [pool, target, other, k], signal });
  if (found.length === 0) throw new Error('No row has a score.');
  const both = found.filter((row) => row.rank_a !== null && row.rank_b !== null);
  // Fewer than `k` where fewer rows have a score.
  const best = Math.max(...['rank_a', 'rank_b'].map((rank) => found.filter((row) => row[rank] !== null).length));
  // A row is in both rankings of the best n from the worse of its two ranks on.
  const steps = [...new Set(Array.from({ length: 40 }, (_, i) => Math.max(1, Math.round((best * (i + 1)) / 40))))];
  const common = steps.map((n) => both.filter((row) => Math.max(row.rank_a, row.rank_b) <= n).length);
  const share = both.length / best;
  const text = `${number.format(both.length)} of the best ${number.format(best)} rows are in both (${(100 * share).toFixed(1)} %; Jaccard ${(both.length / found.length).toFixed(3)}).`;
  line(host, { title: `${target} and ${other}`, text, x: steps, y: common.map((n, i) => n / steps[i]), label: 'best rows of each', unit: 'in both',
    rows: { columns: ['best rows', 'in both'], values: steps.map((n, i) => [n, common[i]]) } }, signal);
}

// A part of the view that says how it is coming on. Returns whether the others can be asked for: not where the server
// refuses the question.
async function part(main, title, work) {
  const state = h('p', { role: 'status' }, 'Scoring…');
  const host = h('section', { 'aria-label': title }, h('h3', {}, title), state);
  main.append(host);
  try {
    await work(host);
    state.remove();
    return true;
  } catch (error) {
    if (error.code === 'cancelled') return false;
    fill(state, error.message);
    state.className = 'error';
    state.setAttribute('role', 'alert');
    return error.code === undefined;
  }
}

export async function show(main, parameters, signal) {
  const [datasets, features, columns] = await Promise.all([
    rows('SELECT dataset, rows FROM gstore.datasets ORDER BY dataset LIMIT 2000', { signal }),
    rows('SELECT DISTINCT kind FROM gstore.features ORDER BY kind', { signal }),
    rows("SELECT dataset, name FROM gstore.columns WHERE key IS NOT NULL AND type IN ('text', 'bool') ORDER BY dataset, position LIMIT 5000", { signal }),
  ]);
  const names = datasets.map((d) => d.dataset);
  const get = (key) => parameters.get(key) ?? '';
  const pool = select([['choose', ''], ...names], get('pool'), { required: true });
  const target = select([['choose', ''], ...names], get('target'), { required: true });
  const other = select([['none', ''], ...names], get('other'));
  const kind = select([['the usual', ''], ...comparable(features)], get('kind'));
  const column = h('select');
  const list = () => fill(column, h('option', { value: '' }, 'none'), columns.filter((c) => c.dataset === pool.value)
    .map((c) => h('option', { value: c.name, selected: c.name === (get('column') || 'source') }, c.name)));
  pool.addEventListener('change', list);
  list();
  const k = h('input', { type: 'number', min: '1', max: '1000000', value: get('k'), placeholder: '10 %' });
  const form = h('form', { class: 'fields', onsubmit: (event) => {
    event.preventDefault();
    const next = `#/compare?${new URLSearchParams({ pool: pool.value, target: target.value, other: other.value, kind: kind.value, column: column.value, k: k.value })}`;
    if (next === location.hash) window.dispatchEvent(new HashChangeEvent('hashchange'));
    else location.hash = next;
  } }, field('Pool', pool), field('Target', target), field('Kind', kind), field('Sources by', column), field('Second target', other), field('Best rows', k, 'Empty: a tenth of the pool'),
  h('button', { type: 'submit', class: 'first' }, 'Compare'));
  fill(main, h('h2', {}, 'Compare'), form);
  if (!pool.value || !target.value) return;
  const size = datasets.find((d) => d.dataset === pool.value)?.rows ?? 1;
  const asked = { pool: pool.value, target: target.value, other: other.value, by: ofKind(kind.value), column: column.value, k: Math.min(size, Math.max(1, Math.trunc(Number(k.value) || size / 10))) };
  // One after the other: each reads the vectors of the pool.
  if (!await part(main, 'Scores', (host) => distribution(host, asked, signal))) return;
  if (asked.column && !signal.aborted) await part(main, 'Sources of the best rows', (host) => sources(host, asked, signal));
  if (asked.other && !signal.aborted) await part(main, 'Overlap of two rankings', (host) => overlap(host, asked, signal));
}
