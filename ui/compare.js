// Two players that run as one: the longer one leads, the other follows it and waits at its end. Python makes the
// card anew for another pair; a player that is taken out of the page would go on with its sound.
const APART = 0.25;  // seconds; what is less is run down by a little more or less speed, as a seek makes a gap
const MOST_SPEED = 0.15;
const TICK_MS = 100;
let pair = [], plays = false, timer = 0;

const part = (selector) => element.querySelector(selector);
const leader = () => pair.reduce((best, video) => (video.duration || 0) > (best.duration || 0) ? video : best);
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, '0')}`;

const draw = () => {
  const button = part('[data-do=play]'), bar = part('[type=range]'), seconds = Number(bar.value);
  button.textContent = plays ? '❚❚' : '▶';
  button.setAttribute('aria-label', plays ? button.dataset.pause : button.dataset.play);
  part('output').textContent = `${clock(seconds)} / ${clock(Number(bar.max))}`;
  bar.setAttribute('aria-valuetext', clock(seconds));
};
const pause = () => {
  plays = false;
  clearInterval(timer);
  pair.forEach((video) => video.pause());
  if (part('[type=range]')) draw();
};
// Stopped by hand, both show the same moment.
const settle = () => {
  const now = leader().currentTime;
  pause();
  pair.forEach((video) => seek(video, now));
};
// Of a shorter video the last picture stays.
const seek = (video, seconds) => { video.currentTime = Math.min(seconds, Math.max(0, (video.duration || 0) - 0.001)); };
const start = (video) => video.play().catch((fault) => { if (fault.name !== 'AbortError') pause(); });

const follow = () => {
  const first = leader(), now = first.currentTime;
  part('[type=range]').value = now;
  pair.filter((video) => video !== first).forEach((video) => {
    if (now >= video.duration) return;
    const late = now - video.currentTime;
    if (Math.abs(late) > APART && !video.seeking) seek(video, now);
    video.playbackRate = 1 + Math.max(-MOST_SPEED, Math.min(MOST_SPEED, late * 2));
    if (video.paused) start(video);
  });
  if (first.ended) pause();
  else draw();
};
const play = () => {
  plays = true;
  if (leader().ended) pair.forEach((video) => seek(video, 0));
  pair.forEach((video) => { if (video.currentTime < video.duration - 0.01) start(video); });
  timer = setInterval(follow, TICK_MS);
  draw();
};
const hear = (number) => {
  pair.forEach((video, index) => { video.muted = index !== number; });
  element.querySelectorAll('[data-sound]').forEach((button) =>
    button.setAttribute('aria-pressed', Number(button.dataset.sound) === number));
};

element.addEventListener('click', (event) => {
  const target = event.target.closest('button');
  if (!target) return;
  if (target.dataset.do === 'play') plays ? settle() : play();
  if (target.dataset.sound) hear(target.getAttribute('aria-pressed') === 'true' ? -1 : Number(target.dataset.sound));
  if (target.dataset.action) trigger('click', {action: target.dataset.action});
});
element.addEventListener('input', (event) => {
  if (event.target.type !== 'range') return;
  pair.forEach((video) => seek(video, Number(event.target.value)));
  draw();
});

const look = () => {
  pause();
  pair = [...element.querySelectorAll('video')];
  if (part('.picking')) document.querySelector('#shelf').scrollIntoView({block: 'nearest'});
  else if (part('section')) element.scrollIntoView({block: 'start'});
  const loud = part('[data-sound][aria-pressed=true]');
  if (pair.length) hear(loud ? Number(loud.dataset.sound) : -1);
};
watch('value', look);
look();
