"""Draws Plotly's figures as they come into view, and the one that a chooser names."""

from __future__ import annotations

FIGURES = """
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
    if (dark()) source = source.replace(/#[0-9a-f]{6}/g, color);
    const figure = spelledOut(JSON.parse(source));
    if (coarse) figure.layout.dragmode = false;  // a finger that scrolls the page must not zoom
    place.dataset.drawn = '';
    return Plotly.react(place, figure.data, figure.layout,
      {responsive: true, displaylogo: false, displayModeBar: coarse ? false : 'hover',
       modeBarButtons: [['toImage', 'zoom2d', 'pan2d', 'resetScale2d']]});
  }

  const places = [...document.querySelectorAll('.plot')];
  const near = new IntersectionObserver(seen => {  // what nobody scrolls to is not drawn; but paper shows all
    for (const entry of seen) if (entry.isIntersecting) {
      near.unobserve(entry.target);
      if (!('drawn' in entry.target.dataset)) draw(entry.target);
    }
  }, {rootMargin: '900px 0px'});
  places.forEach(place => near.observe(place));
  redrawn.push(() => places.filter(place => printing || 'drawn' in place.dataset).forEach(draw));

  for (const chooser of document.querySelectorAll('select[data-chooses]')) chooser.addEventListener('change', () => {
    draw(document.querySelector(`[data-from="${chooser.id}"]`));
    for (const note of document.querySelectorAll(`[data-note-in="${chooser.id}"]`))
      note.hidden = note.dataset.noteOf !== chooser.value;
  });
"""
