"""The page's script: draws the embedded figures, and sorts and filters the table. Plain JavaScript, no libraries."""

from __future__ import annotations

JS = """
'use strict';
(() => {
  const json = id => JSON.parse(document.getElementById(id).textContent);
  const labels = json('labels');
  const dusk = matchMedia('(prefers-color-scheme: dark)');
  const coarse = matchMedia('(pointer: coarse)').matches;
  const night = {'#0b7285': '#4cc3d6', '#74aebb': '#35808f', '#cfe3e7': '#23414a', '#9aa4ae': '#76828e',
    '#b4452f': '#f0866f', '#1c2530': '#e7ecf1', '#66717d': '#9aa6b2', '#e6e9ed': '#2a323b', '#ffffff': '#151a20'};
  let printing = false;

  function spelledOut(figure) {  // a trace names its trials; the words about a trial are on the page once
    for (const trace of figure.data) {
      if (!trace.meta || !trace.meta.trials) continue;
      trace.text = [];
      trace.meta.trials.forEach((trial, place) => {
        const words = labels[trial];
        for (let left = trace.meta.lengths ? trace.meta.lengths[place] : 1; left > 0; left--) trace.text.push(words);
      });
    }
    return figure;
  }

  function draw(place) {
    const choice = place.dataset.from && document.getElementById(place.dataset.from);
    let source = document.getElementById(choice ? choice.value : place.dataset.figure).textContent;
    if (dusk.matches && !printing) source = source.replace(/#[0-9a-f]{6}/g, color => night[color] || color);
    const figure = spelledOut(JSON.parse(source));
    if (coarse) figure.layout.dragmode = false;  // a finger that scrolls the page must not zoom
    return Plotly.react(place, figure.data, figure.layout,
      {responsive: true, displaylogo: false, displayModeBar: coarse ? false : 'hover',
       modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'resetScale2d']]});
  }

  const places = [...document.querySelectorAll('.plot')];
  const drawAll = () => places.forEach(draw);
  places.slice(0, 3).forEach(draw);
  places.slice(3).forEach((place, rank) => setTimeout(() => draw(place), 30 + 10 * rank));
  dusk.addEventListener('change', drawAll);
  addEventListener('beforeprint', () => { printing = true; drawAll(); });
  addEventListener('afterprint', () => { printing = false; drawAll(); });

  const chooser = document.getElementById('metric');
  if (chooser) chooser.addEventListener('change', () => {
    draw(document.querySelector('[data-from=metric]'));
    for (const note of document.querySelectorAll('[data-note-of]')) note.hidden = note.dataset.noteOf !== chooser.value;
  });

  const pictures = [...document.querySelectorAll('.surfaces figure')], enlarged = document.getElementById('enlarged');
  if (enlarged) {
    let shown = 0;
    const show = place => {
      shown = (place + pictures.length) % pictures.length;
      const [button, caption] = pictures[shown].children;
      enlarged.firstElementChild.replaceChildren(button.firstElementChild.cloneNode(), caption.cloneNode(true));
      if (!enlarged.open) enlarged.showModal();
    };
    pictures.forEach((picture, place) => picture.firstElementChild.addEventListener('click', () => show(place)));
    enlarged.addEventListener('click', () => enlarged.close());
    enlarged.addEventListener('keydown', event => {
      const step = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[event.key];
      if (step) { event.preventDefault(); show(shown + step); }
    });
  }

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
    search.addEventListener('input', () => {
      const words = search.value.toLowerCase().split(/\\s+/).filter(Boolean);
      let shown = 0;
      for (const row of body.rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every(word => text.includes(word));
        shown += !row.hidden;
      }
      found.textContent = words.length ? `${shown} of ${body.rows.length} rows` : '';
    });
  }
})();
"""
