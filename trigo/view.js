/* view.js - steps through `game`, which the page defines before it:
 *
 *   names      of the cells, by index
 *   plies      [move, cells that it took ...]; a move is a cell, -1 for a pass, -2 for a resignation
 *   area       [black, white] after so many plies
 *   positions  [visits, value, searched, [[move, visits, prior, value], ...]] or null
 *
 * Everything it shows is there already; it sets classes, text, and where lines are. */
'use strict';
(() => {
  const one = (selector) => document.querySelector(selector);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const last = game.plies.length;
  const colours = ['Black', 'White'];
  const cells = game.names.map(() => []); /* circles of each cell, one for each drawing */
  const labels = [];
  for (const circle of all('[data-c]')) cells[circle.dataset.c].push(circle);
  for (const text of all('[data-t]')) labels[text.dataset.t] = text;
  const heats = all('[data-heat]').map((button) => button.dataset.heat);
  let ply = last, heat = heats[0] || 'none';

  const name = (move) => move === -1 ? 'Pass' : move === -2 ? 'Resign' : game.names[move] || 'the cell';
  const signed = (x) => (x < 0 ? '\u2212' : '+') + Math.abs(x).toFixed(2);
  const percent = (x) => x >= 0.0995 ? Math.round(100 * x) + ' %' : (100 * x).toFixed(1) + ' %';

  /* The class of every cell's stone, and how many of each colour were taken off. */
  const replay = () => {
    const stones = game.names.map(() => ''), taken = [0, 0];
    for (let i = 0; i < ply; i++) {
      const [move, ...gone] = game.plies[i];
      if (move >= 0) stones[move] = ' ' + 'bw'[i % 2];
      for (const cell of gone) stones[cell] = '';
      taken[(i + 1) % 2] += gone.length;
    }
    return [stones, taken];
  };

  /* What was considered here, as shares: [[move, share, visits, prior, value], ...]. */
  const thoughts = (by) => {
    const here = game.positions[ply];
    if (!here) return [];
    const sum = here[3].reduce((n, move) => n + move[1], 0);
    return here[3].map(([move, visits, prior, value]) =>
      [move, by === 'visits' ? (sum ? visits / sum : 0) : prior || 0, visits, prior, value])
      .sort((a, b) => b[1] - a[1] || b[3] - a[3]);
  };

  const drawBoard = (stones) => {
    const [move, ...gone] = ply ? game.plies[ply - 1] : [-1];
    const next = ply < last ? game.plies[ply][0] : -1;
    stones.forEach((stone, cell) => {
      let look = 'c' + stone;
      if (cell === move) look += ' last';
      if (gone.includes(cell) && !stone) look += ' taken';
      for (const circle of cells[cell]) {
        circle.setAttribute('class', look);
        circle.style.fillOpacity = '';
      }
      labels[cell].textContent = '';
    });
    if (heat === 'none') return;
    const list = thoughts(heat).filter(([cell, share]) => cell >= 0 && share > 0.004);
    for (const [cell, share] of list) {
      for (const circle of cells[cell]) {
        circle.classList.remove('taken');
        circle.classList.add('hot');
        circle.style.fillOpacity = 0.9 * (share / list[0][1]) ** 0.7;
      }
      labels[cell].textContent = share >= 0.015 ? Math.round(100 * share) : '';
    }
    if (next >= 0) for (const circle of cells[next]) circle.classList.add('next');
  };

  const drawStatus = (taken) => {
    const [move, ...gone] = ply ? game.plies[ply - 1] : [];
    const ended = ply === last && (move === -2 || ply > 1 && move === -1 && game.plies[ply - 2][0] === -1);
    const [black, white] = game.area[ply];
    one('#status').textContent = (ply
      ? `${ply} of ${last}: ${colours[(ply + 1) % 2]} ${name(move)}` + (gone.length ? `, takes ${gone.length}` : '')
      : `Before the first of ${last} plies`) +
      (ended ? '. The game has ended' : `. ${colours[ply % 2]} to move`) +
      `. Area: Black ${black}, White ${white}.` +
      (taken[0] + taken[1] ? ` Prisoners: Black ${taken[1]}, White ${taken[0]}.` : '');
  };

  const drawThoughts = () => {
    const box = one('#thoughts');
    if (!box) return;
    const here = game.positions[ply], by = heats.includes('visits') ? 'visits' : 'prior';
    box.hidden = !here;
    if (!here) return;
    const list = thoughts(by), shown = list.slice(0, 8), table = document.createElement('table');
    const columns = [['move', ([move]) => name(move)], ['share', (m) => percent(m[1])]];
    if (by === 'visits') columns.push(['visits', (m) => m[2]]);
    if (list.some((m) => m[3] !== null)) columns.push(['prior', (m) => percent(m[3] || 0)]);
    if (list.some((m) => m[4] !== null)) columns.push(['value', (m) => m[4] === null ? '' : signed(m[4])]);
    const row = (tag, texts) => {
      const tr = table.insertRow();
      for (const text of texts) tr.appendChild(document.createElement(tag)).textContent = text;
      return tr;
    };
    row('th', columns.map(([title]) => title));
    for (const move of shown) {
      const tr = row('td', columns.map(([, text]) => text(move)));
      const bar = document.createElement('i');
      bar.className = 'share';
      bar.style.width = 4 * move[1] / (list[0][1] || 1) + 'rem';
      tr.cells[1].prepend(bar);
      if (ply < last && game.plies[ply][0] === move[0]) tr.className = 'played';
    }
    const words = [];
    if (here[1] !== null) words.push('network ' + signed(here[1]));
    if (here[2] !== null) words.push(`search ${signed(here[2])} after ${here[0]} visits`);
    const value = document.createElement('small');
    value.textContent = (words.length ? 'Value: ' + words.join(', ') + '. ' : '') + 'Above 0 White is better. Shaded: what was played.';
    box.lastElementChild.replaceChildren(table, value);
  };

  /* The line of a plot that says where we are. */
  const plots = ['#values', '#area'].map(one).filter((plot) => plot);
  const scale = (plot) => plot.dataset.x.split(' ').map(Number);
  const drawPlots = () => {
    for (const plot of plots) {
      const [left, right, low, high] = scale(plot), line = plot.querySelector('.now');
      const x = left + (right - left) * (ply - low) / (high - low);
      line.setAttribute('transform', `translate(${x - left})`);
      line.style.display = ply < low ? 'none' : '';
    }
  };

  const drawList = () => {
    for (const button of all('[aria-current]')) button.removeAttribute('aria-current');
    const list = one('.moves ol'), button = one(`[data-ply="${ply}"]`);
    if (!button) {
      list.scrollTop = 0;
      return;
    }
    button.setAttribute('aria-current', 'step');
    const top = button.offsetTop, bottom = top + button.offsetHeight;
    if (top < list.scrollTop || bottom > list.scrollTop + list.clientHeight)
      list.scrollTop = top - list.clientHeight / 2; /* the page itself stays where it is */
  };

  const show = (wanted) => {
    ply = Math.min(Math.max(wanted, 0), last);
    const [stones, taken] = replay();
    drawBoard(stones);
    drawStatus(taken);
    drawThoughts();
    drawPlots();
    drawList();
    one('#ply').value = ply;
    for (const button of all('[data-heat]')) button.setAttribute('aria-pressed', button.dataset.heat === heat);
    for (const button of all('[data-go]')) button.disabled = ply === (/first|back/.test(button.dataset.go) ? 0 : last);
  };

  const steps = {
    first: () => 0, back: () => ply - 1, next: () => ply + 1, last: () => last,
    Home: () => 0, ArrowLeft: () => ply - 1, ArrowRight: () => ply + 1, End: () => last,
    PageUp: () => ply - 10, PageDown: () => ply + 10,
  };
  for (const button of all('[data-go]')) button.addEventListener('click', () => show(steps[button.dataset.go]()));
  for (const button of all('[data-ply]')) button.addEventListener('click', () => show(Number(button.dataset.ply)));
  for (const button of all('[data-heat]'))
    button.addEventListener('click', () => {
      heat = button.dataset.heat;
      show(ply);
    });
  one('#ply').addEventListener('input', (event) => show(Number(event.target.value)));
  document.addEventListener('keydown', (event) => {
    if (!steps[event.key] || event.target.id === 'ply' || event.ctrlKey || event.altKey || event.metaKey) return;
    event.preventDefault();
    show(steps[event.key]());
  });
  for (const plot of plots)
    plot.addEventListener('click', (event) => {
      const [left, right, low, high] = scale(plot), box = plot.getBoundingClientRect();
      const x = (event.clientX - box.left) * plot.viewBox.baseVal.width / box.width;
      show(Math.round(low + (high - low) * (x - left) / (right - left)));
    });

  /* A cell under the pointer is marked in every drawing, and named. */
  const boards = one('.boards');
  boards.addEventListener('pointerover', (event) => {
    const cell = event.target.dataset.c;
    if (cell === undefined) return;
    for (const circle of cells[cell]) circle.classList.add('over');
    const about = thoughts('visits').find(([move]) => move === Number(cell));
    boards.dataset.cell = game.names[cell] + (about ? `: ${about[2]} visits` +
      (about[3] === null ? '' : `, prior ${percent(about[3])}`) + (about[4] === null ? '' : `, value ${signed(about[4])}`) : '');
  });
  boards.addEventListener('pointerout', (event) => {
    for (const circle of cells[event.target.dataset.c] || []) circle.classList.remove('over');
    delete boards.dataset.cell;
  });

  const fromAddress = () => show(/^#\d+$/.test(location.hash) ? Number(location.hash.slice(1)) : last);
  window.addEventListener('hashchange', fromAddress);
  one('nav').hidden = false;
  fromAddress();
})();
