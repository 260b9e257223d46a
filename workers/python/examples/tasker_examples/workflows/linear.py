"""S1: linear_step_1 > 2 > 3 > 4."""

from tasker import step_handler

from .arithmetic import Square, SquareInput

step_handler("linear.square_input")(SquareInput)
step_handler("linear.square")(Square)
