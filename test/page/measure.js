// Evaluated in the page by the test; what it returns is a list of mistakes.
(() => {
  const wrong = [];
  const name = e => e.tagName + (e.className.baseVal ?? e.className ? '.' + (e.className.baseVal ?? e.className) : '') + ' ' + JSON.stringify(e.textContent.trim().slice(0, 60));
  const page = document.documentElement;
  if (page.scrollWidth > page.clientWidth)
    wrong.push(`the page is ${page.scrollWidth} wide in a window of ${page.clientWidth}`);

  // Nothing sticks out of the page but what may be scrolled.
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest('.wide') || e.closest('details:not([open])') || e.classList.contains('skip')) continue;
    const r = e.getBoundingClientRect();
    if (r.width && (r.right > page.clientWidth + 0.1 || r.left < -1)) wrong.push(`${name(e)} reaches from ${r.left} to ${r.right} of ${page.clientWidth}`);
  }

  // In the drawing no text leaves its box, and no two of a line touch.
  for (const box of document.querySelectorAll('svg svg')) {
    const width = box.width.baseVal.value, height = box.height.baseVal.value, texts = [...box.querySelectorAll('text')].map(t => [t, t.getBBox()]);
    for (const [t, r] of texts) {
      if (r.x < 0 || r.x + r.width > width || r.y + r.height > height) wrong.push(`${name(t)} sticks out of its box: ${r.x} to ${r.x + r.width} of ${width}`);
      for (const [u, q] of texts)
        if (t !== u && Math.abs(r.y - q.y) < 4 && r.x < q.x + q.width - 0.5 && q.x < r.x + r.width - 0.5 && r.x <= q.x) wrong.push(`${name(t)} is over ${name(u)}`);
    }
  }
  // Nor does anything else leave the drawing, and no two boxes meet.
  for (const svg of document.querySelectorAll('figure > div > svg')) {
    const whole = svg.viewBox.baseVal;
    const boxes = [...svg.querySelectorAll(':scope > a > svg, :scope > g > svg')];
    for (const e of [...svg.querySelectorAll('path.edge'), ...boxes]) {
      const r = e.getBBox();
      if (r.x < 0 || r.y < 0 || r.x + r.width > whole.width || r.y + r.height > whole.height) wrong.push(`${name(e)} leaves the drawing`);
    }
    const places = boxes.map(b => [b.x.baseVal.value, b.y.baseVal.value, b.width.baseVal.value, b.height.baseVal.value]);
    places.forEach(([x, y, w, h], i) => places.forEach(([X, Y, W, H], k) => {
      if (i < k && x < X + W && X < x + w && y < Y + H && Y < y + h) wrong.push(`${name(boxes[i])} and ${name(boxes[k])} are in one place`);
    }));
    // Every edge ends where something is.
    const bar = svg.querySelector('.bar')?.getBoundingClientRect();
    const rects = [...boxes].map(b => b.getBoundingClientRect());
    if (bar) rects.push(bar);
    for (const e of svg.querySelectorAll('path.edge:not(.tip)')) {
      for (const at of [0, e.getTotalLength()]) {
        const p = e.getPointAtLength(at).matrixTransform(e.getScreenCTM());
        if (!rects.some(r => p.x > r.left - 12 && p.x < r.right + 12 && p.y > r.top - 12 && p.y < r.bottom + 12)) wrong.push(`an edge from ${e.dataset.from} to ${e.dataset.to} ends in nothing`);
      }
    }
  }

  // Links lead somewhere, and no id is there twice.
  const ids = new Set();
  for (const e of document.querySelectorAll('[id]')) {
    if (ids.has(e.id)) wrong.push(`the id ${e.id} is there twice`);
    ids.add(e.id);
  }
  for (const a of document.querySelectorAll('a')) {
    const to = a.getAttribute('href');
    if (!to.startsWith('#') || !ids.has(to.slice(1))) wrong.push(`a link leads to ${to}`);
  }
  for (const e of document.querySelectorAll('[aria-labelledby], [aria-describedby]'))
    for (const id of `${e.getAttribute('aria-labelledby') ?? ''} ${e.getAttribute('aria-describedby') ?? ''}`.trim().split(/\s+/))
      if (!ids.has(id)) wrong.push(`${name(e)} is named by ${id}, which is not there`);

  // All of it can be read: WCAG's contrast of 4.5.
  const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const colour = s => { const n = s.match(/[\d.]+/g)?.map(Number); return n && (n.length < 4 || n[3] > 0) ? n : null; };
  const behind = e => {
    if (e.ownerSVGElement) {
      if (e.matches('.small')) { const c = colour(getComputedStyle(e.previousElementSibling).fill); if (c) return c; }
      const ground = e.parentElement.matches('.score') ? e.parentElement.querySelector('rect') : e.closest('a, g.thing')?.querySelector('.hull, .bar, rect');
      return colour(getComputedStyle(ground).fill);
    }
    for (; e; e = e.parentElement) { const c = colour(getComputedStyle(e).backgroundColor); if (c) return c; }
    return [255, 255, 255];
  };
  const seen = new Set();
  for (const e of document.querySelectorAll('body *')) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || ['TITLE', 'title', 'desc', 'STYLE'].includes(e.tagName)) continue;
    const style = getComputedStyle(e), ink = colour(e.ownerSVGElement ? style.fill : style.color), ground = behind(e);
    if (!ink || !ground) continue;
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x), ratio = (a + 0.05) / (b + 0.05);
    const key = `${e.tagName}.${e.className.baseVal ?? e.className} has a contrast of ${ratio.toFixed(1)}`;
    if (ratio < 4.5 && !seen.has(key)) { seen.add(key); wrong.push(key); }
  }

  if (document.querySelector('script, iframe, object, embed, img, link, [onload], [onerror]')) wrong.push('there is an element that nobody wrote');
  return wrong;
})()
