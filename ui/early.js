// The same choice as ui/language.py makes: gradio's own words, those of its uploads, follow the browser's language.
const cookies = Object.fromEntries(document.cookie.split('; ').map((pair) => pair.split('=')));
const wanted = (navigator.language || '').slice(0, 2).toLowerCase();
const language = [cookies[cookie], start, wanted].find((name) => known.includes(name)) || known[0];
document.documentElement.lang = language;
const locale = {zh: 'zh-CN'}[language] || language; // as gradio names its translations
Object.defineProperty(navigator, 'language', {get: () => locale});
Object.defineProperty(navigator, 'languages', {get: () => [locale]});
