"""Draws all trials as lines through their parameters, and lets the reader choose among them."""

from __future__ import annotations

PARALLEL = """
  const lines = document.getElementById('lines');
  if (lines) {
    const {axes, trials, shades} = json('parallel-data');
    const back = lines.querySelector('canvas'), front = lines.querySelectorAll('canvas')[1];
    const tip = lines.querySelector('.tip'), told = document.getElementById('chosen');
    const clear = document.getElementById('choose-all');
    const top = 52, height = 430, left = 26, nowhere = -0.12;  // where trials are that have no place on an axis
    const gaps = axes.map(axis => axis.places.includes(null));
    const foot = gaps.includes(true) ? 58 : 22, tall = height - top - foot;
    const ys = axes.map(axis => axis.places.map(place => top + tall * (1 - (place === null ? nowhere : place))));
    const brushes = axes.map(() => null);
    let width = 0, gap = 0, chosen = null, pointed = -1;
    const x = axis => left + gap * axis;
    const at = y => 1 - (y - top) / tall;

    const mix = (from, to, share) => '#' + [1, 3, 5].map(start => {
      const [a, b] = [from, to].map(name => parseInt(name.slice(start, start + 2), 16));
      return Math.round(a + (b - a) * share).toString(16).padStart(2, '0');
    }).join('');
    const few = trials.length < 100;
    function pen(shade) {
      if (shade > 1) return {stroke: color('#0b7285'), width: 2.6, alpha: 1};
      const tint = shade >= 0 && mix(color('#cfe3e7'), color('#0b7285'), shade ** 2);
      if (tint) return {stroke: tint, width: few ? 1.5 : 1, alpha: few ? 0.85 : 0.35 + 0.4 * shade};
      if (shade === -2) return {stroke: color('#b4452f'), width: 1, alpha: 0.5, dash: [2, 3]};
      if (shade === -4) return {stroke: color('#9aa4ae'), width: 1, alpha: 0.5, dash: [1, 3]};
      return {stroke: color('#9aa4ae'), width: 0.8, alpha: few ? 0.5 : 0.28};
    }
    function surface(canvas) {
      const scale = devicePixelRatio || 1;
      canvas.width = Math.round(width * scale);
      canvas.height = Math.round(height * scale);
      canvas.style.width = `${width}px`;
      canvas.style.height = `${height}px`;
      const pencil = canvas.getContext('2d');
      pencil.scale(scale, scale);
      pencil.lineJoin = 'round';
      return pencil;
    }
    function line(pencil, rank, {stroke, width, alpha, dash}) {
      pencil.strokeStyle = stroke;
      pencil.lineWidth = width;
      pencil.globalAlpha = alpha;
      pencil.setLineDash(dash || []);
      pencil.beginPath();
      ys.forEach((places, axis) => axis ? pencil.lineTo(x(axis), places[rank]) : pencil.moveTo(x(axis), places[rank]));
      pencil.stroke();
    }
    function fitted(pencil, text, room) {
      if (pencil.measureText(text).width <= room) return text;
      let length = text.length;
      while (length > 1 && pencil.measureText(text.slice(0, length) + '\\u2026').width > room) length--;
      return text.slice(0, length) + '\\u2026';
    }
    function words(pencil, text, across, down, ink) {  // readable over lines
      pencil.strokeStyle = color('#ffffff');
      pencil.lineWidth = 3.5;
      pencil.strokeText(text, across, down);
      pencil.fillStyle = ink;
      pencil.fillText(text, across, down);
    }
    function drawLines() {
      const pencil = surface(back);
      trials.forEach((trial, rank) => {
        if (chosen && !chosen[rank]) line(pencil, rank, {stroke: color('#e6e9ed'), width: 0.7, alpha: 0.5});
      });
      trials.forEach((trial, rank) => {
        if (chosen && !chosen[rank]) return;
        const how = pen(shades[rank]);
        line(pencil, rank, chosen ? {...how, alpha: Math.max(how.alpha, 0.6)} : how);
      });
      pencil.globalAlpha = 1;
      pencil.setLineDash([]);
      const font = getComputedStyle(document.body).fontFamily;
      axes.forEach((axis, place) => {
        pencil.strokeStyle = color('#66717d');
        pencil.lineWidth = 1;
        pencil.beginPath();
        pencil.moveTo(x(place), top);
        pencil.lineTo(x(place), top + tall);
        pencil.stroke();
        pencil.font = `11px ${font}`;
        pencil.textBaseline = 'middle';
        for (const [level, text] of axis.ticks) {
          const y = top + tall * (1 - level);
          pencil.fillStyle = color('#66717d');
          pencil.fillRect(x(place), y - 0.5, 4, 1);
          words(pencil, fitted(pencil, text, gap - 12), x(place) + 7, y, color('#1c2530'));
        }
        if (gaps[place]) {
          const y = top + tall * (1 - nowhere);
          pencil.fillStyle = color('#9aa4ae');
          pencil.beginPath();
          pencil.arc(x(place), y, 3, 0, 7);
          pencil.fill();
          words(pencil, 'none', x(place) + 7, y, color('#66717d'));
        }
        pencil.font = `600 12px ${font}`;
        pencil.textBaseline = 'alphabetic';
        const name = axis.name + (axis.better === 'up' ? ' \\u2191' : axis.better ? ' \\u2193' : '');
        const room = Math.min(2 * gap - 10, width - x(place) + 4);
        words(pencil, fitted(pencil, name, room), x(place) - 8, place % 2 ? 36 : 18, color('#1c2530'));
        if (brushes[place]) {
          const [low, high] = brushes[place];
          pencil.globalAlpha = 0.28;
          pencil.fillStyle = color('#0b7285');
          pencil.fillRect(x(place) - 8, top + tall * (1 - high), 16, Math.max(3, tall * (high - low)));
          pencil.globalAlpha = 1;
        }
      });
    }
    function point(rank) {
      pointed = rank;
      const pencil = surface(front);
      tip.hidden = rank < 0;
      if (rank < 0) return;
      line(pencil, rank, {stroke: color('#1c2530'), width: 2.4, alpha: 1});
      tip.innerHTML = labels[trials[rank]];  // escaped, as all hover texts are
    }
    function nearest(across, down) {
      const axis = Math.min(axes.length - 2, Math.max(0, Math.floor((across - left) / gap)));
      const share = Math.min(1, Math.max(0, (across - x(axis)) / gap));
      let best = -1, least = 7;
      for (let rank = trials.length - 1; rank >= 0; rank--) {
        if (chosen && !chosen[rank]) continue;
        const away = Math.abs(ys[axis][rank] * (1 - share) + ys[axis + 1][rank] * share - down);
        if (away < least) [least, best] = [away, rank];
      }
      return best;
    }
    let waiting = 0;
    function chooseSoon() {  // a pointer moves more often than a screen shows
      waiting = waiting || requestAnimationFrame(() => { waiting = 0; choose(false); });
    }
    function choose(done = true) {
      const active = brushes.some(Boolean);
      chosen = active ? trials.map((trial, rank) => brushes.every((brush, axis) => {
        const place = axes[axis].places[rank] === null ? nowhere : axes[axis].places[rank];
        return !brush || (brush[0] <= place && place <= brush[1]);
      })) : null;
      clear.hidden = !active;
      const kept = active ? trials.filter((trial, rank) => chosen[rank]) : trials;
      const best = active ? chosen.lastIndexOf(true) : -1;
      const complete = best >= 0 && shades[best] >= 0;
      const first = complete ? ` The best of them: ${labels[trials[best]].split('<br>')[0]}.` : '';
      told.innerHTML = active ? `${kept.length} of ${trials.length} trials.${first}` : told.dataset.hint;
      if (done) showOnly(active ? kept : null);  // a long table takes long
      drawLines();
      point(-1);
    }

    const strips = axes.map((axis, place) => {
      const strip = document.createElement('div');
      strip.className = 'strip';
      strip.title = axis.path;
      const level = event => at(event.clientY - back.getBoundingClientRect().top);
      let from = null;
      strip.addEventListener('pointerdown', event => {
        if (event.button) return;
        from = level(event);
        strip.setPointerCapture(event.pointerId);
      });
      strip.addEventListener('pointermove', event => {
        if (from === null) return;
        const to = level(event);
        if (Math.abs(to - from) * tall < 4) return;
        brushes[place] = [Math.max(nowhere - 0.05, Math.min(from, to)), Math.min(1.001, Math.max(from, to))];
        chooseSoon();
      });
      strip.addEventListener('pointerup', event => {
        if (from === null) return;
        const to = level(event);
        if (Math.abs(to - from) * tall < 4) {
          const slot = gaps[place] && to < nowhere / 2 ? [nowhere - 0.05, nowhere + 0.05] : axis.choices
            ? [Math.floor(to * axis.choices) / axis.choices, Math.floor(to * axis.choices + 1) / axis.choices] : null;
          const same = slot && brushes[place] && slot.every((edge, end) => Math.abs(edge - brushes[place][end]) < 1e-9);
          brushes[place] = same ? null : slot;
        }
        from = null;
        choose();
      });
      strip.addEventListener('pointercancel', () => { from = null; });
      strip.addEventListener('dblclick', () => { brushes[place] = null; choose(); });
      lines.append(strip);
      return strip;
    });
    clear.addEventListener('click', () => { brushes.fill(null); choose(); });
    lines.addEventListener('pointermove', event => {
      if (event.buttons) return;
      const frame = back.getBoundingClientRect(), across = event.clientX - frame.left, down = event.clientY - frame.top;
      const rank = nearest(across, down);
      if (rank !== pointed) point(rank);
      const edge = lines.parentElement.scrollLeft + lines.parentElement.clientWidth;
      const beside = across + tip.offsetWidth + 24 < edge ? 16 : -16 - tip.offsetWidth;
      tip.style.transform = `translate(${across + beside}px, ${Math.min(down, height - tip.offsetHeight - 8)}px)`;
    });
    lines.addEventListener('pointerleave', () => point(-1));

    function layout() {
      const room = lines.parentElement.clientWidth;
      const wide = Math.max(room, left + 96 * axes.length);
      if (wide === width) return;
      width = wide;
      gap = (width - left - 88) / Math.max(1, axes.length - 1);
      lines.style.width = `${width}px`;
      lines.style.height = `${height}px`;
      strips.forEach((strip, place) => {
        strip.style.left = `${x(place) - 12}px`;
        strip.style.top = `${top - 8}px`;
        strip.style.height = `${tall + foot + 8}px`;
      });
      drawLines();
      point(-1);
    }
    new ResizeObserver(layout).observe(lines.parentElement);
    redrawn.push(() => { drawLines(); point(-1); });
    layout();
  }
"""
