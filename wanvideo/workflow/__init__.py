"""ComfyUI workflows as settings of this app, with a report of what became of each value.

document.py       the JSON in a file: json, or the metadata of a video or picture
graph.py          nodes and links, whatever they were read from; order, and which nodes take part
api_format.py     the format that ComfyUI runs: widgets by name
canvas_format.py  the format that ComfyUI shows: widgets by position, bypassed nodes
subgraphs.py      nodes that stand for graphs, unfolded
rows.py           what a row of the node tables says
wrapper_nodes.py  the table of the WanVideo wrapper's nodes
native_nodes.py   the table of ComfyUI's own nodes
helper_nodes.py   the table of nodes that load inputs, resize, show and save
naming.py         values of a node by the names of its widgets
tracing.py        what arrives over a link, and what a node's output is used for
model_files.py    model files by their base name
reading.py        a node's values as findings
settling.py       findings as settings: one value per field, checked
report.py         what became of a value
importing.py      the whole way; read this first
"""
