"""How fast the page answers with a long queue, and what it costs a job: `python -m tools.page_figures`.

Drives app.py as a process of its own over HTTP, as a browser does, with the pocket model.
"""
