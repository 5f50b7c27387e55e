// Two boxes on the picture, one for each speaker: drawn, moved and resized by pointer or keys. The text field below
// the card holds them; `props.state` is what Python made of that text, in pixels of the picture.
const ARROWS = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
const SHORTEST = 6;  // pixels of the screen; a shorter drag is a click
const CLASSES = ['one', 'two', 'both'];
let boxes = null, chosen = 0, drag = null, sees = false;

const state = () => props.state || {};
const picture = () => element.querySelector('svg');
const field = () => document.querySelector('#speaker-boxes textarea, #speaker-boxes input');
const within = (number, low, high) => Math.min(Math.max(Math.round(number), low), high);
const overlap = (a, b) => Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]))
  * Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]));
// A half of the picture is what is used where nothing is drawn: dashed, and drawn over instead of moved.
const isHalf = (box) => state().halves.some((half) => half.every((number, index) => number === box[index]));

const tell = (text) => {
  field().value = text;
  field().dispatchEvent(new Event('input', {bubbles: true}));
};
const tellBoxes = () => tell(boxes.map((box) => box.join(',')).join('; '));

// (x, y) of the pointer in the picture, inside it
const place = (event) => {
  const [width, height] = state().size;
  const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture().getScreenCTM().inverse());
  return [within(point.x, 0, width), within(point.y, 0, height)];
};
const span = ([x, y], [u, v]) => [Math.min(x, u), Math.min(y, v), Math.max(x, u), Math.max(y, v)];
const moved = ([x0, y0, x1, y1], dx, dy) => {
  const [width, height] = state().size;
  const left = within(x0 + dx, 0, width - (x1 - x0)), top = within(y0 + dy, 0, height - (y1 - y0));
  return [left, top, left + x1 - x0, top + y1 - y0];
};
const resized = ([x0, y0, x1, y1], dx, dy) =>
  [x0, y0, within(x1 + dx, x0 + 1, state().size[0]), within(y1 + dy, y0 + 1, state().size[1])];

// The view of the picture that is shown: [left, top, width, height]
const view = () => (sees && state().crop) || [0, 0, ...state().size];
// Pixels of the picture for one of the screen
const unit = () => view()[2] / (picture().clientWidth || view()[2]);

const cells = (digit) => {
  const {crop: [left, top, width, height], grid} = state();
  const wide = width / grid[0].length, high = height / grid.length, gap = 0.06;
  return grid.flatMap((row, r) => [...row].map((found, c) => found !== digit ? '' :
    `M${left + (c + gap) * wide} ${top + (r + gap) * high}h${wide * (1 - 2 * gap)}`
    + `v${high * (1 - 2 * gap)}h${-wide * (1 - 2 * gap)}z`)).join('');
};

const set = (node, values) => Object.entries(values).forEach(([name, value]) => node.setAttribute(name, value));

const drawBox = (group, index) => {
  const [x0, y0, x1, y1] = boxes[index], pixel = unit(), half = isHalf(boxes[index]);
  const name = element.querySelector(`[data-speaker="${index}"] b`).textContent;
  const label = group.querySelector('text');
  group.classList.toggle('half', half);
  group.classList.toggle('chosen', index === chosen);
  group.setAttribute('aria-label', `${name}, ${state().voices[index] || ''}: ${x0}, ${y0} – ${x1}, ${y1}`);
  set(group.querySelector('rect'), {x: x0, y: y0, width: x1 - x0, height: y1 - y0});
  set(label, {x: x0 + 7 * pixel, y: y0 + 18 * pixel, 'font-size': 13 * pixel, 'stroke-width': 3 * pixel});
  label.textContent = name;
  [[x0, y0], [x1, y0], [x1, y1], [x0, y1]].forEach(([cx, cy], corner) =>
    set(group.querySelector(`[data-corner="${corner}"]`), {cx, cy, r: 7 * pixel}));
};

const draw = () => {
  const svg = picture();
  if (!svg || !boxes || !state().size) return;
  const grid = sees && state().grid, [left, top, width, height] = view();
  svg.setAttribute('viewBox', `${left} ${top} ${width} ${height}`);
  svg.style.setProperty('--ratio', width / height);
  CLASSES.forEach((name, index) =>
    svg.querySelector(`.cells .${name}`).setAttribute('d', grid ? cells(String(index + 1)) : ''));
  svg.querySelectorAll('[data-box]').forEach(drawBox);
  element.querySelectorAll('[data-speaker]').forEach((chip, index) => {
    chip.setAttribute('aria-pressed', String(index === chosen));
    chip.querySelector('small').textContent = state().voices[index] || '';
  });
  element.querySelector('.notes').replaceChildren(...state().notes.map((note) =>
    Object.assign(document.createElement('li'), {textContent: note})));
  const eye = element.querySelector('[data-do=see]');
  eye.setAttribute('aria-checked', String(sees));
  eye.disabled = !state().grid;
};

// An answer to a text that has changed since is passed over: the one to the newest text is on its way.
const look = () => {
  const {text, boxes: read, size} = state();
  const isNewest = !drag && size && (!field() || field().value === text);
  if (isNewest && (read || !boxes)) boxes = (read || state().halves).map((box) => [...box]);
  draw();
};

// Who has no box of his own gets the half that is left free.
const settle = (index) => {
  const other = 1 - index, mine = boxes[index];
  if (isHalf(mine) || !isHalf(boxes[other])) return;
  const halves = [state().halves[other], state().halves[index]];
  boxes[other] = [...halves[overlap(halves[0], mine) > overlap(halves[1], mine) ? 1 : 0]];
  chosen = other;
};

const grab = (event) => {
  const at = place(event), group = event.target.closest('[data-box]'), corner = event.target.dataset.corner;
  const before = boxes.map((box) => [...box]);
  if (corner !== undefined) {
    const index = Number(group.dataset.box), [x0, y0, x1, y1] = boxes[index];
    return {index, before, fixed: [[x1, y1], [x0, y1], [x0, y0], [x1, y0]][corner]};
  }
  const inside = ([x0, y0, x1, y1]) => x0 <= at[0] && at[0] <= x1 && y0 <= at[1] && at[1] <= y1;
  const index = [chosen, 1 - chosen].find((number) => !isHalf(boxes[number]) && inside(boxes[number]));
  return index === undefined ? {index: chosen, before, fixed: at} : {index, before, from: at};
};

element.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || !boxes || !event.target.closest('svg')) return;
  event.preventDefault();
  drag = grab(event);
  chosen = drag.index;
  picture().setPointerCapture(event.pointerId);
  picture().querySelectorAll('[data-box]')[chosen].focus({preventScroll: true});
  draw();
});
element.addEventListener('pointermove', (event) => {
  if (!drag) return;
  const at = place(event), {index, fixed, from, before} = drag;
  boxes[index] = fixed ? span(fixed, at) : moved(before[index], at[0] - from[0], at[1] - from[1]);
  draw();
});
const release = (event) => {
  if (!drag) return;
  const {index, before, fixed} = drag, [x0, y0, x1, y1] = boxes[index];
  const isClick = fixed && Math.min(x1 - x0, y1 - y0) < SHORTEST * unit();
  drag = null;
  if (isClick || event.type === 'pointercancel') boxes = before;
  else if (String(boxes) !== String(before)) {
    settle(index);
    tellBoxes();
  }
  draw();
};
element.addEventListener('pointerup', release);
element.addEventListener('pointercancel', release);

element.addEventListener('keydown', (event) => {
  const group = event.target.closest('[data-box]'), arrow = ARROWS[event.key];
  if (!group || !arrow || !boxes) return;
  event.preventDefault();
  const index = Number(group.dataset.box), step = Math.max(1, Math.round(state().size[0] / 100));
  boxes[index] = (event.shiftKey ? resized : moved)(boxes[index], arrow[0] * step, arrow[1] * step);
  tellBoxes();
  draw();
});
element.addEventListener('focusin', (event) => {
  const group = event.target.closest('[data-box]');
  if (group) chosen = Number(group.dataset.box);
  draw();
});
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button || !boxes) return;
  if (button.dataset.speaker) chosen = Number(button.dataset.speaker);
  if (button.dataset.do === 'see') sees = !sees;
  if (button.dataset.do === 'clear') {
    boxes = state().halves.map((half) => [...half]);
    chosen = 0;
    tell('');
  }
  if (button.dataset.do === 'swap') {
    boxes.reverse();
    tellBoxes();
  }
  draw();
});
watch(['value', 'state'], look);
new ResizeObserver(draw).observe(element);
look();
