"""S3: a root, two branches, four leaves, one convergence."""

from tasker import step_handler

from .arithmetic import MultiplyAndSquare, Square, SquareInput

step_handler("tree.square_input")(SquareInput)
step_handler("tree.square")(Square)
step_handler("tree.multiply_and_square")(MultiplyAndSquare)
