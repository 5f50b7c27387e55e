"""A compiler that compiles nothing: it keeps the graphs it is given and runs them as they are."""

import torch

Graph = torch.fx.GraphModule


class CountingBackend:
    """For `torch.compile(..., backend=...)`; `graphs` are those it has been given."""

    def __init__(self) -> None:
        torch._dynamo.reset()  # else what an earlier test compiled would serve this one
        self.graphs: list[Graph] = []

    def __call__(self, graph: Graph, _: object) -> object:
        self.graphs.append(graph)
        return graph.forward
