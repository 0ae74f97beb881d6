// A table of rows of which only those in sight are elements, so that a page of thousands is as quick as one of ten.

import { copy, fill, h, shown, whole } from './dom.js';

const HEIGHT = 28;
const AHEAD = 10;
const NUMERIC = /^(U?Int|Float|Decimal)/;

export class Grid {
  // `onSort(column)` hears the header that was chosen, `onOpen(row, column)` the cell.
  constructor({ onSort, onOpen }) {
    this.onSort = onSort;
    this.onOpen = onOpen;
    this.head = h('div', { class: 'g-head', role: 'row', 'aria-rowindex': '1' });
    this.body = h('div', { class: 'g-body', role: 'rowgroup' });
    this.element = h('div', {
      class: 'grid', role: 'grid', tabindex: '0', 'aria-label': 'Result', 'aria-readonly': 'true',
      onscroll: () => this.later(), onkeydown: (event) => this.key(event),
    }, this.head, this.body);
    this.watch = new ResizeObserver(() => this.later());
    this.watch.observe(this.element);
    this.columns = [];
    this.rows = [];
    this.active = { row: 0, column: 0 };
  }

  show({ columns, rows, order = [] }) {
    this.columns = columns;
    this.rows = rows;
    this.active = { row: 0, column: Math.min(this.active.column, Math.max(0, columns.length - 1)) };
    this.widths = columns.map((column) => {
      const longest = rows.slice(0, 200).reduce((most, row) => Math.max(most, shown(row[column.name], 60).length), column.name.length + 2);
      return Math.round(Math.min(420, Math.max(64, longest * 7.7 + 22)));
    });
    const width = this.widths.reduce((a, b) => a + b, 0);
    this.element.setAttribute('aria-rowcount', String(rows.length + 1));
    this.element.setAttribute('aria-colcount', String(columns.length));
    fill(this.head, columns.map((column, i) => {
      const by = order.find((one) => one.column === i);
      const sort = by ? (by.descending ? 'descending' : 'ascending') : 'none';
      const cell = h('div', { class: 'g-cell g-name', role: 'columnheader', 'aria-sort': sort, 'aria-colindex': String(i + 1) },
        h('button', { type: 'button', title: `${column.name}: ${column.type}`, tabindex: '-1', onclick: () => this.onSort(i) }, column.name,
          h('span', { 'aria-hidden': 'true' }, by ? (by.descending ? ' ▼' : ' ▲') : '')));
      cell.style.width = `${this.widths[i]}px`;
      return cell;
    }));
    this.head.style.width = `${width}px`;
    this.body.style.width = `${width}px`;
    this.body.style.height = `${rows.length * HEIGHT}px`;
    this.element.scrollTop = 0;
    this.draw();
  }

  later() {
    this.frame ??= requestAnimationFrame(() => { this.frame = undefined; this.draw(); });
  }

  // Makes the rows that are in sight, and some around them.
  draw() {
    const top = this.element.scrollTop;
    const from = Math.max(0, Math.floor(top / HEIGHT) - AHEAD);
    const to = Math.min(this.rows.length, Math.ceil((top + this.element.clientHeight) / HEIGHT) + AHEAD);
    const held = this.body.contains(document.activeElement);
    fill(this.body, Array.from({ length: to - from }, (_, i) => this.line(from + i)));
    if (held) this.focus(false);
  }

  line(index) {
    const row = this.rows[index];
    const line = h('div', { class: index % 2 ? 'g-row odd' : 'g-row', role: 'row', 'aria-rowindex': String(index + 2) },
      this.columns.map((column, i) => {
        const value = row[column.name];
        const here = this.active.row === index && this.active.column === i;
        const cell = h('div', {
          class: `g-cell${NUMERIC.test(column.type) ? ' n' : ''}${value === null ? ' null' : ''}`, role: 'gridcell',
          'aria-colindex': String(i + 1), tabindex: here ? '0' : '-1', 'data-at': `${index},${i}`,
          onclick: () => { this.active = { row: index, column: i }; this.focus(false); },
          ondblclick: () => this.onOpen(row, column),
        }, value === null ? 'null' : shown(value));
        cell.style.width = `${this.widths[i]}px`;
        return cell;
      }));
    line.style.top = `${index * HEIGHT}px`;
    return line;
  }

  // Puts the focus on the active cell; with `reveal` where it can be seen.
  focus(reveal) {
    const { row, column } = this.active;
    if (reveal) {
      const top = row * HEIGHT;
      const seen = this.element.clientHeight - HEIGHT;
      if (top < this.element.scrollTop) this.element.scrollTop = top;
      else if (top + HEIGHT > this.element.scrollTop + seen) this.element.scrollTop = top + HEIGHT - seen;
      this.draw();
    }
    for (const cell of this.body.querySelectorAll('[tabindex="0"]')) cell.tabIndex = -1;
    const cell = this.body.querySelector(`[data-at="${row},${column}"]`);
    if (!cell) return;
    cell.tabIndex = 0;
    cell.focus({ preventScroll: true });
    if (reveal) {
      const [left, right] = [cell.offsetLeft, cell.offsetLeft + cell.offsetWidth];
      if (left < this.element.scrollLeft) this.element.scrollLeft = left;
      else if (right > this.element.scrollLeft + this.element.clientWidth) this.element.scrollLeft = right - this.element.clientWidth;
    }
  }

  key(event) {
    if (this.rows.length === 0 || event.target.closest('.g-head')) return;
    const page = Math.max(1, Math.floor(this.element.clientHeight / HEIGHT) - 2);
    const { row, column } = this.active;
    const moves = {
      ArrowDown: [row + 1, column], ArrowUp: [row - 1, column], ArrowLeft: [row, column - 1], ArrowRight: [row, column + 1],
      PageDown: [row + page, column], PageUp: [row - page, column],
      Home: event.ctrlKey ? [0, 0] : [row, 0], End: event.ctrlKey ? [this.rows.length - 1, column] : [row, this.columns.length - 1],
    };
    const current = () => [this.rows[row], this.columns[column]];
    if (event.key in moves) {
      const [r, c] = moves[event.key];
      this.active = { row: Math.min(this.rows.length - 1, Math.max(0, r)), column: Math.min(this.columns.length - 1, Math.max(0, c)) };
      this.focus(true);
    } else if (event.key === 'Enter') {
      this.onOpen(...current());
    } else if (event.key === 's' && !event.ctrlKey && !event.metaKey) {
      this.onSort(column);
    } else if (event.key === 'c' && (event.ctrlKey || event.metaKey) && getSelection().isCollapsed) {
      const [line, name] = current();
      copy(whole(line[name.name]));
    } else return;
    event.preventDefault();
  }
}
