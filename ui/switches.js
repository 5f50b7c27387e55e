// The switches in the head. A language is kept in a cookie, which the server reads, and the page is fetched anew;
// the form comes back from the server. Dark or light is kept in this browser.
const theme = localStorage.getItem('wan-theme');
if (theme) document.body.classList.toggle('dark', theme === 'dark');
for (const button of element.querySelectorAll('[data-language]'))
  button.setAttribute('aria-pressed', String(button.dataset.language === document.documentElement.lang));
element.addEventListener('click', (event) => {
  const button = event.target.closest('button');
  if (!button) return;
  if (button.dataset.language) {
    document.cookie = `${button.dataset.cookie}=${button.dataset.language};path=/;max-age=31536000;samesite=lax`;
    window.location.reload();
  } else {
    const dark = document.body.classList.toggle('dark');
    localStorage.setItem('wan-theme', dark ? 'dark' : 'light');
  }
});
