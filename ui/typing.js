// A text field tells its value when it is left. A pause in typing counts as leaving it, so that the forecast
// follows and nothing is lost when the page is closed; the focus stays where it is.
const PAUSE = 700;
const waiting = new WeakMap();

document.addEventListener('input', (event) => {
  const field = event.target;
  if (!field.matches || !field.matches('[data-testid=textbox]')) return;
  clearTimeout(waiting.get(field));
  waiting.set(field, setTimeout(() => field.dispatchEvent(new FocusEvent('blur')), PAUSE));
});
