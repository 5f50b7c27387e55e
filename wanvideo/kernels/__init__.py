"""Kernels over rows of tokens in Triton, for what the compiler makes slow code of. To be imported where
Triton is: it comes with the compiler, so not before code is compiled for a card.
"""
