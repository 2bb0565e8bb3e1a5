"""Enlarges a decision surface, and leafs through them."""

from __future__ import annotations

PICTURES = """
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
"""
