"""Sorts and filters the table of all trials."""

from __future__ import annotations

TABLE = """
  const table = document.querySelector('table.trials');
  if (table) {
    const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
    const collator = new Intl.Collator(undefined, {numeric: true});
    const compare = (a, b) =>  // numbers before words, and what is missing last
      typeof a === 'number' ? (typeof b === 'number' ? a - b : -1) : typeof b === 'number' ? 1 : collator.compare(a, b);
    heads.forEach((head, column) => head.querySelector('button').addEventListener('click', () => {
      const turn = head.getAttribute('aria-sort') === 'ascending' ? -1 : 1;
      const rows = [...body.rows].map(row => {
        const text = row.cells[column].textContent.trim();
        return {row, missing: text === '\\u2013', key: text === '' || Number.isNaN(Number(text)) ? text : Number(text)};
      });
      rows.sort((a, b) => a.missing - b.missing || turn * compare(a.key, b.key));
      for (const other of heads) other.removeAttribute('aria-sort');
      head.setAttribute('aria-sort', turn === 1 ? 'ascending' : 'descending');
      const sorted = document.createDocumentFragment();
      sorted.append(...rows.map(entry => entry.row));
      body.append(sorted);
    }));
    const search = document.getElementById('search'), found = document.getElementById('found');
    let only = null;
    const filter = () => {
      const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const text = words.length ? row.textContent.toLowerCase() : '';
        const kept = !only || only.has(row.cells[0].textContent.trim());
        row.hidden = !(kept && words.every(word => text.includes(word)));
        shown += !row.hidden;
      }
      const why = only ? ', those chosen among the lines above' : '';
      found.textContent = words.length || only ? `${shown} of ${body.rows.length} rows${why}` : '';
    };
    search.addEventListener('input', filter);
    showOnly = numbers => { only = numbers && new Set(numbers.map(String)); filter(); };
  }
"""
