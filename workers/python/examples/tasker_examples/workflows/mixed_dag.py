"""S4: dag_init > left, right; validate (both), transform (left), analyze (right) > finalize."""

from tasker import step_handler

from .arithmetic import MultiplyAndSquare, Square, SquareInput

step_handler("mixed_dag.square_input")(SquareInput)
step_handler("mixed_dag.square")(Square)
step_handler("mixed_dag.multiply_and_square")(MultiplyAndSquare)
