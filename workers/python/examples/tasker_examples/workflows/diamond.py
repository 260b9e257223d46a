"""S2: diamond_start > diamond_branch_b, diamond_branch_c > diamond_end."""

from tasker import step_handler

from .arithmetic import MultiplyAndSquare, Square, SquareInput

step_handler("diamond.square_input")(SquareInput)
step_handler("diamond.square")(Square)
step_handler("diamond.multiply_and_square")(MultiplyAndSquare)
