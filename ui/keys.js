// Ctrl+Enter adds to the queue, Esc stops what runs; title and sound tell when a video is done.
// `element` is the live strip, whose card names the last job that ended.
const press = (id) => {
  const button = document.querySelector(`#${id}`);
  if (button && button.offsetParent !== null) button.click();
};
const typing = (event) => event.target.closest && event.target.closest('[role=listbox], .modal, dialog');

document.addEventListener('keydown', (event) => {
  if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
    if (document.activeElement) document.activeElement.blur();  // a text field tells its value when it is left
    setTimeout(() => press('generate'), 150);
  }
  if (event.key === 'Escape' && !typing(event)) press('stop');
});

let known = null;
const title = document.title;
const chime = () => {
  const sound = new AudioContext();
  [660, 880].forEach((pitch, index) => {
    const tone = sound.createOscillator(), volume = sound.createGain();
    const begin = sound.currentTime + 0.16 * index;
    volume.gain.setValueAtTime(0.06, begin);
    volume.gain.exponentialRampToValueAtTime(0.001, begin + 0.3);
    tone.frequency.value = pitch;
    tone.connect(volume).connect(sound.destination);
    tone.start(begin);
    tone.stop(begin + 0.32);
  });
};
const look = () => {
  const card = element.querySelector('.live');
  if (!card) return;
  const ended = card.dataset.ended;
  if (known !== null && ended && ended !== known && document.hidden) {
    document.title = `\u2713 ${title}`;
    chime();
  }
  if (ended !== undefined) known = ended;
};
new MutationObserver(look).observe(element, {childList: true, subtree: true});
document.addEventListener('visibilitychange', () => { if (!document.hidden) document.title = title; });
look();
