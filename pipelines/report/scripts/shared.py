"""What the other parts of the script share."""

from __future__ import annotations

SHARED = """
  const json = id => JSON.parse(document.getElementById(id).textContent);
  const labels = json('labels');
  const dusk = matchMedia('(prefers-color-scheme: dark)');
  const coarse = matchMedia('(pointer: coarse)').matches;
  const night = {'#0b7285': '#4cc3d6', '#74aebb': '#35808f', '#cfe3e7': '#23414a', '#9aa4ae': '#76828e',
    '#b4452f': '#f0866f', '#1c2530': '#e7ecf1', '#66717d': '#9aa6b2', '#e6e9ed': '#2a323b', '#ffffff': '#151a20'};
  let printing = false;
  const dark = () => dusk.matches && !printing;
  const color = name => dark() ? night[name] || name : name;
  const redrawn = [];  // what is drawn anew when the colours change
  const redraw = () => redrawn.forEach(draw => draw());
  dusk.addEventListener('change', redraw);
  addEventListener('beforeprint', () => {
    printing = true;
    for (const folded of document.querySelectorAll('details:not([open])')) {
      folded.open = true;
      folded.dataset.unfolded = '';
    }
    redraw();
  });
  addEventListener('afterprint', () => {
    printing = false;
    for (const folded of document.querySelectorAll('details[data-unfolded]')) {
      folded.open = false;
      delete folded.dataset.unfolded;
    }
    redraw();
  });
  let showOnly = () => {};  // the table's: shows the rows of these trials alone, or of all again for null
"""
