"""The five example workflows, each a module of step handlers.

``python -m tasker --handlers tasker_examples.workflows`` registers all of them; the templates are
in ``examples/templates`` of the repository.
"""
