"""What low-precision kernels compute, in exact arithmetic on any device: for tests and for the table of
losses.

Each value is rounded to what the hardware's format holds, and then everything is computed in float32, where
such values are exact. That shows the loss of a kernel on machines that have none; it says nothing of its
speed and is never offered as a mode.
"""
