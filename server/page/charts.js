// Plots: bars of a histogram, and lines; each with the same figures as a table.

import { h, number, table } from './dom.js';

const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const scheme = matchMedia('(prefers-color-scheme: dark)');

// Draws, and again when the width or the colours change.
function plot(host, options, data, signal) {
  let drawn;
  const draw = () => {
    drawn?.destroy();
    const axis = { stroke: color('--quiet'), grid: { stroke: color('--line'), width: 1 }, ticks: { stroke: color('--line') } };
    drawn = new uPlot({
      width: Math.max(240, host.clientWidth), height: 260, legend: { show: false }, cursor: { drag: { x: false, y: false } },
      ...options, axes: options.axes.map((one) => ({ ...axis, ...one })), series: [{}, ...options.series()],
    }, data, host);
  };
  draw();
  const watch = new ResizeObserver(() => { if (Math.abs(host.clientWidth - drawn.width) > 1) draw(); });
  watch.observe(host);
  scheme.addEventListener('change', draw, { signal });
  signal.addEventListener('abort', () => { watch.disconnect(); drawn.destroy(); });
}

function figure(title, text, columns, rows) {
  const host = h('div', { class: 'plot', role: 'img', 'aria-label': `${title}. ${text}` });
  const element = h('figure', {}, h('figcaption', {}, h('strong', {}, title), h('span', { class: 'quiet' }, ` ${text}`)), host,
    h('details', {}, h('summary', {}, 'Figures'), table(title, columns, rows)));
  return { element, host };
}

// Counts of values between `low` and `low + width * counts.length`, with marks at some values.
export function histogram(parent, { title, text, low, width, counts, marks = [], label }, signal) {
  const edges = counts.map((_, i) => low + width * i);
  const rows = counts.map((n, i) => [edges[i], edges[i] + width, n]).filter((row) => row[2] > 0);
  const { element, host } = figure(title, text, ['from', 'to', 'rows'], rows);
  parent.append(element);
  const lines = (u) => {
    const { ctx } = u;
    ctx.save();
    for (const { at, dashed } of marks) {
      const x = u.valToPos(at, 'x', true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      ctx.strokeStyle = color(dashed ? '--warm' : '--text');
      ctx.setLineDash(dashed ? [6, 5] : []);
      ctx.beginPath();
      ctx.moveTo(x, u.bbox.top);
      ctx.lineTo(x, u.bbox.top + u.bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  };
  // One more edge closes the last class.
  const data = [[...edges, low + width * counts.length], [...counts, null]];
  plot(host, {
    scales: { x: { time: false, range: [low, low + width * counts.length] }, y: { range: (u, min, max) => [0, Math.max(1, max * 1.05)] } },
    axes: [{ label, labelSize: 20 }, { size: 62, label: 'rows', labelSize: 20, values: (u, values) => values.map((v) => number.format(v)) }],
    series: () => [{ fill: color('--accent'), stroke: color('--accent'), width: 0, points: { show: false },
      paths: uPlot.paths.bars({ size: [1, Infinity, 1], align: 1 }) }],
    hooks: { draw: [lines] },
  }, data, signal);
}

// One line over numbers.
export function line(parent, { title, text, x, y, label, unit, rows }, signal) {
  const { element, host } = figure(title, text, rows.columns, rows.values);
  parent.append(element);
  plot(host, {
    scales: { x: { time: false }, y: { range: [0, 1] } },
    axes: [{ label, labelSize: 20 }, { size: 62, label: unit, labelSize: 20, values: (u, values) => values.map((v) => `${Math.round(v * 100)} %`) }],
    series: () => [{ stroke: color('--accent'), width: 2, points: { show: x.length < 30 } }],
  }, [x, y], signal);
}

// Shares as bars of elements, the pool's behind those of the best.
export function shares(caption, rows) {
  const most = Math.max(...rows.map((row) => Math.max(row.best, row.pool)), 1e-9);
  const bar = (share, kind) => {
    const element = h('span', { class: `bar-of ${kind}` });
    element.style.width = `${(100 * share) / most}%`;
    return element;
  };
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  return table(caption, ['value', 'among the best', 'in the pool', 'ratio', ''], rows.map((row) => [
    row.value ?? h('span', { class: 'quiet' }, 'null'), `${percent(row.best)} (${number.format(row.n)})`, percent(row.pool),
    row.pool > 0 ? `${(row.best / row.pool).toFixed(2)} ×` : '–', h('div', { class: 'bars', 'aria-hidden': 'true' }, bar(row.best, 'best'), bar(row.pool, 'pool'))]));
}
